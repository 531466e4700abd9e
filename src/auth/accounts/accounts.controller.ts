import { Body, Controller, Get, Param, Put, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentActor, RequireScope, RequireScopeInPerson } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { encodeCursor, entryBefore } from '../../platform/http/cursor.js';
import type { Actor } from '../../shared/access.js';
import { AccountPage, AccountPath, AccountsQuery, RoleRequest } from './accounts.dto.js';
import { Accounts } from './accounts.service.js';
import { AccountJson, accountJson } from '../sessions/auth.dto.js';
import { Authenticator } from '../access/authenticator.js';

const NO_ACCOUNT = { not_found: 'There is no account 0b5f6a3e-4a53-4f0e-9a38-0c4f4a0d2f11.' };
const NO_DATABASE = { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' };

/** The accounts, for admins. */
@ApiTags('accounts')
@RequireScope('accounts:manage')
@ApiProblem(503, NO_DATABASE)
@Controller('api/v1/auth/accounts')
export class AccountsController {
  constructor(
    private readonly accounts: Accounts,
    private readonly callers: Authenticator,
  ) {}

  /** Accounts, newest first. @throws InvalidInput @throws DatabaseUnavailable */
  @Get()
  @ApiOperation({ summary: 'Accounts, newest first' })
  @ApiOkResponse({ type: AccountPage })
  @ApiInvalidInput('role: must be one of customer, vendor, analyst, admin')
  async list(@Query() { role, email, cursor, limit }: AccountsQuery): Promise<AccountPage> {
    const before = entryBefore(cursor);
    const found = await this.accounts.latest({ role, email, before }, limit + 1);
    const accounts = found.slice(0, limit);
    const last = found.length > limit ? accounts.at(-1) : undefined;
    return { items: accounts.map(accountJson), next_cursor: last ? encodeCursor({ before: last.id }) : null };
  }

  /** One account. @throws InvalidInput @throws NotFound @throws DatabaseUnavailable */
  @Get(':account_id')
  @ApiOperation({ summary: 'One account' })
  @ApiOkResponse({ type: AccountJson })
  @ApiInvalidInput('account_id: must be a UUID')
  @ApiProblem(404, NO_ACCOUNT)
  async one(@Param() { account_id }: AccountPath): Promise<AccountJson> {
    return accountJson(await this.accounts.one(account_id));
  }

  /** Another role. @throws InvalidInput @throws NotFound @throws LastAdmin @throws DatabaseUnavailable */
  @Put(':account_id/role')
  @RequireScopeInPerson('accounts:manage')
  @ApiOperation({
    summary: 'Give an account another role',
    description: 'Takes effect at once, in other processes within 5 s, also for those who are logged in.',
  })
  @ApiOkResponse({ type: AccountJson })
  @ApiInvalidInput('role: must be one of customer, vendor, analyst, admin')
  @ApiProblem(404, NO_ACCOUNT)
  @ApiProblem(409, { last_admin: 'This is the only admin. Make another account an admin first.' })
  async setRole(
    @Param() { account_id }: AccountPath,
    @Body() { role }: RoleRequest,
    @CurrentActor() actor: Actor,
  ): Promise<AccountJson> {
    const account = await this.accounts.setRole(account_id, role, actor);
    this.callers.forget();
    return accountJson(account);
  }
}
