import { Injectable, Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import type { Actor } from '../../shared/access.js';
import { withTimeout } from '../back-off.js';
import { Database, DatabaseUnavailable, type Executor } from '../database/database.js';

/** How many announced acts wait in memory for the database; with more, what is to be done must not be done. */
const MAX_KEPT = 10_000;
const ROWS_PER_WRITE = 500;
const MAX_LAST_WRITE_MS = 1_000;

/** A change that somebody made. */
export interface Act {
  /** What was done, as thing and past participle: `rebuild.requested`. */
  action: string;
  /** What it was done to: `position:7`, `account:…`. */
  target: string;
  /** What of it was so before, and is so now. Never a secret, never a name or an address of a person. */
  before?: object;
  after?: object;
}

/** A row that is written by itself. */
interface Announcement {
  /** Tells it from all others, so that it is not written twice. */
  announcement: string;
  /** ms UTC. */
  at: number;
  actor: string;
  action: string;
  target: string;
  before: string | null;
  after: string | null;
  request_id: string | null;
}

/** The record of who changed what. */
@Injectable()
export class Audit {
  private readonly logger = new Logger('Audit');
  private readonly listeners: (() => void)[] = [];
  /** What was announced while the database was away, by announcement. */
  private readonly kept = new Map<string, Announcement>();
  private mayKeep = true;

  constructor(private readonly database: Database) {}

  /** Is called after each act that was recorded or announced; one that was recorded may not be committed yet. */
  onRecorded(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Records an act in the transaction of the change, so that neither is there without the other. */
  async record(tx: Executor, actor: Actor, { action, target, before, after }: Act): Promise<void> {
    await tx.query(
      sql`insert into audit_log (actor, action, target, before, after, request_id)
          values (${actor.name}, ${action}, ${target}, ${textOf(before)}, ${textOf(after)}, ${actor.requestId})`,
    );
    this.recorded();
  }

  /**
   * Records an act whose effect is outside of the database, to be called before the effect: so there may be a row of what
   * then failed, but no effect without a row. While the database is away the row waits in memory.
   * @throws DatabaseUnavailable where too many rows wait already, or the process is about to end
   */
  async announce(actor: Actor, { action, target, before, after }: Act): Promise<void> {
    const row: Announcement = {
      announcement: randomUUID(),
      at: Date.now(),
      actor: actor.name,
      action,
      target,
      before: textOf(before),
      after: textOf(after),
      request_id: actor.requestId,
    };
    try {
      await this.write([row]);
    } catch (error) {
      if (!(error instanceof DatabaseUnavailable) || !this.mayKeep || this.kept.size >= MAX_KEPT) throw error;
      if (this.kept.size === 0) this.logger.warn('What is done is kept in memory until the audit log can be written');
      this.kept.set(row.announcement, row);
    }
    this.recorded();
  }

  /** Writes what was kept while the database was away. @throws DatabaseUnavailable */
  async writeKept(): Promise<void> {
    while (this.kept.size > 0) {
      const rows = [...this.kept.values()].slice(0, ROWS_PER_WRITE);
      await this.write(rows);
      for (const { announcement } of rows) this.kept.delete(announcement);
    }
  }

  /** Keeps nothing from now on. Writes what was kept, if that is possible; what is not goes to the log instead. */
  async stopKeeping(): Promise<void> {
    this.mayKeep = false;
    const written = this.writeKept().catch(() => undefined);
    await withTimeout(MAX_LAST_WRITE_MS, written);
    for (const row of this.kept.values()) this.logger.error(`The audit log may lack ${JSON.stringify(row)}`);
  }

  /** A row that is there already, because only the answer to an earlier attempt was lost, is left as it is. */
  private async write(rows: Announcement[]): Promise<void> {
    await this.database.query(
      sql`insert into audit_log (announcement, at, actor, action, target, before, after, request_id)
          select announcement, to_timestamp(at / 1000), actor, action, target, before, after, request_id
          from json_to_recordset(${JSON.stringify(rows)}::json) as announced(
            announcement uuid, at float8, actor text, action text, target text, before text, after text, request_id text
          )
          order by at
          on conflict (announcement) do nothing`,
    );
  }

  private recorded(): void {
    for (const listener of this.listeners) listener();
  }
}

function textOf(state: object | undefined): string | null {
  return state ? JSON.stringify(state) : null;
}
