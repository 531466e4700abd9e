import { Body, Controller, Delete, Get, Header, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiNoContentResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentActor, CurrentCaller, ForPersons } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { encodeCursor, entryBefore } from '../../platform/http/cursor.js';
import type { Actor, Caller } from '../../shared/access.js';
import { ApiKeyPage, ApiKeyPath, ApiKeyRequest, ApiKeysQuery, apiKeyJson, NewApiKey } from './api-keys.dto.js';
import { ApiKeys } from './api-keys.service.js';
import { Authenticator } from '../access/authenticator.js';

/** Ways in for machines, which can't log in. */
@ApiTags('accounts')
@ForPersons()
@ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
@Controller('api/v1/auth/api-keys')
export class ApiKeysController {
  constructor(
    private readonly apiKeys: ApiKeys,
    private readonly callers: Authenticator,
  ) {}

  /** A new key. @throws InvalidInput @throws NotAllowed @throws DatabaseUnavailable */
  @Post()
  @Header('Cache-Control', 'no-store')
  @ApiOperation({
    summary: 'Make an API key',
    description:
      'To be sent as `Authorization: Bearer …`. It is stored as a hash only, so keep it: it is not to be had again. It may ' +
      'do what you give it of what you may, and loses what you lose.',
  })
  @ApiCreatedResponse({ type: NewApiKey })
  @ApiInvalidInput('scopes: must be a list')
  async create(
    @Body() request: ApiKeyRequest,
    @CurrentCaller() caller: Caller,
    @CurrentActor() actor: Actor,
  ): Promise<NewApiKey> {
    const { key, apiKey } = await this.apiKeys.create(request, caller, actor);
    return { ...apiKeyJson(apiKey), key };
  }

  /** Keys, newest first. @throws InvalidInput @throws DatabaseUnavailable */
  @Get()
  @ApiOperation({ summary: 'Your API keys, newest first; for admins those of all accounts' })
  @ApiOkResponse({ type: ApiKeyPage })
  @ApiInvalidInput('cursor: must be a next_cursor of this list')
  async list(@Query() { cursor, limit }: ApiKeysQuery, @CurrentCaller() caller: Caller): Promise<ApiKeyPage> {
    const before = entryBefore(cursor);
    const found = await this.apiKeys.latest(caller, limit + 1, before);
    const keys = found.slice(0, limit);
    const last = found.length > limit ? keys.at(-1) : undefined;
    return { items: keys.map(apiKeyJson), next_cursor: last ? encodeCursor({ before: last.id }) : null };
  }

  /** A key that is good no longer. @throws InvalidInput @throws NotFound @throws DatabaseUnavailable */
  @Delete(':key_id')
  @HttpCode(204)
  @ApiOperation({
    summary: 'Revoke an API key',
    description: 'At once, in other processes within 5 s. It stays in the list.',
  })
  @ApiNoContentResponse()
  @ApiInvalidInput('key_id: must be a UUID')
  @ApiProblem(404, { not_found: 'There is no API key 5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11.' })
  async revoke(
    @Param() { key_id }: ApiKeyPath,
    @CurrentCaller() caller: Caller,
    @CurrentActor() actor: Actor,
  ): Promise<void> {
    await this.apiKeys.revoke(key_id, caller, actor);
    this.callers.forget();
  }
}
