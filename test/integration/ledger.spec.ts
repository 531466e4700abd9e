import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import type { AppendResult } from '../../src/ledger/ledger-entry.js';
import { columnParsers } from '../../src/platform/database/column-parsers.js';
import { Database, DatabaseUnavailable } from '../../src/platform/database/database.js';
import { isFaultOfRow, sqlStateOf } from '../../src/platform/database/sql-state.js';
import { cents } from '../../src/domain/money.js';
import type { ValidatedMessage } from '../../src/domain/order-event.js';
import { eventually } from '../support/eventually.js';
import {
  aFailedMessage,
  aValidatedMessage,
  aLine,
  entriesArgument,
  type GivenMessage,
} from '../support/validated-messages.js';
import { aDatabase, emptyLedger } from '../support/stores.js';

const FUNCTIONS = join(__dirname, '..', '..', 'migrations', 'functions');
const SOON_MS = 10_000;

let stores: Awaited<ReturnType<typeof aDatabase>>;
let database: Database;
let ledger: Ledger;

beforeAll(async () => {
  Logger.overrideLogger(false);
  stores = await aDatabase();
  database = stores.part;
});
beforeEach(async () => {
  await emptyLedger(database);
  ledger = new Ledger(database);
});
afterEach(() => jest.restoreAllMocks());
afterAll(() => stores.destroy());

function append(...messages: ValidatedMessage[]): Promise<AppendResult[]> {
  return ledger.append(messages, SOON_MS);
}

/** What became of messages, in short words. */
async function told(...messages: ValidatedMessage[]): Promise<string[]> {
  return (await append(...messages)).map(inWords);
}

function inWords(result: AppendResult): string {
  switch (result.kind) {
    case 'stored':
      return [`${result.position} ${result.outcome}`, ...result.reasons].join(' ');
    case 'duplicate':
      return `duplicate of ${result.position}`;
    case 'waiting':
      return 'waiting';
    case 'repaired':
      return `repaired by ${result.position}`;
    case 'not_repaired':
      return [`not repaired ${result.position}`, ...result.reasons].join(' ');
    case 'refused':
      return `refused ${sqlStateOf(result.error)}`;
  }
}

async function storedPositions(): Promise<number[]> {
  const rows = await database.query<{ position: number }>(sql`select position from ledger order by position`);
  return rows.map(({ position }) => position);
}

function upTo(last: number): number[] {
  return Array.from({ length: last }, (_, i) => i + 1);
}

describe('what becomes of a message', () => {
  const order = { orderId: 'ORD1', content: 'one' };
  const otherContent = { orderId: 'ORD1', content: 'other' };

  it('stores accepted, corrected and failed ones at the next positions', async () => {
    expect(
      await told(
        aValidatedMessage(),
        aValidatedMessage({ outcome: 'corrected', claimed: cents(900) }),
        aFailedMessage({ reasons: ['missing_items', 'missing_user_id'], userId: null }),
      ),
    ).toEqual(['1 accepted', '2 corrected', '3 failed missing_items missing_user_id']);
    expect(await told(aValidatedMessage())).toEqual(['4 accepted']);
  });

  it('counts a redelivered order once, within a batch and across batches', async () => {
    expect(await told(aValidatedMessage(order), aValidatedMessage(), aValidatedMessage(order))).toEqual([
      '1 accepted',
      '2 accepted',
      'duplicate of 1',
    ]);
    expect(await told(aValidatedMessage(order), aValidatedMessage(order))).toEqual([
      'duplicate of 1',
      'duplicate of 1',
    ]);
  });

  it('counts an order once that fails under a lower limit when it is delivered again', async () => {
    const failing = aFailedMessage({ ...order, reasons: ['order_value_too_large'], wording: 'as a failure' });
    expect(await told(aValidatedMessage(order))).toEqual(['1 accepted']);
    expect(await told(failing)).toEqual(['duplicate of 1']);
  });

  it('stores another content of a counted order once as a conflicting duplicate, within a batch and across batches', async () => {
    expect(
      await told(aValidatedMessage(order), aValidatedMessage(otherContent), aValidatedMessage(otherContent)),
    ).toEqual(['1 accepted', '2 failed conflicting_duplicate', 'duplicate of 2']);
    expect(await told(aValidatedMessage(otherContent), aValidatedMessage(order))).toEqual([
      'duplicate of 2',
      'duplicate of 1',
    ]);
    expect(await told(aValidatedMessage({ ...order, content: 'third' }))).toEqual(['3 failed conflicting_duplicate']);
  });

  it('keeps nothing that counts of a conflicting duplicate, but all that tells what it was', async () => {
    await append(aValidatedMessage(order), aValidatedMessage({ ...otherContent, userId: 'U7', claimed: cents(5) }));
    expect(await ledger.entry(2)).toMatchObject({
      outcome: 'failed',
      orderId: 'ORD1',
      userId: 'U7',
      value: null,
      lines: [],
      claimed: 5,
    });
  });

  it('lets the first passing one of a batch win', async () => {
    expect(await told(aFailedMessage(otherContent), aValidatedMessage(order), aValidatedMessage(otherContent))).toEqual(
      ['1 failed missing_items', '2 accepted', 'duplicate of 1'],
    );
  });

  it('stores a failed content once, within a batch and across batches', async () => {
    const failed = { orderId: null, content: 'unreadable' };
    expect(await told(aFailedMessage(failed), aFailedMessage(failed))).toEqual([
      '1 failed missing_items',
      'duplicate of 1',
    ]);
    expect(await told(aFailedMessage(failed))).toEqual(['duplicate of 1']);
    expect(await told(aFailedMessage({ ...failed, content: 'else' }))).toEqual(['2 failed missing_items']);
  });

  it('counts a content that failed before and passes now', async () => {
    expect(await told(aFailedMessage(order))).toEqual(['1 failed missing_items']);
    expect(await told(aValidatedMessage(order), aFailedMessage(order))).toEqual(['2 accepted', 'duplicate of 2']);
    expect(await told(aFailedMessage(order))).toEqual(['duplicate of 2']);
  });

  it('counts a content that fails and then passes within one batch', async () => {
    expect(await told(aFailedMessage(order), aValidatedMessage(order), aFailedMessage(order))).toEqual([
      '1 failed missing_items',
      '2 accepted',
      'duplicate of 2',
    ]);
  });

  it('takes a counted content that would fail now for a duplicate', async () => {
    expect(await told(aValidatedMessage(order), aFailedMessage(order))).toEqual(['1 accepted', 'duplicate of 1']);
    expect(await told(aFailedMessage(order))).toEqual(['duplicate of 1']);
  });

  it('adds conflicting_duplicate to the other reasons of a failed one whose order was counted with other content', async () => {
    expect(await told(aValidatedMessage(order), aFailedMessage(otherContent))).toEqual([
      '1 accepted',
      '2 failed missing_items conflicting_duplicate',
    ]);
    expect(await told(aFailedMessage({ ...order, content: 'third' }))).toEqual([
      '3 failed missing_items conflicting_duplicate',
    ]);
  });

  it('answers every one of 500 messages in their order, whatever becomes of them', async () => {
    const messages = Array.from({ length: 500 }, (_, i) =>
      i % 5 === 3
        ? aFailedMessage({ orderId: null, content: `failed ${i % 20}` })
        : aValidatedMessage({ orderId: `ORD${i % 7}`, content: `${i % 21}` }),
    );
    const results = await append(...messages);
    expect(results).toHaveLength(500);
    const stored = results.flatMap((result) => (result.kind === 'stored' ? [result.position] : []));
    expect(stored).toEqual(upTo(stored.length));
    expect(await storedPositions()).toEqual(stored);
    const entries = await database.query<{ position: number; body: string }>(sql`select position, body from ledger`);
    const bodies = new Map(entries.map(({ position, body }) => [position, body]));
    expect(results.map((result) => 'position' in result && bodies.get(result.position!))).toEqual(
      messages.map(({ body }) => body),
    );
  });

  it('throws where the database leaves a message without an answer', async () => {
    const query = database.query.bind(database);
    jest.spyOn(database, 'query').mockImplementation(async (statement) => (await query<never>(statement)).slice(1));
    await expect(append(aValidatedMessage(), aValidatedMessage())).rejects.toThrow('answered 1 of 2');
  });

  it('is the same, and so is the hash of the history, in whatever batches the messages come', async () => {
    const message = fc
      .record({ order: fc.integer({ min: 1, max: 3 }), content: fc.integer({ min: 1, max: 3 }), passes: fc.boolean() })
      .map(({ order, content, passes }): ValidatedMessage => {
        const given: GivenMessage = { orderId: `ORD${order}`, content: `${order}/${content}` };
        return passes ? aValidatedMessage(given) : aFailedMessage(given);
      });
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { minLength: 1, maxLength: 14 }),
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1 }),
        async (messages, sizes) => {
          await emptyLedger(database);
          const oneByOne: string[] = [];
          for (const each of messages) oneByOne.push(...(await told(each)));
          const { entryHash, position } = await ledger.head();

          await emptyLedger(database);
          const inBatches: string[] = [];
          for (let i = 0, start = 0; start < messages.length; i++) {
            const end = start + sizes[i % sizes.length]!;
            inBatches.push(...(await told(...messages.slice(start, end))));
            start = end;
          }
          expect(inBatches).toEqual(oneByOne);
          expect(await ledger.head()).toMatchObject({ entryHash, position });
        },
      ),
      { numRuns: 40 },
    );
  });

  it('chains the hashes, so that one entry tells two histories apart for good', async () => {
    const contents = ['a', 'b', 'c'].map((content) => aValidatedMessage({ orderId: `ORD-${content}`, content }));
    await append(...contents);
    const hashes = await Promise.all([1, 2, 3].map((position) => ledger.hashAt(position)));
    expect((await ledger.head()).entryHash).toBe(hashes[2]);
    expect(new Set([await ledger.hashAt(0), ...hashes]).size).toBe(4);
    expect(await ledger.hashAt(4)).toBeNull();

    await emptyLedger(database);
    await append(contents[0]!, aValidatedMessage({ content: 'something else' }), contents[2]!);
    expect(await ledger.hashAt(1)).toBe(hashes[0]);
    expect(await ledger.hashAt(2)).not.toBe(hashes[1]);
    expect(await ledger.hashAt(3)).not.toBe(hashes[2]);
  });
});

describe('what is stored', () => {
  it('keeps product ids of any printable characters', async () => {
    const odd = [
      '"',
      '""',
      '\\',
      '\\"',
      '{}',
      '{a,b}',
      '(1,2)',
      'a,b',
      ' a b ',
      ',',
      "'",
      'null',
      'NULL',
      '$1',
      '%',
      ';--',
    ];
    const ids = fc.array(
      fc.oneof(fc.constantFrom(...odd), fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 128 })),
      {
        minLength: 1,
        maxLength: 30,
      },
    );
    await fc.assert(
      fc.asyncProperty(ids, async (ids) => {
        const [result] = await append(aValidatedMessage({ lines: ids.map((product_id) => aLine({ product_id })) }));
        if (result?.kind !== 'stored') throw new Error(JSON.stringify(result));
        const lines = (await ledger.entry(result.position))!.lines;
        expect(lines.map((line) => line.product_id)).toEqual(ids);
        const [projected] = (await ledger.entriesAfter(result.position - 1, 1)).entries;
        expect(projected!.lines.map((line) => line.product_id)).toEqual(ids);
      }),
      { numRuns: 60, examples: [[odd]] },
    );
  });

  it('keeps ids of any printable characters', async () => {
    const printable = String.fromCharCode(...Array.from({ length: 95 }, (_, i) => 32 + i));
    await append(aValidatedMessage({ orderId: `ORD${printable}`, userId: `U${printable}` }));
    expect(await ledger.entry(1)).toMatchObject({ orderId: `ORD${printable}`, userId: `U${printable}` });
    const found = await ledger.page({ userId: `U${printable}`, orderId: `ORD${printable}` }, 2);
    expect(found).toMatchObject({ entries: [{ position: 1 }], more: false });
  });

  it('gives large bodies in shorter pages, and all of them in the end', async () => {
    const large = Array.from({ length: 10 }, (_, i) => aValidatedMessage({ body: `${i}`.padEnd(1_000_000, 'x') }));
    await append(...large, aValidatedMessage());
    const places: number[][] = [];
    for (let before: number | undefined, more = true; more; before = places.at(-1)!.at(-1)) {
      const page = await ledger.page({ before }, 500);
      places.push(page.entries.map(({ position }) => position));
      more = page.more;
    }
    expect(places.flat()).toEqual(upTo(11).reverse());
    expect(places.map(({ length }) => length)).toEqual([10, 1]);
    expect(await ledger.page({}, 3)).toMatchObject({ entries: [{}, {}, {}], more: true });
    expect(await ledger.page({ before: 4 }, 3)).toMatchObject({ entries: [{}, {}, {}], more: false });
  });

  it('keeps the parts of a line exactly', async () => {
    const line = aLine({ quantity: 1_000_000, price_per_unit: '0.000000000000000000001', cents: cents(1e13) });
    await append(aValidatedMessage({ value: cents(1e13), lines: [line, aLine()] }));
    expect((await ledger.entry(1))!.lines).toEqual([line, aLine()]);
  });

  it('keeps a body as received, and what PostgreSQL text can not hold as the replacement character', async () => {
    const bodies: [received: string, stored: string][] = [
      ['{"a": "\\u0000",\r\n\t"ü": "😀" }', '{"a": "\\u0000",\r\n\t"ü": "😀" }'],
      ['a\0b\0', 'a\uFFFDb\uFFFD'],
      ['\uD83D', '\uFFFD'],
      ['x\uDE00y\uD83D\uDE00', 'x\uFFFDy😀'],
      ['', ''],
      ["'; drop table ledger; --", "'; drop table ledger; --"],
    ];
    // Orders and refunds by turns, which go in apart and have their bodies in one run of bytes.
    const kindOf = (i: number): 'order' | 'refund' => (i % 2 === 0 ? 'order' : 'refund');
    const messages = bodies.map(([body], i) => aFailedMessage({ kind: kindOf(i), content: `body ${i}`, body }));
    const results = await append(...messages);
    expect(results.map(({ kind }) => kind)).toEqual(bodies.map(() => 'stored'));
    for (const [i, [, stored]] of bodies.entries()) {
      const { position } = results[i] as { position: number };
      expect(await ledger.entry(position)).toMatchObject({ kind: kindOf(i), body: stored });
    }
  });

  it('keeps times to the millisecond and what could not be read as null', async () => {
    const times = { orderedAt: 978_307_199_999, sentAt: 1_767_225_600_001, receivedAt: 1_767_225_600_002 };
    await append(
      aValidatedMessage(times),
      aFailedMessage({ content: 'x', orderId: null, userId: null, orderedAt: null, claimed: null }),
    );
    expect(await ledger.entry(1)).toMatchObject(times);
    expect(await ledger.entry(2)).toMatchObject({
      orderId: null,
      userId: null,
      orderedAt: null,
      claimed: null,
      value: null,
    });
  });
});

describe('a row that the database refuses', () => {
  const tooLarge = (): ValidatedMessage => aValidatedMessage({ value: 1e19 as never });
  const contradicting = (): ValidatedMessage => aValidatedMessage({ value: cents(0) });

  it('is left out alone, and its neighbours are stored without a gap', async () => {
    const messages = Array.from({ length: 23 }, () => aValidatedMessage());
    messages[4] = tooLarge();
    messages[17] = contradicting();
    messages[18] = aValidatedMessage({ outcome: 'failed', reasons: [], value: null });
    const results = await told(...messages);
    expect(results[4]).toBe('refused 22003');
    expect(results[17]).toBe('refused 23514');
    expect(results[18]).toBe('refused 23514');
    const neighbours = results.filter((_, i) => ![4, 17, 18].includes(i));
    expect(neighbours).toEqual(upTo(20).map((position) => `${position} accepted`));
    expect(await storedPositions()).toEqual(upTo(20));
  });

  it('is refused alone too, and again when it is delivered again', async () => {
    const message = tooLarge();
    expect(await told(message)).toEqual(['refused 22003']);
    expect(await told(message, message)).toEqual(['refused 22003', 'refused 22003']);
    expect(await ledger.head()).toMatchObject({ position: 0 });
  });

  it('does not hold up what other callers append at the same time', async () => {
    const results = await Promise.all([
      append(aValidatedMessage()),
      append(tooLarge()),
      append(aValidatedMessage(), aValidatedMessage()),
    ]);
    expect(results.map((each) => each.map(({ kind }) => kind))).toEqual([
      ['stored'],
      ['refused'],
      ['stored', 'stored'],
    ]);
  });

  it('names its fault', async () => {
    const [result] = await append(contradicting());
    if (result?.kind !== 'refused') throw new Error('it was not refused');
    expect(isFaultOfRow(result.error)).toBe(true);
  });
});

describe('appends of several callers', () => {
  /** Holds the first statement back until it is let go. */
  function holdFirstStatement(): { letGo(): void; statements: jest.SpyInstance } {
    const query = database.query.bind(database);
    let letGo = (): void => undefined;
    const held = new Promise<void>((resolve) => (letGo = resolve));
    let first = true;
    const statements = jest.spyOn(database, 'query').mockImplementation(async (statement) => {
      if (first) {
        first = false;
        await held;
      }
      return query(statement);
    });
    return { letGo, statements };
  }

  it('gather into one while one is in flight', async () => {
    const { letGo, statements } = holdFirstStatement();
    const inFlight = told(aValidatedMessage());
    await eventually(() => expect(statements).toHaveBeenCalledTimes(1));
    const gathering = Array.from({ length: 9 }, () => told(aValidatedMessage(), aValidatedMessage()));
    expect(statements).toHaveBeenCalledTimes(1);
    letGo();
    expect(await inFlight).toEqual(['1 accepted']);
    expect(await Promise.all(gathering)).toEqual(
      Array.from({ length: 9 }, (_, i) => [`${2 * i + 2} accepted`, `${2 * i + 3} accepted`]),
    );
    expect(statements).toHaveBeenCalledTimes(2);
  });

  it('gather to at most 500 messages', async () => {
    const { letGo, statements } = holdFirstStatement();
    const inFlight = append(aValidatedMessage());
    await eventually(() => expect(statements).toHaveBeenCalledTimes(1));
    const many = (count: number): ValidatedMessage[] => Array.from({ length: count }, () => aValidatedMessage());
    const gathering = [append(...many(300)), append(...many(200)), append(...many(1)), append(...many(600))];
    letGo();
    await Promise.all([inFlight, ...gathering]);
    expect(statements).toHaveBeenCalledTimes(4);
    expect(await ledger.head()).toMatchObject({ position: 1_102 });
  });

  it('tell a listener once a statement that stored something', async () => {
    const listener = jest.fn();
    ledger.onAppended(listener);
    await append(aValidatedMessage({ orderId: 'ORD1' }));
    expect(listener).toHaveBeenCalledTimes(1);
    await append(aValidatedMessage({ orderId: 'ORD1' }));
    expect(listener).toHaveBeenCalledTimes(1);
  });
});

describe('an outage', () => {
  /** Lets every statement fail as if the database were gone, until it is over. */
  function anOutage(): { over(): void; statements: jest.SpyInstance } {
    const statements = jest.spyOn(database, 'query').mockRejectedValue(new DatabaseUnavailable('gone'));
    return { over: () => statements.mockRestore(), statements };
  }

  it('is waited out, and the append repeated until it succeeds', async () => {
    const { over, statements } = anOutage();
    const waiting = told(aValidatedMessage(), aValidatedMessage());
    await eventually(() => expect(statements.mock.calls.length).toBeGreaterThan(2));
    over();
    expect(await waiting).toEqual(['1 accepted', '2 accepted']);
  });

  it('is reported when the caller has no more patience', async () => {
    const { over } = anOutage();
    const deadline = performance.now() + 300;
    await expect(ledger.append([aValidatedMessage()], 300)).rejects.toThrow(DatabaseUnavailable);
    expect(performance.now()).toBeGreaterThanOrEqual(deadline);
    over();
    expect(await ledger.head()).toMatchObject({ position: 0 });
  });

  it('is reported to each caller by their own patience', async () => {
    const { over } = anOutage();
    const patient = told(aValidatedMessage());
    const impatient = ledger.append([aValidatedMessage()], 200);
    await expect(impatient).rejects.toThrow(DatabaseUnavailable);
    over();
    expect(await patient).toEqual(['1 accepted']);
  });

  it('is waited out while the database is known to be down', async () => {
    const { availability } = database;
    const waiting = (availability.failed(new Error('gone')), told(aValidatedMessage()));
    await expect(database.query(sql`select 1`)).rejects.toThrow(DatabaseUnavailable);
    expect(await waiting).toEqual(['1 accepted']);
    expect(availability.up).toBe(true);
  });

  it('is reported at once when the process is about to end', async () => {
    const { statements } = anOutage();
    const waiting = append(aValidatedMessage());
    await eventually(() => expect(statements.mock.calls.length).toBeGreaterThan(1));
    ledger.stopWaiting();
    await expect(waiting).rejects.toThrow(DatabaseUnavailable);
    await expect(append(aValidatedMessage())).rejects.toThrow(DatabaseUnavailable);
  });

  it('between the commit and its answer does not store anything twice', async () => {
    const query = database.query.bind(database);
    const spy = jest.spyOn(database, 'query').mockImplementationOnce(async (statement) => {
      await query(statement);
      throw new DatabaseUnavailable('gone before the answer');
    });
    expect(await told(aValidatedMessage(), aFailedMessage())).toEqual(['duplicate of 1', 'duplicate of 2']);
    expect(spy).toHaveBeenCalledTimes(2);
    expect(await storedPositions()).toEqual([1, 2]);
  });

  it('is not what a mistake of ours is taken for', async () => {
    jest.spyOn(database, 'query').mockRejectedValueOnce(new TypeError('a mistake'));
    await expect(append(aValidatedMessage())).rejects.toThrow('a mistake');
    expect(await told(aValidatedMessage())).toEqual(['1 accepted']);
  });

  it('in the form of a head that stays locked is waited out', async () => {
    const impatient = new Database(stores.url, 400);
    await impatient.availability.start();
    const holder = await connected(stores.url);
    const statements = jest.spyOn(impatient, 'query');
    try {
      await holder.query('begin');
      await holder.query('select * from ledger_head for update');
      const waiting = new Ledger(impatient).append([aValidatedMessage()], SOON_MS);
      await eventually(() => expect(statements.mock.calls.length).toBeGreaterThan(1));
      await holder.query('commit');
      expect((await waiting).map(inWords)).toEqual(['1 accepted']);
      expect(impatient.availability.up).toBe(true);
    } finally {
      await holder.end();
      await impatient.onApplicationShutdown();
    }
  });
});

describe('refunds that wait for one order', () => {
  const MAX_WAITING = 1_000;
  const MAX_SETTLED = 200;
  const anEarlyRefund = (i: number, orderId = 'ORD1'): ValidatedMessage =>
    aValidatedMessage({
      kind: 'refund',
      orderId,
      refundId: `R${i}`,
      userId: null,
      value: cents(1),
      claimed: cents(1),
      lines: [],
      content: `${orderId} ${i}`,
    });

  beforeEach(async () => {
    const results = await append(...Array.from({ length: MAX_WAITING }, (_, i) => anEarlyRefund(i)));
    expect(new Set(results.map(inWords))).toEqual(new Set(['waiting']));
  });

  it('are a thousand at most', async () => {
    expect(await told(anEarlyRefund(MAX_WAITING), anEarlyRefund(0), anEarlyRefund(0, 'ORD2'))).toEqual([
      '1 failed too_many_waiting_refunds',
      'duplicate of null',
      'waiting',
    ]);
    expect(await told(anEarlyRefund(MAX_WAITING))).toEqual(['duplicate of 1']);
  });

  it('are settled a portion at a time, in the order in which they came', async () => {
    const order = aValidatedMessage({ orderId: 'ORD1', value: cents(MAX_WAITING) });
    expect(await told(order, aValidatedMessage())).toEqual(['1 accepted', '2 accepted']);
    expect((await ledger.head()).position).toBe(2 + MAX_SETTLED);
    // One that comes meanwhile must not be settled before them: there would not be enough left for the last one.
    expect(await told(anEarlyRefund(MAX_WAITING), aValidatedMessage())).toEqual(['waiting', '203 accepted']);
    const appended = jest.fn();
    ledger.onAppended(appended);
    while (await ledger.settleDueRefunds());
    expect(appended).toHaveBeenCalled();

    const settled = await database.query<{ refund: string; outcome: string }>(
      sql`select refund_id as refund, outcome from ledger where kind = 'refund' order by position`,
    );
    expect(settled).toEqual(
      Array.from({ length: MAX_WAITING + 1 }, (_, i) => ({
        refund: `R${i}`,
        outcome: i < MAX_WAITING ? 'accepted' : 'failed',
      })),
    );
    expect(await told(anEarlyRefund(MAX_WAITING + 1))).toEqual(['1005 failed refund_exceeds_order']);
  });
});

/** As PostgreSQL cancels a statement. */
function takesTooLong(): DatabaseUnavailable {
  const cause = Object.assign(new Error('canceling statement due to statement timeout'), { code: '57014' });
  return new DatabaseUnavailable(cause.message, { cause });
}

describe('a statement that takes too long', () => {
  it('to append costs only the message that it is for', async () => {
    const query = database.query.bind(database);
    jest.spyOn(database, 'query').mockImplementation((statement) => {
      if (JSON.stringify(statement).includes('ORD-SLOW')) return Promise.reject(takesTooLong());
      return query(statement);
    });
    const others = Array.from({ length: 5 }, () => aValidatedMessage());
    expect(await told(...others.slice(0, 2), aValidatedMessage({ orderId: 'ORD-SLOW' }), ...others.slice(2))).toEqual([
      '1 accepted',
      '2 accepted',
      'refused 57014',
      '3 accepted',
      '4 accepted',
      '5 accepted',
    ]);
  });

  it('to read a page is followed by one that reads half of it', async () => {
    await append(...Array.from({ length: 10 }, () => aValidatedMessage()));
    const query = database.query.bind(database);
    jest.spyOn(database, 'query').mockImplementation(async (statement) => {
      const rows = await query<never>(statement);
      if (rows.length > 3) throw takesTooLong();
      return rows;
    });
    const { entries, more } = await ledger.entriesAfter(2, 8);
    expect([entries.map(({ position }) => position), more]).toEqual([[3, 4], true]);
    jest.spyOn(database, 'query').mockRejectedValue(takesTooLong());
    await expect(ledger.entriesAfter(2, 8)).rejects.toThrow(DatabaseUnavailable);
  });
});

describe('pages of entries', () => {
  it('hold fewer where these are large', async () => {
    const body = 'x'.repeat(1_000_000);
    await append(...Array.from({ length: 12 }, () => aValidatedMessage({ body })), aValidatedMessage());
    const pages: number[][] = [];
    for (let after = 0, more = true; more;) {
      const page = await ledger.entriesAfter(after, 2_000);
      pages.push(page.entries.map(({ position }) => position));
      after = page.entries.at(-1)!.position;
      ({ more } = page);
    }
    expect(pages.map(({ length }) => length)).toEqual([5, 5, 3]);
    expect(pages.flat()).toEqual(upTo(13));
    expect(await ledger.entriesAfter(13, 2_000)).toEqual({ entries: [], more: false });
  });
});

describe('append_entries', () => {
  it('refuses any isolation but READ COMMITTED', async () => {
    for (const level of ['repeatable read', 'serializable']) {
      const attempt = database.transaction(async (tx) => {
        await tx.query(sql.raw(`set transaction isolation level ${level}`));
        await tx.query(sql`select * from append_entries(${entriesArgument([aValidatedMessage()])}::json)`);
      });
      await expect(attempt.catch((error: unknown) => sqlStateOf(error))).resolves.toBe('25000');
    }
    expect(await storedPositions()).toEqual([]);
  });

  it('alone can give out a position', async () => {
    const attempt = database.query(
      sql`insert into ledger (kind, outcome, content_hash, entry_hash, sent_at, received_at, body, value_cents)
          values ('order', 'accepted', '', '', now(), now(), '', 1)`,
    );
    await expect(attempt.catch((error: unknown) => sqlStateOf(error))).resolves.toBe('23502');
  });

  it('leaves no entry unread by who follows fifteen writers with slow commits, positions gapless and in commit order', async () => {
    const { read, stored, refused } = await raceWriters(stores.url);
    expect(refused).toEqual([]);
    expect(stored).toEqual(upTo(15 * APPENDS_PER_WRITER * MESSAGES_PER_APPEND));
    expect(read).toEqual(stored);
  });

  it('would fail at that without FOR UPDATE, so that the test above bites', async () => {
    const unlocked = await aDatabase();
    try {
      await unlocked.part.query(sql.raw(appendEntriesWithoutForUpdate()));
      const { read, stored, refused } = await raceWriters(unlocked.url);
      const complete = stored.length === 15 * APPENDS_PER_WRITER * MESSAGES_PER_APPEND;
      const followed = JSON.stringify(read) === JSON.stringify(stored);
      expect({ complete, followed, refused: refused.length > 0 }).not.toEqual({
        complete: true,
        followed: true,
        refused: false,
      });
    } finally {
      await unlocked.destroy();
    }
  });

  it('stores and reports every conflict of two connections', async () => {
    const [one, other] = await Promise.all([connected(stores.url), connected(stores.url)]);
    try {
      const answers = new Map<string, string[]>();
      for (let start = 0; start < CONFLICTS; start += 20) {
        const orders = Array.from({ length: 20 }, (_, i) => `ORD${start + i}`);
        await Promise.all([
          appendThrough(one, orders, 'one', answers),
          appendThrough(other, orders.reverse(), 'other', answers),
        ]);
      }
      const reported = [...answers.values()].map((each) => each.sort().join(', '));
      expect(reported).toEqual(Array.from({ length: CONFLICTS }, () => 'accepted , failed conflicting_duplicate'));
      const { rows } = await one.query<{ stored: number }>(
        `select count(*)::int as stored from counted_orders
             join ledger accepted using (position)
             join ledger conflicting on conflicting.order_id = counted_orders.order_id
               and conflicting.reasons = '{conflicting_duplicate}' and conflicting.content_hash <> accepted.content_hash`,
      );
      expect(rows[0]!.stored).toBe(CONFLICTS);
      expect(await storedPositions()).toEqual(upTo(2 * CONFLICTS));
    } finally {
      await Promise.all([one.end(), other.end()]);
    }
  });
});

const APPENDS_PER_WRITER = 12;
const MESSAGES_PER_APPEND = 3;
const CONFLICTS = 400;

/** What a follower read, what the ledger holds in the end, and what the database refused. */
interface Race {
  read: number[];
  stored: number[];
  refused: string[];
}

/** Fifteen connections append with commits that take a moment each, while one reads what is after its checkpoint. */
async function raceWriters(url: string): Promise<Race> {
  const [reader, ...writers] = await Promise.all(Array.from({ length: 16 }, () => connected(url)));
  const refused: string[] = [];
  const write = async (writer: Client): Promise<void> => {
    for (let i = 0; i < APPENDS_PER_WRITER; i++) {
      const messages = Array.from({ length: MESSAGES_PER_APPEND }, () => aValidatedMessage());
      try {
        await writer.query('begin');
        await writer.query('select * from append_entries($1::json)', [entriesArgument(messages)]);
        await writer.query('select pg_sleep(random() * 0.006)');
        await writer.query('commit');
      } catch (error) {
        refused.push(sqlStateOf(error) ?? String(error));
        await writer.query('rollback');
      }
    }
  };
  let writing = true;
  const read: number[] = [];
  const follow = async (): Promise<void> => {
    for (let last = false; !last;) {
      last = !writing;
      read.push(...(await positionsAfter(reader!, read.at(-1) ?? 0)));
    }
  };
  try {
    const following = follow();
    await Promise.all(writers.map(write));
    writing = false;
    await following;
    return { read, stored: await positionsAfter(reader!, 0), refused };
  } finally {
    await Promise.all([reader!, ...writers].map((client) => client.end()));
  }
}

async function positionsAfter(client: Client, position: number): Promise<number[]> {
  const { rows } = await client.query<{ position: number }>(
    'select position from ledger where position > $1 order by position',
    [position],
  );
  return rows.map((row) => row.position);
}

/** Appends an order each with the content given, and notes what the database answered for it. */
async function appendThrough(
  client: Client,
  orders: string[],
  content: string,
  answers: Map<string, string[]>,
): Promise<void> {
  const messages = orders.map((orderId) => aValidatedMessage({ orderId, content: `${orderId} ${content}` }));
  const { rows } = await client.query<{ i: number; outcome: string; reasons: string[]; duplicate: boolean }>(
    'select i, outcome, reasons, duplicate from append_entries($1::json)',
    [entriesArgument(messages)],
  );
  for (const { i, outcome, reasons, duplicate } of rows) {
    const orderId = messages[i]!.orderId!;
    answers.set(orderId, [
      ...(answers.get(orderId) ?? []),
      `${duplicate ? 'duplicate' : outcome} ${reasons.join(' ')}`,
    ]);
  }
}

async function connected(url: string): Promise<Client> {
  const client = new Client({ connectionString: url, types: columnParsers });
  await client.connect();
  return client;
}

function appendEntriesWithoutForUpdate(): string {
  const unlocked = readFileSync(join(FUNCTIONS, 'append_entries.sql'), 'utf8').replace(
    'from ledger_head for update;',
    'from ledger_head;',
  );
  if (unlocked.includes('for update')) throw new Error('append_entries still locks');
  return unlocked;
}
