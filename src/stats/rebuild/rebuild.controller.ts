import { Body, Controller, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common';
import { ApiAcceptedResponse, ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { Response } from 'express';
import { CurrentActor, RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { encodeCursor, entryBefore } from '../../platform/http/cursor.js';
import type { Actor } from '../../shared/access.js';
import { NotFound } from '../../shared/errors.js';
import { RebuildRequests } from './rebuild-requests.service.js';
import { RebuildJson, rebuildJson, RebuildPage, RebuildPageQuery, RebuildPath, RebuildRequest } from './rebuild.dto.js';

/** Makes the live statistics anew from the ledger, while the present ones are served. */
@ApiTags('statistics')
@Controller('stats/rebuild')
export class RebuildController {
  constructor(private readonly rebuilds: RebuildRequests) {}

  /** Asks for a rebuild. @throws RebuildRunning @throws RedisUnavailable @throws DatabaseUnavailable */
  @Post()
  @RequireScope('statistics:manage')
  @HttpCode(202)
  @ApiOperation({
    summary: 'Make the statistics anew from the ledger',
    description:
      'Runs in the background; `Location` is where its progress is told. The present figures are served and kept up to ' +
      'date until the new ones, which are at least as far, take their place. With `from_beginning` a clearing is undone.',
  })
  @ApiBody({
    type: RebuildRequest,
    required: false,
    examples: {
      default: { summary: 'The figures as they are, made anew', value: {} },
      from_beginning: { summary: 'Undo a clearing', value: { from_beginning: true } },
    },
  })
  @ApiAcceptedResponse({
    type: RebuildJson,
    headers: { Location: { description: 'Where its progress is told', schema: { type: 'string' } } },
  })
  @ApiInvalidInput('from_beginning: must be true or false')
  @ApiProblem(409, {
    rebuild_running: 'A rebuild is under way already, see /stats/rebuild/b1c5a7de-8a53-4f0e-9a38-0c4f4a0d2f11',
  })
  @ApiProblem(503, {
    redis_unavailable: 'Redis: connection refused',
    ledger_unavailable: 'PostgreSQL: connection refused',
  })
  async request(
    @Body() { from_beginning }: RebuildRequest,
    @CurrentActor() actor: Actor,
    @Res({ passthrough: true }) response: Response,
  ): Promise<RebuildJson> {
    const rebuild = await this.rebuilds.request(actor, from_beginning);
    response.location(`/stats/rebuild/${rebuild.id}`);
    return rebuildJson(rebuild);
  }

  /** Rebuilds that were asked for, newest first. @throws InvalidInput @throws DatabaseUnavailable */
  @Get()
  @RequireScope('statistics:read')
  @ApiOperation({ summary: 'Rebuilds that were asked for, newest first' })
  @ApiOkResponse({ type: RebuildPage })
  @ApiInvalidInput('cursor: must be a next_cursor of this list')
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connection refused' })
  async list(@Query() { cursor, limit }: RebuildPageQuery): Promise<RebuildPage> {
    const before = entryBefore(cursor);
    const found = await this.rebuilds.latest(limit + 1, before);
    const rebuilds = found.slice(0, limit);
    const last = found.length > limit ? rebuilds.at(-1) : undefined;
    return { items: rebuilds.map(rebuildJson), next_cursor: last ? encodeCursor({ before: last.id }) : null };
  }

  /** One rebuild and how far it is. @throws NotFound @throws DatabaseUnavailable */
  @Get(':id')
  @RequireScope('statistics:read')
  @ApiOperation({ summary: 'One rebuild, and how far it is' })
  @ApiOkResponse({ type: RebuildJson })
  @ApiInvalidInput('id: must be a UUID')
  @ApiProblem(404, { not_found: 'There is no rebuild b1c5a7de-8a53-4f0e-9a38-0c4f4a0d2f11.' })
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connection refused' })
  async one(@Param() { id }: RebuildPath): Promise<RebuildJson> {
    const rebuild = await this.rebuilds.one(id);
    if (!rebuild) throw new NotFound(`There is no rebuild ${id}.`);
    return rebuildJson(rebuild);
  }
}
