import { sql } from 'drizzle-orm';
import type { Database, Executor } from '../platform/database/database.js';
import { isFaultOfRow } from '../platform/database/sql-state.js';
import { messageOf } from '../shared/errors.js';
import {
  type ArchiveLine,
  DamagedLine,
  EMPTY_HISTORY,
  type EndLine,
  type EntryLine,
  type HeaderLine,
  historyHash,
  readArchiveLine,
} from './archive-lines.rules.js';
import type { LedgerHead } from './ledger-entry.js';

/** One transaction, by lines and by characters. */
const LINES_PER_PAGE = 2_000;
const CHARACTERS_PER_PAGE = 8 * 1024 * 1024;

/** A line of an archive as a file has it. */
export interface NumberedLine {
  /** From 1. */
  number: number;
  text: string;
}

/** An archive is not as it was written; nothing of the page that holds the line was imported. */
export class DamagedArchive extends Error {
  override readonly name = 'DamagedArchive';
}

/** The ledger to import into holds something else, which import never mixes with. */
export class OtherEntries extends Error {
  override readonly name = 'OtherEntries';
}

/** What came of an import. */
export interface Imported {
  /** How many entries and repairs were written; what was there before does not count. */
  entries: number;
  repairs: number;
  /** The last entry of the archive. */
  position: number;
  /** Whether the archive has its end, so that nothing is missing. */
  complete: boolean;
  /** Whether a service has kept figures of this ledger's database before: it has to be started anew. */
  inUse: boolean;
}

/**
 * Takes the lines of an archive over into a ledger that is empty or holds a part of the same history, which it then
 * continues. Positions, hashes and the ledger's own id stay what they are; each page of entries is one transaction
 * under the lock that every append takes, with every hash computed anew.
 */
export class ArchiveImport {
  /** How far the archive was read and found whole. */
  private read = { position: 0, hash: EMPTY_HISTORY };
  /** How far the target goes. */
  private head!: LedgerHead;
  private header: HeaderLine | null = null;
  private end: EndLine | null = null;
  private repairsRead = 0;
  private waitingRead = 0;
  private page: NumberedLine[] = [];
  private characters = 0;
  private readonly written = { entries: 0, repairs: 0 };

  /** @param onPage is told after each page how far the target goes */
  constructor(
    private readonly database: Database,
    private readonly onPage: (entries: number) => void,
  ) {}

  /**
   * @param lines in their order, from the header on; those of a part of an archive are imported as far as they go
   * @throws DamagedArchive @throws OtherEntries @throws DatabaseUnavailable
   */
  async run(lines: AsyncIterable<NumberedLine>): Promise<Imported> {
    for await (const line of lines) await this.take(line);
    if (!this.header) throw new DamagedArchive('it is empty');
    if (!this.end) await this.flush();
    if (this.head.position >= this.read.position) await this.compareWithin();
    return {
      ...this.written,
      position: this.read.position,
      complete: this.end !== null,
      inUse: await this.hasBeenInUse(),
    };
  }

  private async take(line: NumberedLine): Promise<void> {
    const content = this.parse(line);
    if (!this.header !== (content.type === 'ledger')) {
      throw damaged(line, this.header ? 'a second ledger begins there' : 'it must begin with a line of type ledger');
    }
    if (this.end) throw damaged(line, 'nothing may follow after the end');
    switch (content.type) {
      case 'ledger':
        return this.begin(content);
      case 'entry':
        return this.takeEntry(line, content);
      case 'repair':
        if (this.waitingRead > 0) throw damaged(line, 'a repair stands behind the refunds that wait');
        if (this.repairsRead++ === 0) await this.flush();
        return this.keep(line);
      case 'waiting_refund':
        if (this.waitingRead++ === 0) await this.flush();
        return this.keep(line);
      case 'end':
        return this.finish(line, content);
    }
  }

  private parse(line: NumberedLine): ArchiveLine {
    try {
      return readArchiveLine(line.text);
    } catch (error) {
      if (error instanceof DamagedLine || error instanceof SyntaxError) throw damaged(line, error.message);
      throw error;
    }
  }

  private async begin(header: HeaderLine): Promise<void> {
    const head = await headOf(this.database);
    this.header = header;
    this.head = head;
    this.read = { position: header.after, hash: header.entry_hash };
    if (head.position > 0 && head.ledgerId !== header.ledger_id) {
      throw new OtherEntries(`the ledger there is another one, with ${head.position} entries of its own`);
    }
    if (head.position < header.after) {
      throw new OtherEntries(`the ledger there ends at position ${head.position}, before the file begins`);
    }
    if (head.position === header.after && head.entryHash !== header.entry_hash) throw otherHistory(head.position);
  }

  private async takeEntry(line: NumberedLine, entry: EntryLine): Promise<void> {
    const due = this.read.position + 1;
    if (this.repairsRead > 0) throw damaged(line, 'an entry stands behind the repairs');
    if (this.waitingRead > 0) throw damaged(line, 'an entry stands behind the refunds that wait');
    if (entry.position !== due) throw damaged(line, `position ${due} is missing, ${entry.position} stands there`);
    let hash: string;
    try {
      hash = historyHash(this.read.hash, entry);
    } catch (error) {
      throw damaged(line, messageOf(error));
    }
    if (hash !== entry.entry_hash) {
      throw damaged(line, `the entry at position ${due} does not follow from the one before`);
    }
    if (due === this.head.position && hash !== this.head.entryHash) throw otherHistory(due);
    if (due > this.head.position) await this.keep(line);
    this.read = { position: due, hash };
  }

  /** Keeps a line for the page; a page that is full goes first, while `read` still is where it ends. */
  private async keep(line: NumberedLine): Promise<void> {
    if (this.page.length === LINES_PER_PAGE || this.characters > CHARACTERS_PER_PAGE) await this.flush();
    this.page.push(line);
    this.characters += line.text.length;
  }

  private async flush(): Promise<void> {
    const { page } = this;
    if (page.length === 0) return;
    [this.page, this.characters] = [[], 0];
    const json = `[${page.map(({ text }) => text).join(',')}]`;
    try {
      if (page[0]!.text.startsWith('{"type":"entry"')) await this.storeEntries(json, page.length);
      else if (page[0]!.text.startsWith('{"type":"repair"')) await this.storeRepairs(json);
      else await this.storeWaitingRefunds(json);
    } catch (error) {
      if (!isFaultOfRow(error)) throw error;
      const lines = `lines ${page[0]!.number} to ${page.at(-1)!.number}`;
      throw new DamagedArchive(`${lines}: the database refuses them: ${messageOf(error)}`, { cause: error });
    }
  }

  private async storeEntries(json: string, count: number): Promise<void> {
    const { position, hash } = this.read;
    await this.underLock(async (tx) => {
      await tx.query(insertEntries(json));
      await tx.query(
        sql`update ledger_head set ledger_id = ${this.header!.ledger_id}, position = ${position},
              entry_hash = decode(${hash}, 'hex')`,
      );
    });
    this.head = { ledgerId: this.header!.ledger_id, position, entryHash: hash };
    this.written.entries += count;
    this.onPage(this.written.entries);
  }

  /** Of a repair that ended at the target meanwhile, the target knows more. */
  private async storeRepairs(json: string): Promise<void> {
    if (this.head.position > this.read.position) return;
    await this.underLock(async (tx) => {
      this.written.repairs += (await tx.query(upsertRepairs(json))).length;
    });
  }

  /** Where the target goes further, it knows more of them. */
  private async storeWaitingRefunds(json: string): Promise<void> {
    if (this.head.position > this.read.position) return;
    await this.underLock(async (tx) => {
      await tx.query(insertWaitingRefunds(json));
    });
  }

  private async finish(line: NumberedLine, end: EndLine): Promise<void> {
    await this.flush();
    const { position, hash } = this.read;
    if (end.position !== position || end.entry_hash !== hash) {
      throw damaged(line, `it ends at position ${end.position}, but the last entry before is ${position}`);
    }
    if (end.repairs !== this.repairsRead) {
      throw damaged(line, `it counts ${end.repairs} repairs, but ${this.repairsRead} stand before`);
    }
    const { waiting_refunds: waiting = 0 } = end;
    if (waiting !== this.waitingRead) {
      throw damaged(line, `it counts ${waiting} refunds that wait, but ${this.waitingRead} stand before`);
    }
    this.end = end;
    if (this.head.position > position) return;
    await this.underLock(async (tx) => {
      // An archive without entries gives the ledger its id too.
      await tx.query(sql`update ledger_head set ledger_id = ${this.header!.ledger_id}`);
      // The figures of a service that runs there already fit this no longer when it looks next, at its start.
      // Where nothing came and figures were kept before, a clear or its undoing at the target is the later word.
      await tx.query(
        sql`update projection set base = ${end.base}
            where base <> ${end.base} and (state = 'empty' or ${this.written.entries > 0})`,
      );
      await tx.query(
        sql`select setval(pg_get_serial_sequence('repairs', 'number'), max(number)) from repairs having count(*) > 0`,
      );
    });
  }

  /**
   * Runs work under the lock that every append takes. The look at the head is the lock's own statement, and what
   * follows sees all that was committed before.
   * @throws OtherEntries where somebody else has appended meanwhile
   */
  private async underLock(work: (tx: Executor) => Promise<void>): Promise<void> {
    await this.database.transaction(async (tx) => {
      const head = await headOf(tx, { lock: true });
      const { ledgerId, position, entryHash } = this.head;
      if (head.ledgerId !== ledgerId || head.position !== position || head.entryHash !== entryHash) {
        throw new OtherEntries(
          `something else was written to the ledger there meanwhile, at position ${Math.min(position, head.position) + 1}`,
        );
      }
      await work(tx);
    });
  }

  /** Whether a target that goes as far as the archive, or further, has the same history up to there. */
  private async compareWithin(): Promise<void> {
    const { position, hash } = this.read;
    if (position === 0) return;
    const [same] = await this.database.query(
      sql`select 1 from ledger where position = ${position} and entry_hash = decode(${hash}, 'hex')`,
    );
    if (!same) throw otherHistory(position);
  }

  private async hasBeenInUse(): Promise<boolean> {
    const used = await this.database.query(sql`select 1 from projection where last_generation > 0`);
    return used.length > 0;
  }
}

function damaged(line: NumberedLine, fact: string): DamagedArchive {
  return new DamagedArchive(`line ${line.number}: ${fact}`);
}

function otherHistory(position: number): OtherEntries {
  return new OtherEntries(`the ledger there has another entry at position ${position} or before`);
}

async function headOf(executor: Executor, { lock } = { lock: false }): Promise<LedgerHead> {
  const [head] = await executor.query<LedgerHead>(
    sql`select ledger_id::text as "ledgerId", position::float8 as position, encode(entry_hash, 'hex') as "entryHash"
        from ledger_head ${lock ? sql`for update` : sql``}`,
  );
  return head!;
}

/**
 * Entries with the keys that append_entries makes of them: an order's or a refund's own where it counts, its content's
 * where not. A refund that waited here for its order has become the entry.
 */
function insertEntries(json: string): ReturnType<typeof sql> {
  return sql`
    with entries as materialized (
      select given.*, decode(given.content_hash, 'hex') as content
      from json_to_recordset(${json}::json) as given (
        position bigint, kind text, outcome text, order_id text, user_id text, ordered_at timestamptz,
        value_cents bigint, claimed_cents bigint, lines ledger_line[], reasons text[], content_hash text,
        entry_hash text, message_id text, ref_position bigint, refund_id text, actor text, sent_at timestamptz,
        received_at timestamptz, body text
      )
    ),
    counted as (
      insert into counted_orders
      select order_id, content, position from entries where kind = 'order' and outcome <> 'failed'
    ),
    failed as (
      insert into failed_contents select content, position from entries where kind <> 'repair' and outcome = 'failed'
    ),
    refunded as (
      insert into counted_refunds
      select refund_id, content, position from entries where kind = 'refund' and outcome <> 'failed'
    ),
    refunded_of_order as (
      insert into refunded_orders as known (order_id, refunded_cents)
      select order_id, sum(value_cents) from entries where kind = 'refund' and outcome <> 'failed' group by order_id
      on conflict (order_id) do update set refunded_cents = known.refunded_cents + excluded.refunded_cents
    ),
    settled as (
      update early_refunds set position = entries.position, body = null
      from entries
      where early_refunds.position is null and entries.kind = 'refund' and early_refunds.content_hash = entries.content
    )
    insert into ledger (
      position, kind, outcome, order_id, user_id, ordered_at, value_cents, claimed_cents, lines, reasons, content_hash,
      entry_hash, message_id, ref_position, refund_id, actor, sent_at, received_at, body
    )
    select position, kind, outcome, order_id, user_id, ordered_at, value_cents, claimed_cents, lines, reasons, content,
      decode(entry_hash, 'hex'), message_id, ref_position, refund_id, actor, sent_at, received_at, body
    from entries order by position`;
}

function insertWaitingRefunds(json: string): ReturnType<typeof sql> {
  return sql`
    insert into early_refunds (
      content_hash, refund_id, order_id, refunded_at, cents, message_id, sent_at, received_at, body
    )
    select decode(content_hash, 'hex'), refund_id, order_id, refunded_at, cents, message_id, sent_at, received_at, body
    from rows from (
      json_to_recordset(${json}::json) as (
        content_hash text, refund_id text, order_id text, refunded_at timestamptz, cents bigint, message_id text,
        sent_at timestamptz, received_at timestamptz, body text
      )
    ) with ordinality
    order by ordinality
    on conflict (content_hash) do nothing`;
}

function upsertRepairs(json: string): ReturnType<typeof sql> {
  return sql`
    insert into repairs (
      id, number, failed_position, requested_by, requested_at, body, changes, state, sends, sent_at, ended_at, reasons,
      counted_position, repair_position
    )
    overriding system value
    select id, number, failed_position, requested_by, requested_at, body, changes::json, state, sends, sent_at, ended_at,
      reasons, counted_position, repair_position
    from json_to_recordset(${json}::json) as given (
      id uuid, number bigint, failed_position bigint, requested_by text, requested_at timestamptz, body text,
      changes text, state text, sends integer, sent_at timestamptz, ended_at timestamptz, reasons text[],
      counted_position bigint, repair_position bigint
    )
    order by number
    on conflict (id) do update
    set state = excluded.state, sends = excluded.sends, sent_at = excluded.sent_at, ended_at = excluded.ended_at,
      reasons = excluded.reasons, counted_position = excluded.counted_position,
      repair_position = excluded.repair_position
    where repairs.state = 'pending'
    returning 1`;
}
