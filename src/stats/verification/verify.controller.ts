import { Controller, Get, Param, Res } from '@nestjs/common';
import { ApiAcceptedResponse, ApiOkResponse, ApiOperation, ApiTags, getSchemaPath } from '@nestjs/swagger';
import type { Response } from 'express';
import { withTimeout } from '../../platform/back-off.js';
import { RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { finishedRunOf, progressOf } from '../../platform/http/run-json.js';
import { NotFound } from '../../shared/errors.js';
import { decimalOfSum, wholeNumberOf } from '../../domain/money.js';
import { ApiStatsUnavailable } from '../api/stats.dto.js';
import { Verification, type VerificationRun } from './verification.service.js';
import type { Mismatch, StoredValue } from './verification.rules.js';
import { VerificationMismatch, VerificationPath, VerificationProgress, VerificationReport } from './verify.dto.js';

const MAX_WAIT_MS = 10_000;

/** Proves that the live figures are what the ledger says. */
@ApiTags('statistics')
@RequireScope('statistics:read')
@Controller('stats/verify')
export class VerifyController {
  private readonly longestWaitMs = MAX_WAIT_MS;

  constructor(private readonly verification: Verification) {}

  /**
   * Verifies, and answers with the result or, where that takes long, with where to find it.
   * @throws StatsRebuilding @throws RedisUnavailable @throws DatabaseUnavailable @throws RunStopped
   */
  @Get()
  @ApiOperation({
    summary: 'Recompute every figure from the ledger and compare',
    description:
      'Aggregates the ledger by SQL and compares every value, and the size of every collection, with Redis, while both go ' +
      'on. One verification runs at a time: who asks meanwhile is answered by the next. `POST /stats/rebuild` mends ' +
      'figures that are wrong. It is also done once an hour; see the metrics `stats_drift_cents` and ' +
      '`stats_verified_timestamp_seconds`.',
  })
  @ApiOkResponse({ type: VerificationReport })
  @ApiAcceptedResponse({
    type: VerificationProgress,
    description: 'It takes longer than 10 s; `Location` is where its progress and its result are',
  })
  @ApiStatsUnavailable({ verification_stopped: 'The service is shutting down; the verification was given up.' })
  async verify(@Res({ passthrough: true }) response: Response): Promise<VerificationReport | VerificationProgress> {
    const run = this.verification.request();
    await withTimeout(this.longestWaitMs, run.ended);
    if (run.state === 'failed') throw run.failure;
    if (run.state !== 'done') response.status(202).location(`/stats/verify/${run.id}`);
    return answerOf(run);
  }

  /** How a verification goes, or how it ended. @throws NotFound @throws InvalidInput */
  @Get(':id')
  @ApiOperation({
    summary: 'How a verification goes, or its result',
    description: 'The latest 20 of the process that was asked are known.',
  })
  @ApiOkResponse({
    schema: { oneOf: [VerificationReport, VerificationProgress].map((type) => ({ $ref: getSchemaPath(type) })) },
  })
  @ApiInvalidInput('id: must be the id of a verification')
  @ApiProblem(404, { not_found: 'No verification 7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11 is known.' })
  progress(@Param() { id }: VerificationPath): VerificationReport | VerificationProgress {
    const run = this.verification.find(id);
    if (!run) throw new NotFound(`No verification ${id} is known.`);
    return answerOf(run);
  }
}

function answerOf(run: VerificationRun): VerificationReport | VerificationProgress {
  const { result } = run;
  if (!result) return progressOf(run);
  const { position, entries, usersChecked, monthsChecked, mismatches } = result;
  return {
    ...finishedRunOf(run),
    verified: mismatches.count === 0,
    position,
    entries,
    users_checked: usersChecked,
    months_checked: monthsChecked,
    drift_cents: wholeNumberOf(mismatches.driftCents),
    mismatch_count: mismatches.count,
    mismatches: mismatches.first.map(shown),
  };
}

function shown({ key, field, expected, found, isMoney }: Mismatch): VerificationMismatch {
  const asShown = (value: StoredValue): number | string | null => {
    if (typeof value !== 'bigint') return value;
    return isMoney ? decimalOfSum(value) : wholeNumberOf(value);
  };
  return { key, field, expected: asShown(expected), found: asShown(found) };
}
