import { Injectable, Logger } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { Database, type Executor } from '../platform/database/database.js';
import { localDay } from '../platform/database/local-day.js';
import { isStatementTimeout } from '../platform/database/sql-state.js';
import type { BusinessCalendar } from '../domain/business-time.js';
import type { ValidatedMessage, Outcome, Reason } from '../domain/order-event.js';
import { AppendQueue } from './append-queue.js';
import { appendStatement, type AppendStatement } from './append-statement.js';
import type {
  AppendResult,
  EntryBody,
  EntryKind,
  LedgerEntry,
  LedgerHead,
  ProjectedEntry,
  ReportedEntry,
} from './ledger-entry.js';
import { LedgerWitness } from './restore-detector.js';

/** Of all bodies of a page together, but for the last one: an answer is made in memory. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;

/**
 * The same where only the lines of orders are read, which are as many as their bodies are long.
 */
const MAX_PROJECTED_BYTES = 4 * 1024 * 1024;
/** Of a page, however large they are: the projection reads the last entry that it has once more. */
const MIN_ENTRIES = 2;

/** Which entries to find; everything given must hold. */
export interface EntryFilter {
  kind?: EntryKind;
  /** Of an order or a refund; a repair has the outcome of what it led to, and is not meant. */
  outcome?: Outcome;
  reason?: Reason;
  /** Whether a failed order was repaired since. */
  repaired?: boolean;
  userId?: string;
  orderId?: string;
  /** Only entries before this position. */
  before?: number;
}

/** Days, `YYYY-MM-DD`, both inclusive; one that is left out bounds nothing. */
export interface DayRange {
  start?: string;
  end?: string;
}

/** Entries in a row, and whether the ledger has more after them. */
export interface EntriesPage {
  entries: ProjectedEntry[];
  more: boolean;
}

/** The last entry of a page, and whether the ledger has more after it. */
export interface PageEnd {
  position: number;
  more: boolean;
}

/**
 * The book of record: append-only, its positions gapless and in commit order. Of an entry nothing ever changes but what
 * its body says of a person, see {@link replaceBodies}.
 */
@Injectable()
export class Ledger {
  private readonly logger = new Logger('Ledger');
  private readonly appendListeners: (() => void)[] = [];
  private readonly queue: AppendQueue;
  private readonly witness: LedgerWitness;

  constructor(private readonly database: Database) {
    this.witness = new LedgerWitness(database);
    const statement = appendStatement(database);
    const witnessed: AppendStatement = async (messages) => {
      const results = await statement(messages);
      this.witness.appended(messages, results);
      return results;
    };
    this.queue = new AppendQueue(witnessed, database.availability, () => this.notifyAppended());
  }

  private notifyAppended(): void {
    for (const listener of this.appendListeners) listener();
  }

  /** Is called after each append of this process that stored something. */
  onAppended(listener: () => void): void {
    this.appendListeners.push(listener);
  }

  /**
   * Appends judged messages; when the promise resolves they are committed, one result for each in their order.
   * @param patienceMs for how long an outage of the database is waited out
   * @throws DatabaseUnavailable
   */
  append(messages: ValidatedMessage[], patienceMs: number): Promise<AppendResult[]> {
    return this.queue.append(messages, patienceMs);
  }

  /**
   * Settles some of the refunds that waited for orders which are counted by now, as every append does besides its own work.
   * @returns whether there are more
   * @throws DatabaseUnavailable
   */
  async settleDueRefunds(): Promise<boolean> {
    const isDue = async (): Promise<boolean> => {
      const [row] = await this.database.query<{ due: boolean }>(
        sql`select exists (select from refunds_due join early_refunds using (order_id)) as due`,
      );
      return row!.due;
    };
    if (!(await isDue())) return false;
    await this.database.query(sql`select from append_entries('[]')`);
    this.notifyAppended();
    return isDue();
  }

  /** Looks whether what this process has appended is still there, and says so where it is not. @throws DatabaseUnavailable */
  verifyTail(): Promise<void> {
    return this.witness.verifyTail();
  }

  /**
   * Says that the ledger was put back to an earlier state, where that was not said yet.
   * @param reached the furthest entry that is known to have been there
   * @throws DatabaseUnavailable
   */
  async wasPutBack(reached: number): Promise<void> {
    this.witness.wasPutBack(reached, (await this.head()).position);
  }

  /** From now on an outage is not waited out but reported at once: the process is about to end. */
  stopWaiting(): void {
    this.queue.stopWaiting();
  }

  /** @throws DatabaseUnavailable */
  async head(): Promise<LedgerHead> {
    const [head] = await this.database.query<LedgerHead>(
      sql`select ledger_id::text as "ledgerId", position,
            encode(entry_hash, 'hex') as "entryHash"
          from ledger_head`,
    );
    return head!;
  }

  /**
   * The hash of the history up to a position, or null where this ledger does not reach that far.
   * @throws DatabaseUnavailable
   */
  async hashAt(position: number): Promise<string | null> {
    const [row] = await this.database.query<{ hash: string }>(
      position === 0
        ? sql`select encode(sha256(''), 'hex') as hash`
        : sql`select encode(entry_hash, 'hex') as hash from ledger where position = ${position}`,
    );
    return row?.hash ?? null;
  }

  /**
   * The next entries after a position, oldest first, as the projection needs them: at most `limit`, and fewer where they are
   * large.
   * @throws DatabaseUnavailable
   */
  async entriesAfter(position: number, limit: number): Promise<EntriesPage> {
    return this.halvedOnTimeout(limit, async (most) => {
      const end = await this.pageEnd(position, most, MAX_PROJECTED_BYTES);
      const entries = await this.database.query<ProjectedEntry>(
        sql`select position, kind, ref_position as "refPosition",
              encode(entry_hash, 'hex') as "entryHash", outcome, user_id as "userId",
              ordered_at as "orderedAt", value_cents as value,
              array_to_json(lines) as lines
            from ledger where position > ${position} and position <= ${end.position} order by ledger.position`,
      );
      return { entries, more: end.more };
    });
  }

  /**
   * Up to which entry a page goes that begins after a position: at most `limit` entries, and fewer where their bodies are
   * together larger than `bytes`, but at least two.
   * @throws DatabaseUnavailable
   */
  async pageEnd(position: number, limit: number, bytes: number): Promise<PageEnd> {
    const [end] = await this.database.query<PageEnd>(
      sql`with candidates as (
            select position, octet_length(body) as size from ledger
            where position > ${position} order by ledger.position limit ${limit + 1}
          ), sized as (
            select position, row_number() over running as place, sum(size) over running - size as bytes_before
            from candidates window running as (order by position)
          )
          select coalesce(max(position) filter (where place <= ${limit} and (bytes_before < ${bytes} or place <= ${MIN_ENTRIES})), ${position}) as position,
            coalesce(bool_or(place > ${limit} or (bytes_before >= ${bytes} and place > ${MIN_ENTRIES})), false) as more
          from sized`,
    );
    return end!;
  }

  /**
   * Reads a page of at most `limit` entries, and half of it where that takes the database too long.
   * @throws DatabaseUnavailable
   */
  async halvedOnTimeout<Page>(limit: number, read: (limit: number) => Promise<Page>): Promise<Page> {
    for (let entries = limit; ; entries = Math.max(MIN_ENTRIES, Math.ceil(entries / 2))) {
      try {
        return await read(entries);
      } catch (error) {
        if (!isStatementTimeout(error) || entries <= MIN_ENTRIES) throw error;
        this.logger.warn(`Reading ${entries} ledger entries took too long; half of them are tried`);
      }
    }
  }

  /**
   * Entries of kind order among those after one position up to and with another, oldest first: all of them that lie within
   * a range of days, or fewer where their bodies are large.
   * @param range the day of an entry is that of its order_timestamp, or, where that can't be read, the one it was sent on
   * @returns with them, up to which position they are all of them
   * @throws DatabaseUnavailable
   */
  async reportedEntries(
    after: number,
    upTo: number,
    range: DayRange,
    calendar: BusinessCalendar,
  ): Promise<{ entries: ReportedEntry[]; upTo: number }> {
    const conditions: SQL[] = [sql`position > ${after} and position <= ${upTo} and kind = 'order'`];
    const day = localDay(sql`coalesce(ordered_at, sent_at)`, calendar);
    if (range.start !== undefined) conditions.push(sql`${day} >= ${range.start}::date`);
    if (range.end !== undefined) conditions.push(sql`${day} <= ${range.end}::date`);
    const found = await this.database.query<ReportedEntry & { candidates: number }>(
      sql`with candidates as materialized (
            select position, case when outcome = 'failed' then 0 else octet_length(body) end as size
            from ledger where ${sql.join(conditions, sql` and `)}
          ), sized as (
            select position, sum(size) over (order by position) - size as bytes_before from candidates
          )
          select position, outcome, reasons, order_id as "orderId", user_id as "userId",
            ordered_at as "orderedAt",
            value_cents as value, claimed_cents as claimed, array_to_json(lines) as lines,
            sent_at as "sentAt", case when outcome <> 'failed' then body end as body,
            (select count(*) from candidates) as candidates
          from ledger join sized using (position) where bytes_before < ${MAX_BODY_BYTES} order by ledger.position`,
    );
    const entries = found.map(({ candidates: _, ...entry }) => entry);
    const isCut = (found[0]?.candidates ?? 0) > entries.length;
    return { entries, upTo: isCut ? entries.at(-1)!.position : upTo };
  }

  /** @returns null where there is no such entry @throws DatabaseUnavailable */
  async entry(position: number): Promise<LedgerEntry | null> {
    const [found] = await this.select(sql`position = ${position}`, 1);
    if (!found) return null;
    const { candidates: _, ...entry } = found;
    return entry;
  }

  /**
   * Entries, newest first: at most `limit`, and fewer where their bodies are so large that the answer would be.
   * @returns with them, whether there are more
   * @throws DatabaseUnavailable
   */
  async page(filter: EntryFilter, limit: number): Promise<{ entries: LedgerEntry[]; more: boolean }> {
    const conditions: SQL[] = [sql`true`];
    if (filter.kind) conditions.push(sql`kind = ${filter.kind}`);
    if (filter.outcome) conditions.push(sql`outcome = ${filter.outcome} and kind <> 'repair'`);
    if (filter.outcome && filter.outcome !== 'accepted') conditions.push(sql`outcome <> 'accepted'`);
    if (filter.reason) conditions.push(sql`outcome = 'failed' and reasons @> array[${filter.reason}]::text[]`);
    if (filter.repaired !== undefined) {
      const repair = sql`(select from ledger repair where repair.kind = 'repair' and repair.ref_position = ledger.position)`;
      // Only orders are repaired.
      conditions.push(
        sql`kind = 'order' and outcome = 'failed'`,
        filter.repaired ? sql`exists ${repair}` : sql`not exists ${repair}`,
      );
    }
    if (filter.userId !== undefined) conditions.push(sql`user_id = ${filter.userId}`);
    if (filter.orderId !== undefined) conditions.push(sql`order_id = ${filter.orderId}`);
    if (filter.before !== undefined) conditions.push(sql`position < ${filter.before}`);
    const found = await this.select(sql.join(conditions, sql` and `), limit + 1);
    const entries = found.slice(0, limit).map(({ candidates: _, ...entry }) => entry);
    return { entries, more: (found[0]?.candidates ?? 0) > entries.length };
  }

  /**
   * The bodies of a user's entries after a position, oldest first: at most `limit`, and fewer where they are large. Nobody
   * else can replace them until the transaction ends.
   * @returns with them, whether there are more
   */
  bodiesOf(
    tx: Executor,
    userId: string,
    after: number,
    limit: number,
  ): Promise<{ bodies: EntryBody[]; more: boolean }> {
    return this.bodies(tx, sql`user_id = ${userId}`, after, limit);
  }

  /** The same of refunds that failed, and so have no user, but name an order that has an entry of this user. */
  bodiesOfFailedRefunds(
    tx: Executor,
    userId: string,
    after: number,
    limit: number,
  ): Promise<{ bodies: EntryBody[]; more: boolean }> {
    const ordersOfUser = sql`select order_id from ledger where user_id = ${userId} and order_id is not null`;
    return this.bodies(tx, sql`kind = 'refund' and user_id is null and order_id in (${ordersOfUser})`, after, limit);
  }

  private async bodies(
    tx: Executor,
    condition: SQL,
    after: number,
    limit: number,
  ): Promise<{ bodies: EntryBody[]; more: boolean }> {
    const found = await tx.query<EntryBody & { candidates: number }>(
      sql`with candidates as materialized (
            select position, octet_length(body) as size from ledger
            where ${condition} and position > ${after} order by ledger.position limit ${limit + 1}
          ), sized as (
            select position, row_number() over running as place, sum(size) over running - size as bytes_before
            from candidates window running as (order by position)
          )
          select position, body, (select count(*) from candidates) as candidates
          from ledger join sized using (position)
          where place <= ${limit} and bytes_before < ${MAX_BODY_BYTES}
          order by ledger.position for update of ledger`,
    );
    const bodies = found.map(({ candidates: _, ...body }) => body);
    return { bodies, more: (found[0]?.candidates ?? 0) > bodies.length };
  }

  /**
   * Gives entries other bodies, and changes nothing else of them: no hash and no figure is made from a body. Only for
   * taking out what it says of a person.
   */
  async replaceBodies(tx: Executor, bodies: EntryBody[]): Promise<void> {
    if (bodies.length === 0) return;
    await tx.query(
      sql`update ledger set body = given.body
          from json_to_recordset(${JSON.stringify(bodies)}::json) as given (position bigint, body text)
          where ledger.position = given.position`,
    );
  }

  /** Each with the number of those that there were before the large ones were left for the next page. */
  private select(condition: SQL, limit: number): Promise<(LedgerEntry & { candidates: number })[]> {
    return this.database.query(
      sql`with candidates as materialized (
            select *, sum(octet_length(body)) over (order by position desc) - octet_length(body) as bytes_before
            from (select * from ledger where ${condition} order by position desc limit ${limit}) newest
          )
          select position, kind, outcome, order_id as "orderId", user_id as "userId",
            refund_id as "refundId",
            ordered_at as "orderedAt",
            value_cents as value, claimed_cents as claimed,
            (select coalesce(json_agg(json_build_object(
                'product_id', product_id, 'quantity', quantity, 'price_per_unit', price_per_unit::text, 'cents', cents
              )), '[]') from unnest(lines)) as lines,
            reasons, message_id as "messageId", ref_position as "refPosition", actor,
            (select repair.position from ledger repair
              where repair.kind = 'repair' and repair.ref_position = candidates.position) as "repairedBy",
            sent_at as "sentAt",
            received_at as "receivedAt", body,
            (select count(*) from candidates) as candidates
          from candidates where bytes_before < ${MAX_BODY_BYTES} order by position desc`,
    );
  }
}
