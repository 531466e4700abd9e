import { Global, Module } from '@nestjs/common';
import { Metrics } from '../observability/metrics.js';
import { AuditLog } from './audit-log.repository.js';
import { AuditLogsController } from './audit-logs.controller.js';
import { AuditSealer } from './audit-sealer.worker.js';
import { Audit } from './audit.js';

/** Who changed what, in a chain that shows whether a row was changed or is missing. */
@Global()
@Module({ controllers: [AuditLogsController], providers: [Audit, AuditSealer, AuditLog], exports: [Audit] })
export class AuditModule {
  constructor(metrics: Metrics, sealer: AuditSealer) {
    metrics.reading(
      'audit_oldest_unsealed_seconds',
      'For how long the oldest row of the audit log has been waiting for its place in the chain',
      () => sealer.oldestUnsealedSeconds(),
    );
  }
}
