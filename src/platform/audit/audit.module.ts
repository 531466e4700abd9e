import { Global, Module } from '@nestjs/common';
import { Audit } from './audit.js';

/** Who changed what, in a chain that shows whether a row was changed or is missing. */
@Global()
@Module({ providers: [Audit], exports: [Audit] })
export class AuditModule {}
