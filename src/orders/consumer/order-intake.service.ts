import type { Message } from '@aws-sdk/client-sqs';
import { Inject, Injectable } from '@nestjs/common';
import { isUUID } from 'class-validator';
import { Ledger } from '../../ledger/ledger.repository.js';
import type { AppendResult } from '../../ledger/ledger-entry.js';
import { Metrics } from '../../platform/observability/metrics.js';
import { OrdersQueue } from '../../platform/queue/queue.js';
import { ReceiveGate } from '../../platform/queue/receive-gate.js';
import { CONFIG, type Config } from '../../shared/config.js';
import {
  type ValidatedMessage,
  type ValidationPolicy,
  type Outcome,
  type ReceivedMessage,
  REPAIR_ATTRIBUTE,
} from '../../domain/order-event.js';
import { ConsumerLog } from '../consumer-log/consumer-log.service.js';
import { DeliveryFailures } from './delivery-failures.repository.js';
import { judge } from '../../domain/validation/order-event.rules.js';

/** How much of the visibility timeout an outage of the ledger may use up before messages go back to the queue. */
const PATIENCE = 0.5;

/** Takes messages from the queue into the ledger. What it returns is acknowledged; what it throws is delivered again. */
@Injectable()
export class OrderIntake {
  private readonly policy: ValidationPolicy;
  private readonly patienceMs: number;

  constructor(
    private readonly ledger: Ledger,
    private readonly log: ConsumerLog,
    private readonly failures: DeliveryFailures,
    private readonly metrics: Metrics,
    private readonly queue: OrdersQueue,
    private readonly gate: ReceiveGate,
    @Inject(CONFIG) config: Config,
  ) {
    const { currency, orderValueMismatch, maxOrderCents } = config;
    this.policy = { currency, orderValueMismatch, maxOrderCents };
    this.patienceMs = config.queue.visibilityTimeout * 1000 * PATIENCE;
  }

  /**
   * Judges messages and writes them to the ledger.
   * @returns those that are in the ledger now; one that the database refuses to hold stays on the queue
   * @throws DatabaseUnavailable when an outage lasts too long to keep the messages in hand
   */
  async handle(messages: Message[]): Promise<Message[]> {
    const bytes = messages.reduce((sum, { Body }) => sum + Buffer.byteLength(Body ?? ''), 0);
    this.gate.batchBegins(bytes);
    try {
      return await this.store(messages);
    } finally {
      this.gate.batchEnds(bytes);
    }
  }

  private async store(messages: Message[]): Promise<Message[]> {
    const receivedAt = Date.now();
    this.metrics.messagesConsumed.inc(messages.length);
    const stop = this.metrics.processDuration.startTimer();
    const judged = messages.map((message) => judge(received(message, receivedAt), this.policy));
    const results = await this.ledger.append(judged, this.patienceMs);
    stop();
    this.account(judged, results);
    return messages.filter((_, i) => results[i]!.kind !== 'refused');
  }

  private account(judged: ValidatedMessage[], results: AppendResult[]): void {
    for (const result of results) {
      const outcome = metricOutcome(result);
      if (outcome) this.metrics.ordersProcessed.inc({ outcome });
    }
    this.log.record(judged, results);
    const faults = results.flatMap((result, i) =>
      result.kind === 'refused' ? [{ messageId: judged[i]!.messageId, error: result.error }] : [],
    );
    for (const { error } of faults) this.queue.activity.faulted(1, error);
    this.failures.record(faults);
  }
}

/** Null where nothing became of the message yet. */
function metricOutcome(result: AppendResult): Outcome | 'duplicate' | 'waiting' | null {
  switch (result.kind) {
    case 'stored':
    case 'repaired':
      return result.outcome;
    case 'not_repaired':
      return 'failed';
    case 'duplicate':
    case 'waiting':
      return result.kind;
    case 'refused':
      return null;
  }
}

function received(message: Message, receivedAt: number): ReceivedMessage {
  const repairId = message.MessageAttributes?.[REPAIR_ATTRIBUTE]?.StringValue;
  return {
    messageId: message.MessageId ?? '',
    body: message.Body ?? '',
    // An emulator may leave it out; then the message counts as sent when it was received.
    sentAt: Number(message.Attributes?.SentTimestamp ?? receivedAt),
    receivedAt,
    // Anybody may put the attribute on a message; what can't be an id of ours is none.
    ...(repairId !== undefined && isUUID(repairId) && { repairId }),
  };
}
