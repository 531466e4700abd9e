import { Injectable, Logger } from '@nestjs/common';
import { Audit } from '../../platform/audit/audit.js';
import { pause } from '../../platform/back-off.js';
import { type DeadLetter, DeadLetterQueue, type HeldDeadLetters } from '../../platform/queue/dead-letter-queue.js';
import { QueueSender } from '../../platform/queue/queue-sender.js';
import { MAX_ENTRIES_PER_CALL } from '../../platform/queue/sqs-limits.js';
import type { Actor } from '../../shared/access.js';
import { ClientError, messageOf, NotFound, UnavailableError } from '../../shared/errors.js';
import { isoOf } from '../../shared/iso-time.js';
import { type DeadLetterFilter, matches } from './dead-letter-filter.rules.js';
import { DeliveryFailures, type DeliveryFailure } from '../consumer/delivery-failures.repository.js';

const SAMPLE_LIMITS = { messages: 100, seconds: 10 };
const SEARCH_LIMITS = { messages: 1_000, seconds: 15 };
const REDRIVE_LIMITS = { messages: 5_000, seconds: 28 };

/** A dead letter with what is recorded of it; null where nothing is. */
export interface ExplainedDeadLetter extends DeadLetter {
  failure: DeliveryFailure | null;
}

/** Which dead letters to send back, and how quickly. */
export interface RedriveOrder {
  limit: number;
  filter: DeadLetterFilter;
  /** Only look which they are. */
  dryRun: boolean;
  /** Messages a second, on average. */
  perSecond: number;
}

/** What became of a redrive. */
export interface RedriveTotals {
  lookedAt: number;
  /** Those that were meant, up to the limit: message ids. */
  matched: string[];
  redriven: number;
  /** Those that could not be sent, and stay dead letters. */
  failed: number;
}

/** Two redrives at once would hide messages from each other. */
export class RedriveRunning extends ClientError {
  readonly code = 'redrive_running';
  readonly kind = 'conflict';
  constructor() {
    super('A redrive is running; ask again when it has ended, within half a minute.');
  }
}

/** A redrive ended early because of the queue, after it had sent some. */
export class RedriveBrokenOff extends UnavailableError {
  readonly code = 'queue_unavailable';
  override readonly details: Record<string, unknown>;
  constructor({ lookedAt, matched, redriven, failed }: RedriveTotals, cause: UnavailableError) {
    super(`The redrive was broken off: ${cause.message}`, { cause });
    this.details = { looked_at: lookedAt, matched: matched.length, redriven, failed };
  }
}

/** SQS was asked to delete a dead letter and did not. */
export class NotDeleted extends UnavailableError {
  readonly code = 'queue_unavailable';
  constructor(messageId: string) {
    super(`SQS did not delete the dead letter ${messageId}.`);
  }
}

/** Messages that this service could not process, which SQS moved aside: looks at them, sends them back, deletes them. */
@Injectable()
export class DeadLetters {
  private readonly logger = new Logger('DeadLetters');
  private redriving = false;
  /** Between two groups of a redrive. */
  private readonly pause = pause;

  constructor(
    private readonly queue: DeadLetterQueue,
    private readonly sender: QueueSender,
    private readonly failures: DeliveryFailures,
    private readonly audit: Audit,
  ) {}

  /** Some dead letters, at most `limit`, and about how many there are. @throws DeadLetterQueueUnavailable */
  async sample(limit: number): Promise<{ waiting: number; letters: ExplainedDeadLetter[] }> {
    const waiting = await this.queue.count();
    const letters = await this.queue.holding(SAMPLE_LIMITS, async (held) => {
      const sampled: DeadLetter[] = [];
      while (sampled.length < limit) {
        const group = await held.next(limit - sampled.length);
        if (group.length === 0) break;
        sampled.push(...group);
      }
      return sampled;
    });
    const failures = await this.failuresOf(letters);
    return {
      waiting,
      letters: letters.map((letter) => ({ ...letter, failure: failures.get(letter.messageId) ?? null })),
    };
  }

  /**
   * Sends dead letters to the orders queue and then deletes them, in this order: a process that dies in between leaves a
   * message twice, which the ledger counts once.
   * @param actor who asked for it
   * @throws RedriveRunning @throws DeadLetterQueueUnavailable @throws QueueUnavailable @throws RedriveBrokenOff
   * @throws DatabaseUnavailable where the filter asks for the last error, or it can't be recorded
   */
  async redrive(order: RedriveOrder, actor: Actor): Promise<RedriveTotals> {
    if (this.redriving) throw new RedriveRunning();
    this.redriving = true;
    const totals: RedriveTotals = { lookedAt: 0, matched: [], redriven: 0, failed: 0 };
    try {
      await this.queue.holding(REDRIVE_LIMITS, (held) => this.redriveHeld(held, order, totals, actor));
      return totals;
    } catch (error) {
      if (error instanceof UnavailableError && totals.redriven > 0) throw new RedriveBrokenOff(totals, error);
      throw error;
    } finally {
      this.redriving = false;
    }
  }

  /**
   * Deletes one dead letter for good, with what is recorded of it.
   * @param actor who asked for it
   * @throws NotFound where it was not met among the first 1,000 @throws DeadLetterQueueUnavailable @throws NotDeleted
   * @throws DatabaseUnavailable where it can't be recorded
   */
  async delete(messageId: string, actor: Actor): Promise<void> {
    await this.queue.holding(SEARCH_LIMITS, async (held) => {
      for (;;) {
        const group = await held.next(MAX_ENTRIES_PER_CALL);
        if (group.length === 0) {
          throw new NotFound(
            `No dead letter ${messageId} was met among ${held.lookedAt}. SQS can't be asked for one message: on a busy queue it may need another try.`,
          );
        }
        if (!group.some((letter) => letter.messageId === messageId)) continue;
        await this.audit.announce(actor, { action: 'dead_letter.deleted', target: `message:${messageId}` });
        if ((await held.delete([messageId])).length > 0) throw new NotDeleted(messageId);
        return;
      }
    });
    await this.failures.forget(messageId).catch((error: unknown) => {
      this.logger.debug(`What is recorded of ${messageId} stays until it is purged: ${messageOf(error)}`);
    });
  }

  private async redriveHeld(
    held: HeldDeadLetters,
    order: RedriveOrder,
    totals: RedriveTotals,
    actor: Actor,
  ): Promise<void> {
    const { filter, dryRun, perSecond } = order;
    const named = filter.messageIds && new Set(filter.messageIds).size;
    const limit = Math.min(order.limit, named ?? order.limit);
    for (;;) {
      const group = await held.next(Math.min(MAX_ENTRIES_PER_CALL, perSecond));
      totals.lookedAt = held.lookedAt;
      if (group.length === 0) return;
      const meant = (await this.meantOf(group, filter)).slice(0, limit - totals.matched.length);
      if (!dryRun && meant.length > 0 && totals.matched.length === 0) await this.announceRedrive(order, actor);
      totals.matched.push(...meant.map(({ messageId }) => messageId));
      if (!dryRun) await this.sendBack(held, meant, totals);
      if (totals.matched.length === limit) return;
      if (!dryRun && meant.length > 0) await this.pause((meant.length / perSecond) * 1000, held.stopping);
    }
  }

  /** Of texts that were looked for only that there were some: they may be a person's. */
  private async announceRedrive({ limit, perSecond, filter }: RedriveOrder, actor: Actor): Promise<void> {
    const { messageIds, bodyContains, errorContains, sentAfter, sentBefore } = filter;
    await this.audit.announce(actor, {
      action: 'dead_letters.redriven',
      target: `queue:${this.sender.queueName}`,
      after: {
        limit,
        per_second: perSecond,
        message_ids: messageIds ?? null,
        by_body: bodyContains !== undefined,
        by_error: errorContains !== undefined,
        sent_after: isoOf(sentAfter ?? null),
        sent_before: isoOf(sentBefore ?? null),
      },
    });
  }

  private async meantOf(group: DeadLetter[], filter: DeadLetterFilter): Promise<DeadLetter[]> {
    const ids = group.map(({ messageId }) => messageId);
    const failures = filter.errorContains === undefined ? null : await this.failures.of(ids);
    return group.filter((letter) => matches(letter, failures?.get(letter.messageId)?.lastError ?? null, filter));
  }

  private async sendBack(held: HeldDeadLetters, letters: DeadLetter[], totals: RedriveTotals): Promise<void> {
    const sent: string[] = [];
    await this.sender.sendEach(letters, {
      onSent: ({ messageId }) => sent.push(messageId),
      onFailed: () => totals.failed++,
    });
    totals.redriven += sent.length;
    const left = await held.delete(sent);
    if (left.length > 0) {
      this.logger.warn(
        `${left.length} messages were sent back and could not be deleted from the dead letters; the ledger counts them once: ${left.join(', ')}`,
      );
    }
  }

  /** While the ledger's database is down dead letters are shown without what is recorded of them. */
  private async failuresOf(letters: DeadLetter[]): Promise<Map<string, DeliveryFailure>> {
    try {
      return await this.failures.of(letters.map(({ messageId }) => messageId));
    } catch (error) {
      if (error instanceof UnavailableError) return new Map();
      throw error;
    }
  }
}
