import { Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { Ledger } from '../../ledger/ledger.repository.js';
import type { RepairFault } from '../../ledger/ledger-entry.js';
import { Audit } from '../../platform/audit/audit.js';
import { Database, type Executor } from '../../platform/database/database.js';
import { MAX_BYTES_PER_CALL } from '../../platform/queue/sqs-limits.js';
import type { Actor } from '../../shared/access.js';
import { ClientError, InvalidInput, NotFound } from '../../shared/errors.js';
import type { Reason } from '../../domain/order-event.js';
import { changesBetween, type FieldChange, fieldsOf } from './repair-changes.rules.js';

/** How far a repair is. */
export const REPAIR_STATES = ['pending', 'repaired', 'failed'] as const;

/** One of {@link REPAIR_STATES}. */
export type RepairState = (typeof REPAIR_STATES)[number];

/** A recorded wish that a failed entry be judged again, and what became of it. Times are ms UTC. */
export interface Repair {
  id: string;
  /** The order in which they were recorded. */
  number: number;
  failedPosition: number;
  requestedBy: string;
  requestedAt: number;
  /** The corrected order as text; null where what was received is judged again. */
  body: string | null;
  changes: FieldChange[];
  state: RepairState;
  /** When it was last put on the queue. */
  sentAt: number | null;
  endedAt: number | null;
  /** Why it failed again. */
  reasons: RepairFault[];
  /** The entry that counts for the failed one now. */
  countedPosition: number | null;
  /** The entry of kind repair. */
  repairPosition: number | null;
}

/** Only what failed can be repaired. */
export class NotFailed extends ClientError {
  readonly code = 'not_failed';
  readonly kind = 'conflict';
  constructor(position: number) {
    super(`Position ${position} is not a failed order.`);
  }
}

/** A failed entry is repaired once. */
export class AlreadyRepaired extends ClientError {
  readonly code = 'already_repaired';
  readonly kind = 'conflict';
  constructor(position: number, repairedBy: number) {
    super(`Position ${position} was repaired by position ${repairedBy}.`);
  }
}

/** A repair of that entry is under way, and two at once could not both be right. */
export class RepairUnderWay extends ClientError {
  readonly code = 'repair_pending';
  readonly kind = 'conflict';
  constructor(position: number) {
    super(`A repair of position ${position} is under way, see GET /repairs?position=${position}.`);
  }
}

/** What SQS takes, less room for the attribute that names the repair. */
const MAX_BODY_BYTES = MAX_BYTES_PER_CALL - 100;

/** Of all orders of a page together, but for the last one: an answer is made in memory. */
const MAX_PAGE_BYTES = 8 * 1024 * 1024;

/** Entries that a bulk looks at in one statement. */
const ENTRIES_PER_PAGE = 5_000;

/**
 * How long nothing may be heard of a repair before it is put on the queue again; four times as long after each further
 * time.
 */
const FIRST_WAIT_SECONDS = 60;
const MAX_SENDS = 5;

/** Records of repairs. The ledger's database has them, so that the ledger honours a retry only where one is recorded. */
@Injectable()
export class Repairs {
  constructor(
    private readonly database: Database,
    private readonly ledger: Ledger,
    private readonly audit: Audit,
  ) {}

  /**
   * Records that a failed entry is to be judged again.
   * @param corrected what to judge in place of what was received
   * @param actor who asked for it
   * @throws InvalidInput @throws NotFound @throws NotFailed @throws AlreadyRepaired @throws RepairUnderWay @throws DatabaseUnavailable
   */
  async request(position: number, corrected: Record<string, unknown> | undefined, actor: Actor): Promise<Repair> {
    const entry = await this.ledger.entry(position);
    if (!entry) throw new NotFound(`The ledger has no position ${position}.`);
    if (entry.kind !== 'order' || entry.outcome !== 'failed') throw new NotFailed(position);
    if (entry.repairedBy !== null) throw new AlreadyRepaired(position, entry.repairedBy);
    const body = corrected ? bodyOf(corrected) : null;
    if (!corrected && Buffer.byteLength(entry.body) > MAX_BODY_BYTES) throw tooLong();
    const changes = corrected ? changesBetween(entry.body, corrected) : [];
    const id = await this.database.transaction(async (tx) => {
      const [recorded] = await tx.query<{ id: string }>(
        sql`insert into repairs (failed_position, requested_by, body, changes)
            select ${position}::bigint, ${actor.name}, ${body}::text, ${JSON.stringify(changes)}::json
            where not exists (select from ledger where kind = 'repair' and ref_position = ${position})
            on conflict (failed_position) where state = 'pending' do nothing
            returning id::text as id`,
      );
      if (!recorded) throw new RepairUnderWay(position);
      const after = { repair: recorded.id, ...fieldsOf(changes) };
      await this.audit.record(tx, actor, { action: 'repair.requested', target: `position:${position}`, after });
      return recorded.id;
    });
    return (await this.find(id))!;
  }

  /**
   * Records that every failed entry with this reason is to be judged again, unless it is repaired or a repair of it is
   * under way, or it is too long to be sent again unchanged.
   * @param actor who asked for it; null counts only
   * @returns how many entries these are, and for how many a repair was recorded
   * @throws DatabaseUnavailable
   */
  async requestAll(reason: Reason, actor: Actor | null): Promise<{ matched: number; retried: number }> {
    // What arrives and fails meanwhile is not meant.
    const { position: last } = await this.ledger.head();
    const totals = { matched: 0, retried: 0 };
    for (let after = 0; after < last;) {
      const page = await this.database.transaction((tx) => this.requestPage(tx, reason, actor, { after, last }));
      totals.matched += page.matched;
      totals.retried += page.retried;
      after = page.end ?? last;
    }
    return totals;
  }

  /** @returns null where there is none @throws DatabaseUnavailable */
  async find(id: string): Promise<Repair | null> {
    const [found] = await this.select(sql`id = ${id}::uuid`, 1);
    if (!found) return null;
    const { candidates: _, ...repair } = found;
    return repair;
  }

  /**
   * Repairs, newest first: at most `limit`, and fewer where their orders are so large that the answer would be.
   * @param filter everything given must hold
   * @returns with them, whether there are more
   * @throws DatabaseUnavailable
   */
  async page(
    filter: { state?: RepairState; failedPosition?: number; before?: number },
    limit: number,
  ): Promise<{ repairs: Repair[]; more: boolean }> {
    const conditions: SQL[] = [sql`true`];
    if (filter.state) conditions.push(sql`state = ${filter.state}`);
    if (filter.failedPosition !== undefined) conditions.push(sql`failed_position = ${filter.failedPosition}`);
    if (filter.before !== undefined) conditions.push(sql`number < ${filter.before}`);
    const found = await this.select(sql.join(conditions, sql` and `), limit + 1);
    const repairs = found.slice(0, limit).map(({ candidates: _, ...repair }) => repair);
    return { repairs, more: (found[0]?.candidates ?? 0) > repairs.length };
  }

  /** How many are under way. @throws DatabaseUnavailable */
  async pending(): Promise<number> {
    const [row] = await this.database.query<{ pending: number }>(
      sql`select count(*) as pending from repairs where state = 'pending'`,
    );
    return row!.pending;
  }

  /**
   * Takes repairs that have to be put on the queue: those that never were, and those of which nothing was heard for
   * too long (a process died, a message was purged). That one may be there twice does no harm. Of what was sent often
   * enough in vain, the repair ends.
   * @returns at most `limit`, with the body to send
   * @throws DatabaseUnavailable
   */
  async takeUnsent(limit: number): Promise<{ id: string; body: string }[]> {
    const overdue = sql`sent_at < now() - make_interval(secs => ${FIRST_WAIT_SECONDS} * power(4, sends - 1))`;
    await this.database.query(
      sql`update repairs set state = 'failed', reasons = '{not_processed}', ended_at = now()
          where state = 'pending' and sends >= ${MAX_SENDS} and ${overdue}`,
    );
    return this.database.query(
      sql`with due as materialized (
            select id from repairs where state = 'pending' and (sent_at is null or ${overdue})
            order by number limit ${limit} for update skip locked
          )
          update repairs set sends = sends + 1, sent_at = now()
          from due, ledger
          where repairs.id = due.id and ledger.position = failed_position
          returning repairs.id::text as id, coalesce(repairs.body, ledger.body) as body`,
    );
  }

  /** Gives back what {@link takeUnsent} took and could not be sent. @throws DatabaseUnavailable */
  async giveBack(ids: string[]): Promise<void> {
    await this.database.query(
      sql`update repairs set sends = sends - 1, sent_at = null
          where state = 'pending' and id in (select value::uuid from json_array_elements_text(${JSON.stringify(ids)}::json))`,
    );
  }

  /** The next of the entries after a position, up to the last one meant. @returns with `end`, if there may be more */
  private async requestPage(
    tx: Executor,
    reason: Reason,
    actor: Actor | null,
    { after, last }: { after: number; last: number },
  ): Promise<{ matched: number; retried: number; end: number | null }> {
    const who = actor?.name ?? null;
    const [page] = await tx.query<{
      matched: number;
      retried: number;
      end: number | null;
      from: number | null;
      to: number | null;
    }>(
      sql`with open_for_repair as materialized (
            select position from ledger
            where kind = 'order' and outcome = 'failed' and reasons @> array[${reason}]::text[]
              and octet_length(body) <= ${MAX_BODY_BYTES}
              and position > ${after} and position <= ${last}
              and not exists (select from ledger repair where repair.kind = 'repair' and repair.ref_position = ledger.position)
              and not exists (select from repairs where failed_position = ledger.position and state = 'pending')
            order by position limit ${ENTRIES_PER_PAGE}
          ), recorded as (
            insert into repairs (failed_position, requested_by)
            select position, ${who} from open_for_repair where ${who}::text is not null order by position
            on conflict (failed_position) where state = 'pending' do nothing
            returning failed_position
          )
          select count(*) as matched, (select count(*) from recorded) as retried,
            case when count(*) = ${ENTRIES_PER_PAGE} then max(position) end as "end",
            (select min(failed_position) from recorded) as "from",
            (select max(failed_position) from recorded) as "to"
          from open_for_repair`,
    );
    const { matched, retried, end, from, to } = page!;
    if (actor && retried > 0) {
      const act = { action: 'repairs.requested', target: `reason:${reason}`, after: { repairs: retried, from, to } };
      await this.audit.record(tx, actor, act);
    }
    return { matched, retried, end };
  }

  /** Each with the number of those that there were before the large ones were left for the next page. */
  private async select(condition: SQL, limit: number): Promise<(Repair & { candidates: number })[]> {
    return this.database.query(
      sql`with candidates as materialized (
            select *, sum(size) over (order by number desc) - size as bytes_before
            from (
              select *, coalesce(octet_length(body), 0) + octet_length(changes::text) as size
              from repairs where ${condition} order by number desc limit ${limit}
            ) newest
          )
          select id::text as id, number, failed_position as "failedPosition",
            requested_by as "requestedBy", requested_at as "requestedAt",
            body, changes, state, sent_at as "sentAt",
            ended_at as "endedAt", reasons,
            counted_position as "countedPosition", repair_position as "repairPosition",
            (select count(*) from candidates) as candidates
          from candidates where bytes_before < ${MAX_PAGE_BYTES} order by candidates.number desc`,
    );
  }
}

/** @throws InvalidInput where it would be too long for a message */
function bodyOf(order: Record<string, unknown>): string {
  // Two characters that JSON need not escape and SQS does not take.
  const body = JSON.stringify(order).replace(
    /[\uFFFE\uFFFF]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16)}`,
  );
  if (Buffer.byteLength(body) > MAX_BODY_BYTES) throw tooLong();
  return body;
}

/** What was received may have filled a message by itself; a retry names its repair besides. */
function tooLong(): InvalidInput {
  return new InvalidInput([{ field: 'order', message: `must be given, with at most ${MAX_BODY_BYTES} bytes as JSON` }]);
}
