import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentActor, RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { encodeCursor, placeBefore } from '../../platform/http/cursor.js';
import type { Actor } from '../../shared/access.js';
import {
  FailedJobJson,
  failedJobJson,
  FailedJobPage,
  FailedJobPath,
  FailedJobsQuery,
  ResolveRequest,
} from './failed-jobs.dto.js';
import { FailedJobs, JobSeenTo } from './failed-jobs.service.js';

const NO_JOB = { not_found: 'There is no failed job 1.' };
const SEEN_TO = { job_seen_to: new JobSeenTo(1, 'resolved').message };

/** Orders that a person has to see to. */
@ApiTags('system')
@ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
@Controller('api/v1/system/failed-jobs')
export class FailedJobsController {
  constructor(private readonly jobs: FailedJobs) {}

  /** What was tried often enough. @throws InvalidInput @throws DatabaseUnavailable */
  @Get()
  @RequireScope('orders:manage-any')
  @ApiOperation({ summary: 'What did not succeed however often it was tried, newest first' })
  @ApiOkResponse({ type: FailedJobPage })
  @ApiInvalidInput('state: must be one of open, retried, resolved')
  async list(@Query() { state, cursor, limit }: FailedJobsQuery): Promise<FailedJobPage> {
    const found = await this.jobs.page(state, limit + 1, placeBefore(cursor));
    const jobs = found.slice(0, limit);
    const last = found.length > limit ? jobs.at(-1) : undefined;
    return { items: jobs.map(failedJobJson), next_cursor: last ? encodeCursor({ before: last.id }) : null };
  }

  /** Tries again. @throws InvalidInput @throws NotFound @throws JobSeenTo @throws DatabaseUnavailable */
  @Post(':job_id/retry')
  @HttpCode(200)
  @RequireScope('orders:manage-any')
  @ApiOperation({ summary: 'Have it tried again, as often as at first' })
  @ApiOkResponse({ type: FailedJobJson })
  @ApiInvalidInput('job_id: must be a whole number from 1 to 999999999999999')
  @ApiProblem(404, NO_JOB)
  @ApiProblem(409, SEEN_TO)
  async retry(@Param() { job_id }: FailedJobPath, @CurrentActor() actor: Actor): Promise<FailedJobJson> {
    return failedJobJson(await this.jobs.retry(job_id, actor));
  }

  /** Takes it off the list. @throws InvalidInput @throws NotFound @throws JobSeenTo @throws DatabaseUnavailable */
  @Post(':job_id/resolve')
  @HttpCode(200)
  @RequireScope('orders:manage-any')
  @ApiOperation({ summary: 'Say that it was seen to by hand, and how' })
  @ApiOkResponse({ type: FailedJobJson })
  @ApiInvalidInput('note: must have 1 to 500 characters')
  @ApiProblem(404, NO_JOB)
  @ApiProblem(409, SEEN_TO)
  async resolve(
    @Param() { job_id }: FailedJobPath,
    @Body() { note }: ResolveRequest,
    @CurrentActor() actor: Actor,
  ): Promise<FailedJobJson> {
    return failedJobJson(await this.jobs.resolve(job_id, note, actor));
  }
}
