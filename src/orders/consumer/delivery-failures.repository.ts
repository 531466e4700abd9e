import { Injectable, Logger } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { sql } from 'drizzle-orm';
import { Database } from '../../platform/database/database.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { faultText } from '../../shared/fault-text.js';

const HOUR_MS = 3_600_000;
/** A day longer than the queues keep a message. */
const DAYS_KEPT = 15;

/** A message that could not be processed by a fault of ours, this once. */
export interface Fault {
  messageId: string;
  error: unknown;
}

/** How often a message could not be processed, and why last. Times are ms UTC. */
export interface DeliveryFailure {
  messageId: string;
  failures: number;
  firstFailedAt: number;
  lastFailedAt: number;
  /** Never holds anything of an order, see {@link faultText}. */
  lastError: string;
}

/**
 * Why messages could not be processed, by message id, which a message keeps when it goes to the dead-letter queue. Best
 * effort: while the ledger's database is down nothing is recorded.
 */
@Injectable()
export class DeliveryFailures {
  private readonly logger = new Logger('DeliveryFailures');

  constructor(private readonly database: Database) {}

  /** Notes faults; returns at once and never throws. */
  record(faults: Fault[]): void {
    if (faults.length === 0) return;
    this.write(faults).catch((error: unknown) =>
      this.logger.debug(`${faults.length} delivery failures were not recorded: ${messageOf(error)}`),
    );
  }

  /** What is recorded of these messages, by id. @throws DatabaseUnavailable */
  async of(messageIds: string[]): Promise<Map<string, DeliveryFailure>> {
    const found = await this.database.query<DeliveryFailure>(
      sql`select message_id as "messageId", failures,
            first_failed_at as "firstFailedAt",
            last_failed_at as "lastFailedAt", last_error as "lastError"
          from delivery_failures
          where message_id in (select json_array_elements_text(${JSON.stringify(messageIds)}::json))`,
    );
    return new Map(found.map((failure) => [failure.messageId, failure]));
  }

  /** Forgets a message that is gone for good. @throws DatabaseUnavailable */
  async forget(messageId: string): Promise<void> {
    await this.database.query(sql`delete from delivery_failures where message_id = ${messageId}`);
  }

  /** Forgets messages that no queue has any more. Any process may do it. */
  @Interval(HOUR_MS)
  async purge(): Promise<void> {
    try {
      await this.database.query(
        sql`delete from delivery_failures where last_failed_at < now() - make_interval(days => ${DAYS_KEPT})`,
      );
    } catch (error) {
      // A part that is down says so itself.
      if (!(error instanceof UnavailableError)) {
        this.logger.error(`Old delivery failures can't be purged: ${messageOf(error)}`);
      }
    }
  }

  private async write(faults: Fault[]): Promise<void> {
    const rows = faults.map(({ messageId, error }) => ({
      message_id: messageId,
      last_error: faultText(messageOf(error)),
    }));
    // In the order of the ids, so that two statements at once do not wait for each other.
    await this.database.query(
      sql`insert into delivery_failures (message_id, last_error)
          select distinct on (message_id) message_id, last_error
          from json_to_recordset(${JSON.stringify(rows)}::json) as given (message_id text, last_error text)
          order by message_id
          on conflict (message_id) do update
          set failures = delivery_failures.failures + 1, last_failed_at = now(), last_error = excluded.last_error`,
    );
  }
}
