import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import type { Database } from '../platform/database/database.js';
import type { ValidatedMessage } from '../domain/order-event.js';
import type { AppendResult } from './ledger-entry.js';

/**
 * Notices that the ledger was put back to an earlier state (from a backup, to a replica that was behind), and says so in the
 * log.
 */
export class LedgerWitness {
  private readonly logger = new Logger('Ledger');
  /** The last entry that this process has put into it. */
  private last: { position: number; messageId: string } | null = null;
  /** How often the database has come up. */
  private comebacks = 0;
  /** After which of these it was said last. */
  private saidAfter = 0;

  constructor(private readonly database: Database) {
    database.availability.onUp(() => void this.comebacks++);
  }

  /** Takes note of an append. What comes at a place where there was something before shows that this is gone. */
  appended(messages: ValidatedMessage[], results: AppendResult[]): void {
    const stored = results
      .flatMap((result, index) =>
        result.kind === 'stored' ? [{ position: result.position, messageId: messages[index]!.messageId }] : [],
      )
      .sort((one, other) => one.position - other.position);
    if (stored.length === 0) return;
    const { last } = this;
    this.last = stored.at(-1)!;
    const [first] = stored;
    if (last && first!.position <= last.position) this.say(last.position, first!.position - 1);
  }

  /** Looks whether what this process has put into the ledger is still there. @throws DatabaseUnavailable */
  async verifyTail(): Promise<void> {
    const { last } = this;
    if (!last) return;
    const [found] = await this.database.query<{ isThere: boolean; end: number }>(
      sql`select position as end, exists (
            select from ledger where position = ${last.position} and message_id = ${last.messageId}
          ) as "isThere"
          from ledger_head`,
    );
    if (found!.isThere || this.last !== last) return;
    this.last = null;
    this.say(last.position, found!.end);
  }

  /**
   * To be called where somebody else has noticed, who may be the second to do so.
   * @param reached the furthest entry that is known to have been there @param end the last one that there is now
   */
  wasPutBack(reached: number, end: number): void {
    if (this.saidAfter !== this.comebacks) this.say(reached, end);
  }

  private say(reached: number, end: number): void {
    this.saidAfter = this.comebacks;
    this.logger.warn(
      `The ledger was put back to an earlier state: it had gone up to entry ${reached}, which it no longer has, and it ends at entry ${end}. What is gone counts again only when it is sent again`,
    );
  }
}
