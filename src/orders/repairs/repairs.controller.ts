import { Body, Controller, Get, HttpCode, Param, Post, Query, Res } from '@nestjs/common';
import { ApiAcceptedResponse, ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { Response } from 'express';
import { CurrentActor, RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { encodeCursor, placeBefore } from '../../platform/http/cursor.js';
import type { Actor } from '../../shared/access.js';
import { NotFound } from '../../shared/errors.js';
import { RepairDispatch } from './repair-dispatch.worker.js';
import {
  BulkRetryAnswer,
  BulkRetryRequest,
  FailedPositionPath,
  repairJson,
  RepairJson,
  RepairPage,
  RepairPath,
  RepairsQuery,
  RetryRequest,
} from './repairs.dto.js';
import { Repairs } from './repairs.service.js';

/** Lets failed orders be judged again, as they were or corrected. */
@ApiTags('repairs')
@Controller()
export class RepairsController {
  constructor(
    private readonly repairs: Repairs,
    private readonly dispatch: RepairDispatch,
  ) {}

  /** One failed order again. @throws InvalidInput @throws NotFound @throws NotFailed @throws AlreadyRepaired @throws RepairUnderWay @throws DatabaseUnavailable */
  @Post('order-events/:position/retry')
  @RequireScope('order-events:repair')
  @HttpCode(202)
  @ApiOperation({
    summary: 'Retry a failed order, as it was received or corrected',
    description:
      'Recorded with who, when and what changed, then sent through the queue. Where the order passes it counts, and an entry ' +
      'of kind repair takes the failed one back out of the failed counts. Where it fails again the repair ends with the ' +
      'reasons, and another one may be asked for.',
  })
  @ApiBody({
    type: RetryRequest,
    required: false,
    examples: {
      corrected: {
        summary: 'With a corrected order',
        value: {
          order: {
            order_id: 'ORD-1001',
            user_id: 'U042',
            order_timestamp: '2026-01-31T12:00:00Z',
            order_value: 25.98,
            items: [{ product_id: 'P001', quantity: 2, price_per_unit: 12.99 }],
          },
        },
      },
      unchanged: { summary: 'As it was received, for example after a setting was changed', value: {} },
    },
  })
  @ApiAcceptedResponse({
    type: RepairJson,
    description: 'Recorded. The resource named by Location tells what becomes of it',
    headers: { Location: { description: 'The repair', schema: { type: 'string', example: '/repairs/0b5f6a3e-…' } } },
  })
  @ApiInvalidInput('order: must be an order event')
  @ApiProblem(404, { not_found: 'The ledger has no position 7.' })
  @ApiProblem(409, {
    not_failed: 'Position 7 is not a failed order.',
    already_repaired: 'Position 7 was repaired by position 42.',
    repair_pending: 'A repair of position 7 is under way, see GET /repairs?position=7.',
  })
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async retry(
    @Param() { position }: FailedPositionPath,
    @Body() { order }: RetryRequest,
    @CurrentActor() actor: Actor,
    @Res({ passthrough: true }) response: Response,
  ): Promise<RepairJson> {
    const repair = await this.repairs.request(position, order, actor);
    this.dispatch.notify();
    response.location(`/repairs/${repair.id}`);
    return repairJson(repair);
  }

  /** All failed orders with a reason again. @throws InvalidInput @throws DatabaseUnavailable */
  @Post('order-events/retry')
  @RequireScope('order-events:repair')
  @HttpCode(202)
  @ApiOperation({
    summary: 'Retry all failed orders that have a reason',
    description:
      'As they were received: of use after a setting was changed. Those that are repaired, or being repaired, are left out.',
  })
  @ApiBody({
    type: BulkRetryRequest,
    examples: {
      dryRun: { summary: 'How many would it be?', value: { reason: 'order_value_mismatch', dry_run: true } },
      retry: { summary: 'Retry them', value: { reason: 'order_value_mismatch' } },
    },
  })
  @ApiAcceptedResponse({ type: BulkRetryAnswer, description: 'GET /repairs tells what becomes of them' })
  @ApiInvalidInput('reason: must be one of the reason codes, such as missing_user_id')
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async retryAll(
    @Body() { reason, dry_run }: BulkRetryRequest,
    @CurrentActor() actor: Actor,
  ): Promise<BulkRetryAnswer> {
    const { matched, retried } = await this.repairs.requestAll(reason, dry_run ? null : actor);
    if (retried > 0) this.dispatch.notify();
    return { matched, retried, dry_run };
  }

  /** Repairs, newest first; every filter given must hold. @throws InvalidInput @throws DatabaseUnavailable */
  @Get('repairs')
  @RequireScope('order-events:read')
  @ApiOperation({ summary: 'Repairs, newest first: who asked for what, and what became of it' })
  @ApiOkResponse({ type: RepairPage })
  @ApiInvalidInput('state: must be one of pending, repaired, failed')
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async list(@Query() { state, position, cursor, limit }: RepairsQuery): Promise<RepairPage> {
    const before = placeBefore(cursor);
    const { repairs, more } = await this.repairs.page({ state, failedPosition: position, before }, limit);
    const last = more ? repairs.at(-1) : undefined;
    return { items: repairs.map(repairJson), next_cursor: last ? encodeCursor({ before: last.number }) : null };
  }

  /** One repair. @throws InvalidInput @throws NotFound @throws DatabaseUnavailable */
  @Get('repairs/:id')
  @RequireScope('order-events:read')
  @ApiOperation({ summary: 'One repair' })
  @ApiOkResponse({ type: RepairJson })
  @ApiInvalidInput('id: must be the id of a repair')
  @ApiProblem(404, { not_found: 'There is no such repair.' })
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async one(@Param() { id }: RepairPath): Promise<RepairJson> {
    const repair = await this.repairs.find(id);
    if (!repair) throw new NotFound('There is no such repair.');
    return repairJson(repair);
  }
}
