import { Controller, Get, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { encodeCursor, placeBefore } from '../../platform/http/cursor.js';
import { findingJson, FindingPage, FindingsQuery } from './findings.dto.js';
import { Findings } from './findings.repository.js';

/** What the scheduled check of orders found. */
@ApiTags('data quality')
@Controller('data-quality/findings')
export class FindingsController {
  constructor(private readonly findings: Findings) {}

  /** Findings, newest first; every filter given must hold. @throws InvalidInput @throws DatabaseUnavailable */
  @Get()
  @RequireScope('data-quality:read')
  @ApiOperation({
    summary: 'What scheduled checks of failed and suspect orders found, newest first',
    description:
      'Every `DATA_QUALITY_CHECK_MINUTES` a sample of the orders that failed or became suspect since the last time is checked ' +
      'as `POST /data-quality/check` does. Where the budget of the language model did not allow to ask it, or there is none, the rules alone ' +
      'have checked, and `check.model_reason` says so. Findings are kept for 90 days. None of them changes the ledger: ' +
      '`check.proposed_fix.apply` is the call that would.',
  })
  @ApiOkResponse({ type: FindingPage })
  @ApiInvalidInput('cause: must be one of failed, suspect')
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async list(@Query() { cause, cursor, limit }: FindingsQuery): Promise<FindingPage> {
    const { findings, more } = await this.findings.page({ cause, before: placeBefore(cursor) }, limit);
    const last = more ? findings.at(-1) : undefined;
    return { items: findings.map(findingJson), next_cursor: last ? encodeCursor({ before: last.number }) : null };
  }
}
