import { Body, Controller, Get, Header, HttpCode, Post, Req, Res } from '@nestjs/common';
import {
  ApiBearerAuth,
  ApiBody,
  ApiCreatedResponse,
  ApiNoContentResponse,
  ApiOkResponse,
  ApiOperation,
  ApiTags,
} from '@nestjs/swagger';
import type { Request, Response } from 'express';
import {
  networkOf,
  CurrentCaller,
  ForAnyCaller,
  Unauthenticated,
  OpenToAll,
  requestIdOf,
} from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { tellQuota } from '../../platform/http/rate-limit.js';
import type { Caller } from '../../shared/access.js';
import { ClientError } from '../../shared/errors.js';
import { ACCESS_TOKEN_SECONDS, AccessTokens } from './access-tokens.service.js';
import { Accounts, EmailTaken } from '../accounts/accounts.service.js';
import { AttemptLimits } from './attempt-limits.js';
import {
  AccountJson,
  accountJson,
  LogInRequest,
  LogOutRequest,
  Me,
  meJson,
  RefreshRequest,
  SignUpRequest,
  Tokens,
} from './auth.dto.js';
import { Authenticator } from '../access/authenticator.js';
import { InvalidRefreshToken, type Session, Sessions } from './sessions.service.js';

/** The address is unknown or the password wrong; which of the two is nobody's business. */
export class WrongCredentials extends ClientError {
  readonly code = 'wrong_credentials';
  readonly kind = 'unauthenticated';
  constructor() {
    super('There is no account with this e-mail address and this password.');
  }
}

const TOO_MANY = 'Too many attempts; try again in 900 s.';
const NO_DATABASE = { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' };

/** Getting in, staying in, and getting out. */
@ApiTags('accounts')
@Controller('api/v1/auth')
export class AuthController {
  constructor(
    private readonly accounts: Accounts,
    private readonly sessions: Sessions,
    private readonly accessTokens: AccessTokens,
    private readonly limits: AttemptLimits,
    private readonly callers: Authenticator,
  ) {}

  /** A new customer. @throws InvalidInput @throws CommonPassword @throws EmailTaken @throws TooManyAttempts @throws DatabaseUnavailable */
  @Post('signup')
  @OpenToAll()
  @ApiOperation({
    summary: 'Make an account',
    description:
      'Of a customer; an admin may give it another role. An account is good at once, so this tells whether an address has one: ' +
      'as a log-in with the new password would. From one network 20 sign-ups an hour may meet an address that has one.',
  })
  @ApiCreatedResponse({ type: AccountJson })
  @ApiProblem(400, {
    invalid_input: 'password: must have 12 to 128 characters',
    common_password: 'This password is among the first that anybody would guess.',
  })
  @ApiProblem(409, { email_taken: 'There is an account of this e-mail address already.' })
  @ApiProblem(429, { too_many_attempts: TOO_MANY })
  @ApiProblem(503, NO_DATABASE)
  async signUp(
    @Body() { email, password, full_name }: SignUpRequest,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<AccountJson> {
    const attempt = await this.limits.signUp(networkOf(request), (quota) => tellQuota(response, quota));
    let isTaken = false;
    try {
      return accountJson(await this.accounts.signUp({ email, password, fullName: full_name }, requestIdOf(request)));
    } catch (error) {
      isTaken = error instanceof EmailTaken;
      throw error;
    } finally {
      if (!isTaken) await attempt.succeeded();
    }
  }

  /** In. @throws InvalidInput @throws WrongCredentials @throws TooManyAttempts @throws DatabaseUnavailable */
  @Post('login')
  @HttpCode(200)
  @Header('Cache-Control', 'no-store')
  @OpenToAll()
  @ApiOperation({
    summary: 'Log in',
    description:
      'The access token is good for 15 minutes, the refresh token for the next pair of tokens. An unknown address and a ' +
      'wrong password are answered alike. Attempts are limited by account and by address.',
  })
  @ApiOkResponse({ type: Tokens })
  @ApiInvalidInput('email: must be an e-mail address')
  @ApiProblem(401, { wrong_credentials: 'There is no account with this e-mail address and this password.' })
  @ApiProblem(429, { too_many_attempts: TOO_MANY })
  @ApiProblem(503, NO_DATABASE)
  async logIn(
    @Body() { email, password }: LogInRequest,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
  ): Promise<Tokens> {
    const attempt = await this.limits.logIn(email, networkOf(request), (quota) => tellQuota(response, quota));
    const account = await this.accounts.withPassword(email, password);
    if (!account) throw new WrongCredentials();
    await attempt.succeeded();
    const { sessionId, refreshToken } = await this.sessions.begin(account.id, requestIdOf(request));
    const { id: accountId, role, userId } = account;
    return this.tokens({ id: sessionId, accountId, role, userId }, refreshToken);
  }

  /** The next pair of tokens. @throws InvalidInput @throws InvalidRefreshToken @throws DatabaseUnavailable */
  @Post('refresh')
  @HttpCode(200)
  @Header('Cache-Control', 'no-store')
  @OpenToAll()
  @ApiOperation({
    summary: 'Exchange a refresh token for new tokens',
    description: 'It is good once. One that is shown twice may have been stolen: then the whole log-in ends.',
  })
  @ApiOkResponse({ type: Tokens })
  @ApiInvalidInput('refresh_token: must be a refresh token')
  @ApiProblem(401, { invalid_refresh_token: 'This refresh token is not, or no longer, good. Log in again.' })
  @ApiProblem(503, NO_DATABASE)
  async refresh(@Body() { refresh_token }: RefreshRequest, @Req() request: Request): Promise<Tokens> {
    try {
      const { session, refreshToken } = await this.sessions.refresh(refresh_token, requestIdOf(request));
      return this.tokens(session, refreshToken);
    } catch (error) {
      if (error instanceof InvalidRefreshToken && error.endedSession) this.callers.forget();
      throw error;
    }
  }

  /** Out. @throws InvalidInput @throws Unauthenticated @throws DatabaseUnavailable */
  @Post('logout')
  @HttpCode(204)
  @OpenToAll()
  @ApiBearerAuth()
  @ApiOperation({
    summary: 'Log out',
    description:
      'Ends the log-in of the refresh token, or without one that of the access token. Access tokens of it are refused at ' +
      'once, by other processes within 5 s. Where there is none, nothing happens.',
  })
  @ApiBody({ type: LogOutRequest, required: false })
  @ApiNoContentResponse()
  @ApiInvalidInput('refresh_token: must be a refresh token')
  @ApiProblem(401, { not_signed_in: 'Send a refresh token, or the access token as Authorization: Bearer …' })
  @ApiProblem(503, NO_DATABASE)
  async logOut(@Body() { refresh_token }: LogOutRequest, @Req() request: Request): Promise<void> {
    const requestId = requestIdOf(request);
    if (refresh_token !== undefined) {
      await this.sessions.endByToken(refresh_token, requestId);
    } else {
      const { sessionId } = await this.callers.of(request);
      if (!sessionId) throw new Unauthenticated('Send a refresh token, or the access token as Authorization: Bearer …');
      await this.sessions.end(sessionId, requestId);
    }
    this.callers.forget();
  }

  /** Who am I? @throws DatabaseUnavailable */
  @Get('me')
  @ForAnyCaller()
  @ApiOperation({
    summary: 'Whom the service takes you for, and what you may do',
    description: 'Where access is open and no credentials are sent that is the local operator, who may do anything.',
  })
  @ApiOkResponse({ type: Me })
  @ApiProblem(503, NO_DATABASE)
  async me(@CurrentCaller() caller: Caller): Promise<Me> {
    return meJson(caller, caller.account && (await this.accounts.one(caller.account.id)));
  }

  private tokens(session: Session, refreshToken: string): Tokens {
    return {
      access_token: this.accessTokens.issue(session),
      refresh_token: refreshToken,
      token_type: 'Bearer',
      expires_in: ACCESS_TOKEN_SECONDS,
    };
  }
}
