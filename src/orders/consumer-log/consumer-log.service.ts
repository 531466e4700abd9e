import { Injectable, Logger } from '@nestjs/common';
import type { AppendResult } from '../../ledger/ledger-entry.js';
import { Metrics } from '../../platform/observability/metrics.js';
import { Redis, type RedisCommand } from '../../platform/redis/redis.js';
import { messageOf } from '../../shared/errors.js';
import { faultText } from '../../shared/fault-text.js';
import { decimalOf } from '../../domain/money.js';
import type { ValidatedMessage } from '../../domain/order-event.js';

/** Older lines go. */
const MAX_LINES = 10_000;

/** How serious a line of the consumer log is. */
export type LogLevel = 'info' | 'warn' | 'error';

/** What became of a message, as the consumer log says it. */
export const LOGGED_OUTCOMES = [
  'accepted',
  'corrected',
  'failed',
  'duplicate',
  'waiting',
  'repaired',
  'not_repaired',
  'refused',
  'not_processed',
] as const;

/** One of {@link LOGGED_OUTCOMES}. */
export type LoggedOutcome = (typeof LOGGED_OUTCOMES)[number];

/** A line of the consumer log. */
export interface LogLine {
  /** ISO 8601, UTC. */
  timestamp: string;
  level: LogLevel;
  message: string;
  order_id: string | null;
  user_id: string | null;
  outcome: LoggedOutcome;
}

/** A line with its place in the stream. */
export interface StreamedLine extends LogLine {
  id: string;
}

/**
 * What the consumers of all processes did lately, in a capped Redis stream. A convenience, not a record: while Redis
 * is down lines are dropped (and counted), and intake does not wait for it.
 */
@Injectable()
export class ConsumerLog {
  private readonly logger = new Logger('ConsumerLog');
  private waiting: LogLine[] = [];

  constructor(
    private readonly redis: Redis,
    private readonly metrics: Metrics,
  ) {}

  /** Notes what became of messages; returns at once. */
  record(judged: ValidatedMessage[], results: AppendResult[]): void {
    this.append(judged.map((message, i) => lineOn(message, results[i]!)));
  }

  /** Notes that messages could not be processed by a fault of ours and stay on the queue; returns at once. */
  recordFailure(messages: number, error: unknown): void {
    const message = `${messages} ${messages === 1 ? 'message' : 'messages'} not processed, to be delivered again: ${faultText(messageOf(error))}`;
    this.append([line('error', message, 'not_processed', null, null)]);
  }

  /** How many lines there are, and the latest of them, oldest first. @throws RedisUnavailable */
  async latest(limit: number): Promise<{ total: number; lines: StreamedLine[] }> {
    const key = this.redis.keys.consumerLogs;
    const [total, found] = await this.redis.guarded((client) =>
      Promise.all([client.xlen(key), client.xrevrange(key, '+', '-', 'COUNT', limit)]),
    );
    return { total, lines: found.map(streamedLine).reverse() };
  }

  /** Lines after one, oldest first. @param id of that line @throws RedisUnavailable */
  async after(id: string, limit: number): Promise<StreamedLine[]> {
    const key = this.redis.keys.consumerLogs;
    // The line itself is asked for and left out: the model of Redis in memory has no exclusive ranges. Nor does it read
    // an id's "-0", which says nothing.
    const start = id.replace(/-0$/, '');
    const found = await this.redis.guarded((client) => client.xrange(key, start, '+', 'COUNT', limit + 1));
    return found.filter(([foundId]) => foundId !== id).map(streamedLine);
  }

  /** What all pollers note in one turn of the event loop goes to Redis at once. */
  private append(lines: LogLine[]): void {
    if (this.waiting.length === 0) setImmediate(() => this.flush());
    this.waiting.push(...lines);
  }

  private flush(): void {
    const lines = this.waiting;
    this.waiting = [];
    if (!this.redis.availability.up) {
      this.metrics.logLinesDropped.inc(lines.length);
      return;
    }
    const key = this.redis.keys.consumerLogs;
    const commands = lines.map((entry): RedisCommand => [
      'xadd',
      key,
      'MAXLEN',
      '~',
      MAX_LINES,
      this.redis.nextStreamId(),
      'line',
      JSON.stringify(entry),
    ]);
    this.redis.pipelined(commands).catch((error: unknown) => {
      this.metrics.logLinesDropped.inc(lines.length);
      this.logger.debug(`Lines of the consumer log were dropped: ${messageOf(error)}`);
    });
  }
}

function lineOn(message: ValidatedMessage, result: AppendResult): LogLine {
  const { orderId, userId } = message;
  const what = message.kind === 'refund' ? refundIn(message) : orderIn(message);
  const make = (level: LogLevel, text: string, outcome: LoggedOutcome): LogLine =>
    line(level, text, outcome, orderId, userId);
  switch (result.kind) {
    case 'duplicate':
      return make(
        'info',
        `${what}: duplicate of ${result.position === null ? 'one that waits for its order' : `position ${result.position}`}`,
        'duplicate',
      );
    case 'waiting':
      return make('info', `${what} waits for its order: ${decimalOf(message.value!).toFixed(2)}`, 'waiting');
    case 'refused':
      return make(
        'error',
        `${what} could not be stored and will be delivered again: ${faultText(messageOf(result.error))}`,
        'refused',
      );
    case 'repaired':
      return make('info', `${what} repaired: it counts at position ${result.position}`, 'repaired');
    case 'not_repaired':
      return make(
        'warn',
        `The retry of position ${result.position} failed again: ${result.reasons.join(', ')}`,
        'not_repaired',
      );
    case 'stored':
      if (result.outcome === 'failed') return make('warn', `${what} failed: ${result.reasons.join(', ')}`, 'failed');
      if (result.outcome === 'corrected') {
        const claimed = message.claimed === null ? 'no readable value' : decimalOf(message.claimed).toFixed(2);
        const counted = decimalOf(message.value!).toFixed(2);
        return make('warn', `${what} corrected: ${claimed} claimed, ${counted} counted`, 'corrected');
      }
      return make('info', `${what} accepted: ${decimalOf(message.value!).toFixed(2)}`, 'accepted');
  }
}

function orderIn({ orderId, userId }: ValidatedMessage): string {
  return `${orderId ? `Order ${orderId}` : 'An order without a readable id'}${userId ? ` of ${userId}` : ''}`;
}

function refundIn({ orderId, refundId }: ValidatedMessage): string {
  return `${refundId ? `Refund ${refundId}` : 'A refund without a readable id'}${orderId ? ` of ${orderId}` : ''}`;
}

function line(
  level: LogLevel,
  message: string,
  outcome: LoggedOutcome,
  orderId: string | null,
  userId: string | null,
): LogLine {
  return { timestamp: new Date().toISOString(), level, message, order_id: orderId, user_id: userId, outcome };
}

function streamedLine([id, fields]: [id: string, fields: string[]]): StreamedLine {
  return { id, ...(JSON.parse(fields[1]!) as LogLine) };
}
