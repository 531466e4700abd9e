import { Module } from '@nestjs/common';
import { APP_GUARD, DiscoveryModule } from '@nestjs/core';
import { JwtModule } from '@nestjs/jwt';
import { DemoData } from '../platform/demo/demo-data.js';
import { PersonalData } from '../platform/privacy/personal-data.js';
import { AccessGuard } from './access.guard.js';
import { AccessTokens } from './access-tokens.js';
import { AdmissionCheck } from './admission-check.js';
import { AccountErasure } from './account-erasure.js';
import { AccountsController } from './accounts.controller.js';
import { Accounts } from './accounts.js';
import { ApiKeysController } from './api-keys.controller.js';
import { ApiKeys } from './api-keys.js';
import { AttemptLimits } from './attempt-limits.js';
import { AuthController } from './auth.controller.js';
import { Callers } from './callers.js';
import { DemoAccounts } from './demo-accounts.js';
import { FirstAdmin } from './first-admin.js';
import { RequestLimits } from './request-limits.js';
import { Sessions } from './sessions.js';

/** Who calls, and what they may do. */
@Module({
  imports: [DiscoveryModule, JwtModule.register({})],
  controllers: [AuthController, AccountsController, ApiKeysController],
  providers: [
    AdmissionCheck,
    Accounts,
    AccountErasure,
    Sessions,
    AccessTokens,
    ApiKeys,
    AttemptLimits,
    Callers,
    DemoAccounts,
    FirstAdmin,
    RequestLimits,
    { provide: APP_GUARD, useClass: AccessGuard },
  ],
})
export class AuthModule {
  constructor(personalData: PersonalData, ofAccounts: AccountErasure, demoData: DemoData, demoAccounts: DemoAccounts) {
    personalData.register(ofAccounts);
    demoData.register('accounts', demoAccounts);
  }
}
