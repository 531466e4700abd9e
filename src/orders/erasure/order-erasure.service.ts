import { Inject, Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import type { EntryBody } from '../../ledger/ledger-entry.js';
import { Ledger } from '../../ledger/ledger.repository.js';
import { WaitingRefunds } from '../../ledger/waiting-refunds.repository.js';
import type { Executor } from '../../platform/database/database.js';
import type { Erased, Eraser } from '../../platform/privacy/personal-data.js';
import { changesWithoutPersonalData, type KeptFields, withoutPersonalData } from './personal-data.rules.js';
import type { FieldChange } from '../repairs/repair-changes.rules.js';
import { RepairUnderWay } from '../repairs/repairs.service.js';

/** Injection token of the {@link KeptFields}. */
export const KEPT_FIELDS = Symbol('kept fields');

/** Rows that one transaction locks and changes. */
const ENTRIES_PER_PART = 250;
/** Each may have a body of 1 MiB. */
const WAITING_REFUNDS_PER_PART = 50;
/** Each may have three bodies of 1 MiB with it. */
const REPAIRS_PER_PART = 50;
/** Repairs of other users that one statement looks through. */
const REPAIRS_PER_LOOK = 5_000;

/** What of a repair may hold personal data. */
interface RepairTexts {
  number: number;
  body: string | null;
  /** JSON of {@link FieldChange}s. */
  changes: string;
}

/** Takes personal data out of a user's entries, and out of the repairs of those that failed. */
@Injectable()
export class OrderErasure implements Eraser {
  constructor(
    private readonly ledger: Ledger,
    @Inject(KEPT_FIELDS) private readonly kept: KeptFields,
  ) {}

  async knows(userId: string): Promise<boolean> {
    return (await this.ledger.page({ userId }, 1)).entries.length > 0;
  }

  /** @param after a position @throws RepairUnderWay @throws DatabaseUnavailable */
  async erase(tx: Executor, userId: string, after: number): Promise<{ erased: Erased; next: number | null }> {
    const { bodies, more } = await this.ledger.bodiesOf(tx, userId, after, ENTRIES_PER_PART);
    const repairs = await repairsOf(tx, bodies);
    return {
      erased: {
        order_events: await eraseBodies(this.ledger, tx, bodies, this.kept),
        repairs: await eraseRepairs(tx, repairs, this.kept),
      },
      next: more ? bodies.at(-1)!.position : null,
    };
  }
}

/**
 * Takes personal data out of repairs by which an order came to a user that failed without that user's id, and out of those
 * failed entries: what was wrong with them may have been the id.
 */
@Injectable()
export class RepairErasure implements Eraser {
  constructor(
    private readonly ledger: Ledger,
    @Inject(KEPT_FIELDS) private readonly kept: KeptFields,
  ) {}

  /** Whoever an order came to has an entry. */
  async knows(): Promise<boolean> {
    return false;
  }

  /** @param after the number of a repair @throws DatabaseUnavailable */
  async erase(tx: Executor, userId: string, after: number): Promise<{ erased: Erased; next: number | null }> {
    const [look] = await tx.query<{ numbers: number[]; looked: number; last: number }>(
      sql`with looked as materialized (
            select number, failed_position, counted_position from repairs
            where number > ${after} order by number limit ${REPAIRS_PER_LOOK}
          ), found as (
            select number
            from looked
              join ledger counted on counted.position = counted_position
              join ledger failed on failed.position = failed_position
            where counted.user_id = ${userId} and failed.user_id is distinct from ${userId}
            order by number limit ${REPAIRS_PER_PART}
          )
          select (select coalesce(json_agg(number order by number), '[]') from found) as numbers,
            (select count(*) from looked) as looked, (select max(number) from looked) as last`,
    );
    const { numbers, looked, last } = look!;
    const found = await tx.query<RepairTexts & { position: number; failedBody: string }>(
      sql`select number, repairs.body, changes::text as changes,
            ledger.position, ledger.body as "failedBody"
          from repairs join ledger on ledger.position = failed_position
          where number in (select value::bigint from json_array_elements_text(${JSON.stringify(numbers)}::json))
          order by repairs.number for update`,
    );
    const failed = new Map(found.map(({ position, failedBody }) => [position, failedBody]));
    const bodies = [...failed].map(([position, body]) => ({ position, body }));
    return {
      erased: {
        order_events: await eraseBodies(this.ledger, tx, bodies, this.kept),
        repairs: await eraseRepairs(tx, found, this.kept),
      },
      next: numbers.length === REPAIRS_PER_PART ? numbers.at(-1)! : looked === REPAIRS_PER_LOOK ? last : null,
    };
  }
}

/** Takes personal data out of refunds of a user's orders that failed: these are under no user. */
@Injectable()
export class RefundErasure implements Eraser {
  constructor(
    private readonly ledger: Ledger,
    @Inject(KEPT_FIELDS) private readonly kept: KeptFields,
  ) {}

  /** Whoever has an order has an entry. */
  async knows(): Promise<boolean> {
    return false;
  }

  /** @param after a position @throws DatabaseUnavailable */
  async erase(tx: Executor, userId: string, after: number): Promise<{ erased: Erased; next: number | null }> {
    const { bodies, more } = await this.ledger.bodiesOfFailedRefunds(tx, userId, after, ENTRIES_PER_PART);
    return {
      erased: { order_events: await eraseBodies(this.ledger, tx, bodies, this.kept) },
      next: more ? bodies.at(-1)!.position : null,
    };
  }
}

/** Takes personal data out of refunds that wait for an order of which a user has an entry, so far a failed one. */
@Injectable()
export class WaitingRefundErasure implements Eraser {
  constructor(
    private readonly waiting: WaitingRefunds,
    @Inject(KEPT_FIELDS) private readonly kept: KeptFields,
  ) {}

  /** Whoever has an order has an entry. */
  async knows(): Promise<boolean> {
    return false;
  }

  /** @param after the number of a refund @throws DatabaseUnavailable */
  async erase(tx: Executor, userId: string, after: number): Promise<{ erased: Erased; next: number | null }> {
    const { bodies, more } = await this.waiting.bodiesOf(tx, userId, after, WAITING_REFUNDS_PER_PART);
    const erased = bodies.flatMap(({ number, body }) => {
      const other = withoutPersonalData(body, this.kept);
      return other === null ? [] : [{ number, body: other }];
    });
    await this.waiting.replaceBodies(tx, erased);
    return { erased: { order_events: erased.length }, next: more ? bodies.at(-1)!.number : null };
  }
}

/** @returns how many were changed */
async function eraseBodies(ledger: Ledger, tx: Executor, bodies: EntryBody[], kept: KeptFields): Promise<number> {
  const erased = bodies.flatMap(({ position, body }) => {
    const other = withoutPersonalData(body, kept);
    return other === null ? [] : [{ position, body: other }];
  });
  await ledger.replaceBodies(tx, erased);
  return erased.length;
}

/**
 * The repairs of failed entries, locked: none can be sent meanwhile.
 * @throws RepairUnderWay where one was sent: its message is honoured only with the very body that is recorded, and would
 *   else be taken for a new order
 */
async function repairsOf(tx: Executor, entries: EntryBody[]): Promise<RepairTexts[]> {
  const found = await tx.query<RepairTexts & { position: number; underWay: boolean }>(
    sql`select number, body, changes::text as changes, failed_position as position,
          state = 'pending' and sends > 0 as "underWay"
        from repairs
        where failed_position in (
          select value::bigint from json_array_elements_text(${JSON.stringify(entries.map(({ position }) => position))}::json)
        )
        order by repairs.number for update`,
  );
  const underWay = found.find((repair) => repair.underWay);
  if (underWay) throw new RepairUnderWay(underWay.position);
  return found;
}

/** @returns how many were changed */
async function eraseRepairs(tx: Executor, repairs: RepairTexts[], kept: KeptFields): Promise<number> {
  const erased = repairs.flatMap(({ number, body, changes }) => {
    const otherBody = body === null ? null : withoutPersonalData(body, kept);
    const otherChanges = changesWithoutPersonalData(JSON.parse(changes) as FieldChange[], kept);
    if (otherBody === null && otherChanges === null) return [];
    return [{ number, body: otherBody ?? body, changes: otherChanges ? JSON.stringify(otherChanges) : changes }];
  });
  if (erased.length > 0) {
    await tx.query(
      sql`update repairs set body = given.body, changes = given.changes::json
          from json_to_recordset(${JSON.stringify(erased)}::json) as given (number bigint, body text, changes text)
          where repairs.number = given.number`,
    );
  }
  return erased.length;
}
