import { Module } from '@nestjs/common';
import { APP_GUARD, DiscoveryModule } from '@nestjs/core';
import { JwtModule } from '@nestjs/jwt';
import { DemoData } from '../platform/demo/demo-data.js';
import { PersonalData } from '../platform/privacy/personal-data.js';
import { AccessGuard } from './access/access.guard.js';
import { AccessTokens } from './sessions/access-tokens.service.js';
import { AccessPolicyCheck } from './access/access-check.js';
import { AccountErasure } from './accounts/account-erasure.service.js';
import { AccountsController } from './accounts/accounts.controller.js';
import { Accounts } from './accounts/accounts.service.js';
import { ApiKeysController } from './api-keys/api-keys.controller.js';
import { ApiKeys } from './api-keys/api-keys.service.js';
import { AttemptLimits } from './sessions/attempt-limits.js';
import { AuthController } from './sessions/auth.controller.js';
import { Authenticator } from './access/authenticator.js';
import { DemoAccounts } from './accounts/demo-accounts.js';
import { FirstAdmin } from './accounts/first-admin.service.js';
import { RequestLimits } from './access/request-limits.js';
import { Sessions } from './sessions/sessions.service.js';

/** Who calls, and what they may do. */
@Module({
  imports: [DiscoveryModule, JwtModule.register({})],
  controllers: [AuthController, AccountsController, ApiKeysController],
  providers: [
    AccessPolicyCheck,
    Accounts,
    AccountErasure,
    Sessions,
    AccessTokens,
    ApiKeys,
    AttemptLimits,
    Authenticator,
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
