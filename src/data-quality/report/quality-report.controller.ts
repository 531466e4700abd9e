import { Controller, Get, Param, Query, Res } from '@nestjs/common';
import { ApiAcceptedResponse, ApiOkResponse, ApiOperation, ApiTags, getSchemaPath } from '@nestjs/swagger';
import type { Response } from 'express';
import { withTimeout } from '../../platform/back-off.js';
import { RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { DayRangeQuery } from '../../platform/http/day-range.js';
import { progressOf } from '../../platform/http/run-json.js';
import { InvalidInput, NotFound } from '../../shared/errors.js';
import { reportJson } from './quality-report-json.js';
import { QualityReportJson, QualityReportPath, QualityReportProgress } from './quality-report.dto.js';
import { type QualityReportRun, QualityReports } from './quality-reports.service.js';

const MAX_WAIT_MS = 10_000;

/** What is wrong with the orders that arrive, and what about them is odd. */
@ApiTags('data quality')
@RequireScope('data-quality:read')
@Controller('data-quality')
export class QualityReportController {
  private readonly longestWaitMs = MAX_WAIT_MS;

  constructor(private readonly reports: QualityReports) {}

  /**
   * Reports on a range of days, and answers with the report or, where that takes long, with where to find it.
   * @throws InvalidInput @throws TooManyReports @throws RunStopped @throws DatabaseUnavailable
   */
  @Get()
  @ApiOperation({
    summary: 'What senders got wrong, what was corrected, and which orders stand out',
    description:
      'Of all orders in the ledger, or those of a range of days, which are cut in BUSINESS_TIME_ZONE. An entry belongs to ' +
      'the day of its order_timestamp or, where that could not be read, to the day its message was sent on. Refunds are ' +
      'not looked at. An order that failed and was repaired since stays failed here, and what it was repaired to is an ' +
      'order of its own. Suspects are orders that passed every rule and stand out, each with its evidence; thresholds are ' +
      'chosen so that there are few, and a suspect may be right. While the ledger does not grow, the same range is ' +
      'answered with the same report.',
  })
  @ApiOkResponse({ type: QualityReportJson })
  @ApiAcceptedResponse({
    type: QualityReportProgress,
    description: 'It takes longer than 10 s; `Location` is where its progress and the report are',
  })
  @ApiInvalidInput('start: must not be after end (2026-01-31)')
  @ApiProblem(429, { too_many_reports: '10 reports wait to be made; ask again later.' })
  @ApiProblem(503, {
    ledger_unavailable: 'PostgreSQL: connection refused',
    report_stopped: 'The service is shutting down; the report was given up.',
  })
  async report(
    @Query() { start, end }: DayRangeQuery,
    @Res({ passthrough: true }) response: Response,
  ): Promise<QualityReportJson | QualityReportProgress> {
    if (start !== undefined && end !== undefined && start > end) {
      throw new InvalidInput([{ field: 'start', message: `must not be after end (${end})` }]);
    }
    const run = await this.reports.request({ start, end });
    await withTimeout(this.longestWaitMs, run.ended);
    if (run.state === 'failed') throw run.failure;
    if (run.state !== 'done') response.status(202).location(`/data-quality/reports/${run.id}`);
    return answerOf(run);
  }

  /** How a report goes, or the report. @throws NotFound @throws InvalidInput */
  @Get('reports/:id')
  @ApiOperation({
    summary: 'How a report goes, or the report',
    description: 'The latest 20 of the process that was asked are known.',
  })
  @ApiOkResponse({
    schema: { oneOf: [QualityReportJson, QualityReportProgress].map((type) => ({ $ref: getSchemaPath(type) })) },
  })
  @ApiInvalidInput('id: must be the id of a report')
  @ApiProblem(404, { not_found: 'No report 7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11 is known.' })
  progress(@Param() { id }: QualityReportPath): QualityReportJson | QualityReportProgress {
    const run = this.reports.find(id);
    if (!run) throw new NotFound(`No report ${id} is known.`);
    return answerOf(run);
  }
}

function answerOf(run: QualityReportRun): QualityReportJson | QualityReportProgress {
  return run.state === 'done' ? reportJson(run) : progressOf(run);
}
