import { Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { AccessGuard } from './access.guard.js';
import { Callers } from './callers.js';

/** Who calls, and what they may do. */
@Module({ providers: [Callers, { provide: APP_GUARD, useClass: AccessGuard }] })
export class AuthModule {}
