import { randomBytes } from 'node:crypto';
import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { Audit } from '../platform/audit/audit.js';
import { CurrentActor, RequireScope } from '../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../platform/http/api-problem.js';
import { QueueClock } from '../platform/queue/queue-clock.js';
import { QueueSender, QueueUnavailable } from '../platform/queue/queue-sender.js';
import type { Actor } from '../shared/access.js';
import { ProduceAnswer, ProduceRequest } from './produce.dto.js';
import { sampleOrders } from './sample-orders.rules.js';
import { instantOf, sampleRun } from './sample-run.rules.js';

/** Puts sample orders on the queue, to see the service at work. */
@ApiTags('producer')
@RequireScope('orders:produce')
@Controller('produce')
export class ProducerController {
  constructor(
    private readonly sender: QueueSender,
    private readonly queueClock: QueueClock,
    private readonly audit: Audit,
  ) {}

  /**
   * Sends the sample orders and names every one that the queue took.
   * @throws QueueUnavailable if it took none @throws DatabaseUnavailable where it can't be recorded
   */
  @Post()
  @HttpCode(200)
  @ApiOperation({
    summary: 'Send sample orders to the queue',
    description:
      'About a hundred users, six products, times spread over 180 days. The wrong ones take turns: bad order id, bad ' +
      'user id, value 0, wrong value (which is corrected, not failed), missing fields, bad quantity, malformed JSON. ' +
      'The same seed, run_id and as_of give the same messages, byte by byte.',
  })
  @ApiBody({
    type: ProduceRequest,
    required: false,
    examples: {
      default: { summary: 'Ten orders, two of them wrong', value: {} },
      many: { summary: 'A thousand valid ones', value: { count: 1000, invalid_rate: 0 } },
      repeatable: {
        summary: 'The same messages each time',
        value: { count: 20, seed: 7, run_id: 'demo-1', as_of: '2026-01-31T12:00:00Z' },
      },
    },
  })
  @ApiOkResponse({ type: ProduceAnswer })
  @ApiInvalidInput('count: must be at least 1')
  @ApiProblem(503, {
    queue_unavailable: 'Nothing could be sent to the queue orders-queue: connection refused',
    ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED',
  })
  async produce(@Body() request: ProduceRequest, @CurrentActor() actor: Actor): Promise<ProduceAnswer> {
    const run = sampleRun(
      {
        count: request.count,
        invalidRate: request.invalid_rate,
        seed: request.seed,
        runId: request.run_id,
        asOf: request.as_of ? instantOf(request.as_of) : undefined,
      },
      randomBytes(8),
      this.queueClock.capped(Date.now()),
    );
    const samples = [...sampleOrders(run)];
    await this.audit.announce(actor, {
      action: 'orders.produced',
      target: `queue:${this.sender.queueName}`,
      after: { count: run.count, invalid_rate: run.invalidRate, seed: run.seed, run_id: run.runId },
    });
    const { messageIds, failed } = await this.sender.sendAll(samples.map(({ body }) => body));
    if (failed.length === samples.length) throw new QueueUnavailable(this.sender.queueName, failed[0]!);

    const orders = samples.flatMap(({ order_id, user_id, order_value }, index) => {
      const message_id = messageIds[index];
      return message_id ? [{ order_id, user_id, order_value, message_id }] : [];
    });
    if (failed.length === 0) return { message: `Produced ${counted(orders.length)}`, orders };
    return {
      message: `Produced ${orders.length.toLocaleString('en')} of ${counted(samples.length)}; ${failed.length.toLocaleString('en')} could not be sent`,
      orders,
      failed: failed.map(({ index, code, message }) => ({ order_id: samples[index]!.order_id, code, message })),
    };
  }
}

function counted(orders: number): string {
  return `${orders.toLocaleString('en')} ${orders === 1 ? 'order' : 'orders'}`;
}
