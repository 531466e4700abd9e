import { Injectable } from '@nestjs/common';
import { type SQL, sql } from 'drizzle-orm';
import { Database } from '../platform/database/database.js';
import { InvalidInput } from '../shared/errors.js';
import { ARCHIVE_VERSION, archiveLine, EMPTY_HISTORY, type EndLine, type HeaderLine } from './archive-lines.rules.js';

/** One page of lines, by entries and by characters of their bodies: what is in memory, and one statement. */
const ENTRIES_PER_PAGE = 1_000;
const CHARACTERS_PER_PAGE = 4 * 1024 * 1024;
/** A repair may carry a body of 1 MiB too, but there are few. */
const REPAIRS_PER_PAGE = 20;
/** As these may. */
const REFUNDS_PER_PAGE = 20;

interface NumberedJson {
  number: number;
  json: string;
}

/** The positions of the ledger have a gap, so that it can't be written down as a whole. */
export class LedgerGap extends Error {
  override readonly name = 'LedgerGap';
  constructor(position: number) {
    super(`The ledger has no entry at position ${position}: old entries were taken out of it`);
  }
}

/** What of a ledger is to be written down: the entries after one, up to where the ledger ended when it was asked. */
export interface ArchiveExtent {
  header: HeaderLine;
  end: Omit<EndLine, 'type' | 'repairs' | 'waiting_refunds'>;
  /** Later repairs may depend on later entries. */
  lastRepair: number;
  /** The number of the last refund that had come before its order. */
  lastEarlyRefund: number;
}

/**
 * Writes a ledger down as lines of text (see archive-lines.rules.ts) that another database can take over.
 *
 * Not among them is what belongs to a place and not to the ledger: which generation of the figures is served (the new
 * place builds its own), the rebuilds that were asked for, the latest verification, and why deliveries failed, which
 * stays with the queue.
 */
@Injectable()
export class LedgerArchive {
  constructor(private readonly database: Database) {}

  /**
   * Looks how far the ledger goes now.
   * @param after the last entry that is written down already; 0 for none
   * @throws InvalidInput where the ledger does not reach that far @throws LedgerGap @throws DatabaseUnavailable
   */
  async extent(after: number): Promise<ArchiveExtent> {
    // One statement, and so one moment.
    const [row] = await this.database.query<{
      ledgerId: string;
      position: number;
      entryHash: string;
      hashAfter: string | null;
      base: number;
      lastRepair: number;
      lastEarlyRefund: number;
    }>(
      sql`select ledger_id::text as "ledgerId", ledger_head.position::float8 as position,
            encode(ledger_head.entry_hash, 'hex') as "entryHash", base::float8 as base,
            (select encode(entry_hash, 'hex') from ledger where ledger.position = ${after}) as "hashAfter",
            (select coalesce(max(number), 0)::float8 from repairs) as "lastRepair",
            (select coalesce(max(number), 0)::float8 from early_refunds) as "lastEarlyRefund"
          from ledger_head, projection`,
    );
    const { ledgerId, position, entryHash, hashAfter, base, lastRepair, lastEarlyRefund } = row!;
    if (after > position) {
      throw new InvalidInput([{ field: 'after', message: `must be at most ${position}, where the ledger ends` }]);
    }
    const hash = after === 0 ? EMPTY_HISTORY : hashAfter;
    if (hash === null) throw new LedgerGap(after);
    return {
      header: { type: 'ledger', version: ARCHIVE_VERSION, ledger_id: ledgerId, after, entry_hash: hash },
      end: { position, entry_hash: entryHash, base },
      lastRepair,
      lastEarlyRefund,
    };
  }

  /** The lines, without their line feeds, page by page. @throws LedgerGap @throws DatabaseUnavailable */
  async *pages({ header, end, lastRepair, lastEarlyRefund }: ArchiveExtent): AsyncGenerator<string[]> {
    yield [archiveLine(JSON.stringify(header))];
    for (let after = header.after; after < end.position;) {
      const page = await this.entries(after, end.position);
      page.forEach(({ position }, i) => {
        if (position !== after + i + 1) throw new LedgerGap(after + i + 1);
      });
      if (page.length === 0) throw new LedgerGap(after + 1);
      after += page.length;
      yield page.map(({ json }) => archiveLine(json));
    }
    const repairs = yield* numbered((after) => this.repairs(after, lastRepair, end.position));
    const waiting = yield* numbered((after) => this.waitingRefunds(after, lastEarlyRefund, end.position));
    yield [archiveLine(JSON.stringify({ type: 'end', ...end, repairs, waiting_refunds: waiting }))];
  }

  private entries(after: number, last: number): Promise<{ position: number; json: string }[]> {
    return this.database.query(
      sql`with next as (
            select position, octet_length(body) as size from ledger
            where position > ${after} and position <= ${last} order by position limit ${ENTRIES_PER_PAGE}
          ), sized as (
            select position, sum(size) over (order by position) - size as before from next
          )
          select position::float8 as position, row_to_json(entry)::text as json
          from (
            select 'entry' as type, position, kind, outcome, order_id, user_id, ${iso(sql`ordered_at`)} as ordered_at,
              value_cents, claimed_cents,
              array(
                select row_to_json(line)
                from (select product_id, quantity, price_per_unit::text as price_per_unit, cents from unnest(lines)) line
              ) as lines,
              reasons, encode(content_hash, 'hex') as content_hash, encode(entry_hash, 'hex') as entry_hash,
              message_id, ref_position, refund_id, actor, ${iso(sql`sent_at`)} as sent_at,
              ${iso(sql`received_at`)} as received_at, body
            from ledger join sized using (position) where before < ${CHARACTERS_PER_PAGE}
          ) entry
          order by position`,
    );
  }

  /**
   * As they were at the last entry: one that was mended by a later entry is still under way. What a repair changes is
   * text in the file, as a body is: it may hold characters that PostgreSQL refuses within JSON that it takes apart.
   */
  private repairs(after: number, lastNumber: number, last: number): Promise<NumberedJson[]> {
    const later = sql`coalesce(repair_position > ${last}, false)`;
    return this.database.query(
      sql`select number::float8 as number, translate(row_to_json(repair)::text, E'\\n\\r', '  ') as json
          from (
            select 'repair' as type, id, number, failed_position, requested_by,
              ${iso(sql`requested_at`)} as requested_at, body, changes::text as changes,
              case when ${later} then 'pending' else state end as state, sends, ${iso(sql`sent_at`)} as sent_at,
              case when not ${later} then ${iso(sql`ended_at`)} end as ended_at, reasons,
              case when not ${later} then counted_position end as counted_position,
              case when not ${later} then repair_position end as repair_position
            from repairs
            where number > ${after} and number <= ${lastNumber} and failed_position <= ${last}
            order by repairs.number limit ${REPAIRS_PER_PAGE}
          ) repair
          order by number`,
    );
  }

  /** As they were at the last entry: the body of one that later became an entry is that entry's. */
  private waitingRefunds(after: number, lastNumber: number, last: number): Promise<NumberedJson[]> {
    return this.database.query(
      sql`select early.number::float8 as number, row_to_json(refund)::text as json
          from early_refunds early left join ledger on ledger.position = early.position
            cross join lateral (
              select 'waiting_refund' as type, encode(early.content_hash, 'hex') as content_hash, early.refund_id,
                early.order_id, ${iso(sql`early.refunded_at`)} as refunded_at, early.cents, early.message_id,
                ${iso(sql`early.sent_at`)} as sent_at, ${iso(sql`early.received_at`)} as received_at,
                coalesce(early.body, ledger.body) as body
            ) refund
          where early.number > ${after} and early.number <= ${lastNumber}
            and (early.position is null or early.position > ${last})
          order by early.number limit ${REFUNDS_PER_PAGE}`,
    );
  }
}

/** Pages of lines until one is empty. @param next the page after a number @returns how many lines there were */
async function* numbered(next: (after: number) => Promise<NumberedJson[]>): AsyncGenerator<string[], number> {
  let lines = 0;
  for (let after = 0; ;) {
    const page = await next(after);
    if (page.length === 0) return lines;
    after = page.at(-1)!.number;
    lines += page.length;
    yield page.map(({ json }) => archiveLine(json));
  }
}

function iso(time: SQL): SQL {
  return sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
}
