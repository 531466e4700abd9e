import { Controller, Get, Param, Res } from '@nestjs/common';
import { ApiAcceptedResponse, ApiOkResponse, ApiOperation, ApiTags, getSchemaPath } from '@nestjs/swagger';
import type { Response } from 'express';
import { withTimeout } from '../platform/back-off.js';
import { RequireScope } from '../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../platform/http/api-problem.js';
import { finishedRunOf, progressOf } from '../platform/http/run-json.js';
import { NotFound } from '../shared/errors.js';
import {
  LedgerVerificationPath,
  LedgerVerificationProgress,
  LedgerVerificationReport,
} from './ledger-verification.dto.js';
import { LedgerVerification, type LedgerVerificationRun } from './ledger-verification.service.js';

const MAX_WAIT_MS = 10_000;

/** Proves that the ledger is what was appended to it. */
@ApiTags('order events')
@RequireScope('order-events:read')
@Controller('ledger/verify')
export class LedgerVerificationController {
  private readonly maxWaitMs = MAX_WAIT_MS;

  constructor(private readonly verification: LedgerVerification) {}

  /**
   * Verifies, and answers with the result or, where that takes long, with where to find it.
   * @throws DatabaseUnavailable @throws RunStopped
   */
  @Get()
  @ApiOperation({
    summary: 'Hash every ledger entry again and compare',
    description:
      'The hash of an entry covers all that it says and the entry before it, so the first entry that was changed, or that ' +
      'is missing, is found. Bodies of which personal data were erased are left out. New entries are verified once an ' +
      'hour; see the metrics `ledger_verified_position` and `ledger_first_bad_position`.',
  })
  @ApiOkResponse({ type: LedgerVerificationReport })
  @ApiAcceptedResponse({
    type: LedgerVerificationProgress,
    description: 'It takes longer than 10 s; `Location` is where its progress and its result are',
  })
  @ApiProblem(503, {
    ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED',
    verification_stopped: 'The service is shutting down; the verification was given up.',
  })
  async verify(
    @Res({ passthrough: true }) response: Response,
  ): Promise<LedgerVerificationReport | LedgerVerificationProgress> {
    const run = this.verification.request();
    await withTimeout(this.maxWaitMs, run.ended);
    if (run.state === 'failed') throw run.failure;
    if (run.state !== 'done') response.status(202).location(`/ledger/verify/${run.id}`);
    return answerOf(run);
  }

  /** How a verification goes, or how it ended. @throws NotFound @throws InvalidInput */
  @Get(':id')
  @ApiOperation({
    summary: 'How a verification of the ledger goes, or its result',
    description: 'The latest 20 of the process that was asked are known.',
  })
  @ApiOkResponse({
    schema: {
      oneOf: [LedgerVerificationReport, LedgerVerificationProgress].map((type) => ({ $ref: getSchemaPath(type) })),
    },
  })
  @ApiInvalidInput('id: must be the id of a verification')
  @ApiProblem(404, { not_found: 'No verification 7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11 is known.' })
  progress(@Param() { id }: LedgerVerificationPath): LedgerVerificationReport | LedgerVerificationProgress {
    const run = this.verification.find(id);
    if (!run) throw new NotFound(`No verification ${id} is known.`);
    return answerOf(run);
  }
}

function answerOf(run: LedgerVerificationRun): LedgerVerificationReport | LedgerVerificationProgress {
  const { result } = run;
  if (!result) return progressOf(run);
  return {
    ...finishedRunOf(run),
    verified: result.firstBadPosition === null,
    position: result.position,
    first_bad_position: result.firstBadPosition,
  };
}
