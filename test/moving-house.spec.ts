import { sql } from 'drizzle-orm';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from '../src/cli/command.js';
import { run as ledgerExport } from '../src/cli/ledger-export.js';
import { run as ledgerImport } from '../src/cli/ledger-import.js';
import { ArchiveImport, type Imported } from '../src/ledger/archive-import.js';
import { archiveLine, type HeaderLine } from '../src/ledger/archive-lines.rules.js';
import { LedgerArchive } from '../src/ledger/ledger-archive.js';
import type { LedgerHead } from '../src/ledger/ledger-entry.js';
import { Ledger } from '../src/ledger/ledger.js';
import { openCommandDatabase } from '../src/platform/database/command-database.js';
import type { Database } from '../src/platform/database/database.js';
import { loadConfig } from '../src/shared/config.js';
import { aWorld, RunningService, type World } from './support/app.js';
import { dumpOfGeneration, type Dump } from './support/dump.js';
import { eventually } from './support/eventually.js';
import { aFailedMessage, aJudgedMessage, aLine } from './support/judged-messages.js';

import { anOrderEvent } from './support/order-events.js';
import { onServer, prepareEmbeddedLedger } from './support/parts.js';
import { Program, ServiceProcess } from './support/process.js';
import { aRefund } from './support/refunds.js';
import { aDatabase, emptyLedger, type OwnPart } from './support/stores.js';


const TABLES = ['ledger', 'counted_orders', 'failed_contents', 'counted_refunds', 'refunded_orders', 'repairs'];
const ENTRIES_OF_LONG_LEDGER = 4_500;
/** Far in the future: nothing here waits out an outage. */
const NO_HURRY = Number.MAX_SAFE_INTEGER;

let folder: string;
const worlds: World[] = [];
const programs: Program[] = [];
let stops: (() => Promise<void>)[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'moving-house-'));
});

afterAll(async () => {
  for (const stop of stops) await stop();
  for (const program of programs) await program.end();
  for (const world of worlds) await world.destroy();
  rmSync(folder, { recursive: true });
});

async function aHouse(overrides: Record<string, string> = {}): Promise<World> {
  const world = await aWorld(overrides);
  worlds.push(world);
  return world;
}

/** A world whose ledger is embedded, whatever the suite runs on. */
async function anEmbeddedHouse(): Promise<World> {
  const world = await aHouse({ DATABASE_URL: 'embedded' });
  if (onServer) await prepareEmbeddedLedger(world.dataDir);
  return world;
}

/** A service that is stopped in any case, once. */
async function runningIn(world: World): Promise<RunningService> {
  const service = await RunningService.ready({ world });
  stops.push(() => service.stop());
  return service;
}

async function stopAll(): Promise<void> {
  const stopping = stops;
  stops = [];
  for (const stop of stopping) await stop();
}

interface Ran {
  exitCode: number;
  out: string;
  err: string;
}

async function ran(command: Command, argv: string[], environment: NodeJS.ProcessEnv, isTTY = false): Promise<Ran> {
  const out = new PassThrough();
  const err = Object.assign(new PassThrough(), { isTTY, columns: 100 });
  const exitCode = await command(argv, { out, err, environment });
  return { exitCode, out: String(out.read() ?? ''), err: String(err.read() ?? '') };
}

/** Works on a world's ledger while no service does. */
async function inHouse<T>(world: World, work: (database: Database) => Promise<T>): Promise<T> {
  const { database, close } = await openCommandDatabase(loadConfig(world.environment));
  try {
    return await work(database);
  } finally {
    await close();
  }
}

interface Contents {
  head: LedgerHead;
  base: number;
  rows: Record<string, string[]>;
}

/** Everything that moves, as text. */
async function contentsOf(database: Database): Promise<Contents> {
  const rows: Record<string, string[]> = {};
  for (const table of TABLES) {
    const found = await database.query<{ row: string }>(
      sql`select row::text as row from ${sql.raw(table)} row order by row::text collate "C"`,
    );
    rows[table] = found.map(({ row }) => row);
  }
  const [projection] = await database.query<{ base: number }>(sql`select base::float8 as base from projection`);
  return { head: await new Ledger(database).head(), base: projection!.base, rows };
}

function fileOf(name: string, content: string | Buffer = ''): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').trimEnd().split('\n');
}

/** With characters that PostgreSQL keeps in JSON but refuses when it takes JSON apart. */
const ODD_CHANGES = String.raw`[{"field":"items","before":"a\u0000b \ud800","after":"x"}]`;

async function recordRepair(database: Database, failedPosition: number, body: string | null): Promise<string> {
  const [repair] = await database.query<{ id: string }>(
    sql`insert into repairs (failed_position, requested_by, body, changes, sends, sent_at)
        values (${failedPosition}, 'local-operator', ${body}, ${ODD_CHANGES}, 1, now())
        returning id`,
  );
  return repair!.id;
}

/** What the wide world sends: right and wrong in many ways. */
function everyKindOfOrder(): (string | object)[] {
  const conflicting = anOrderEvent();
  const refunded = anOrderEvent({ order_id: 'ORD-REFUNDED' });
  return [
    aRefund({ order_id: refunded.order_id, refund_id: 'R "early"', amount: 1 }),
    refunded,
    aRefund({ order_id: refunded.order_id }),
    aRefund({ order_id: refunded.order_id, amount: 7 }),
    aRefund({ order_id: 'soon' }),
    aRefund({ order_id: 'ORD-NEVER', note: 'Zeile 1\nZeile 2\u2028', amount: 2 }),
    aRefund({ order_id: 'ORD-NEVER', amount: 3 }),
    ...Array.from({ length: 40 }, (_, i) => anOrderEvent({ user_id: `U${i % 7}` })),
    anOrderEvent({ order_value: 999, order_timestamp: '2025-12-31T23:59:59.999+02:00' }),
    anOrderEvent({
      order_value: null,
      items: [{ product_id: 'P-ü'.slice(0, 2), quantity: 3, price_per_unit: '0.3333' }],
    }),
    anOrderEvent({ items: [{ product_id: 'A "b", \\c {d} (e)', quantity: 1, price_per_unit: 10 }] }),
    conflicting,
    { ...conflicting, user_id: 'U99' },
    anOrderEvent({ items: [] }),
    anOrderEvent({ items: [], user_id: 'ü', order_id: 'Ørd', order_value: -7 }),
    anOrderEvent({ order_timestamp: 'soon', order_value: 'much' }),
    anOrderEvent({ order_timestamp: '1999-01-01T00:00:00Z' }),
    '{broken',
    '"\\"text in text\\""',
    'Zeile 1\nZeile 2\t\u2028 \u{1F4E6}',
    anOrderEvent({
      order_value: 10_000,
      items: Array.from({ length: 10_000 }, (_, i) => ({ product_id: `P${i}`, quantity: 1, price_per_unit: 1 })),
    }),
    `{"note":"${'x'.repeat(1_000_000)}"}`,
  ];
}

describe('A ledger with everything in it', () => {
  let before: Contents;
  let figures: Dump;
  let answers: unknown[];
  let sent: (string | object)[];
  let exported: Ran;
  let file: string;
  let old: World;
  let target: World;

  const STATISTICS = ['/stats/products?limit=1000', '/users?limit=1000', '/stats/monthly/2026-01?limit=1000'];

  async function statistics(service: RunningService): Promise<unknown[]> {
    const given: unknown[] = [];
    for (const path of STATISTICS) {
      const { status, body } = await service.get(path);
      expect({ path, status }).toEqual({ path, status: 200 });
      delete body.as_of;
      given.push(body);
    }
    return given;
  }

  beforeAll(async () => {
    old = await anEmbeddedHouse();
    const service = await runningIn(old);
    sent = everyKindOfOrder();
    await service.send(...sent.slice(0, 20));
    await service.settled();
    await service.call('DELETE', '/clear_redis_db');
    for (const each of sent.slice(20)) await service.send(each); // one may be as large as a batch may be
    await service.settled();

    const ledger = service.app.get(Ledger);
    const mended = anOrderEvent();
    const wrong = [1, 2, 3].map((i) => aFailedMessage({ content: `wrong ${i}`, body: `${i}: \0 \ud800 \\ "` }));
    const stored = await ledger.append(wrong, NO_HURRY);
    const [first, second, third] = stored.map((result) => (result as { position: number }).position);
    const body = JSON.stringify(mended);
    const ids = [
      await recordRepair(service.database, first!, body),
      await recordRepair(service.database, second!, '{}'),
    ];
    await recordRepair(service.database, third!, null);
    const retried = await ledger.append(
      [
        aJudgedMessage({ body, orderId: mended.order_id, repairId: ids[0] }),
        aFailedMessage({ body: '{}', content: 'wrong still', repairId: ids[1] }),
      ],
      NO_HURRY,
    );
    expect(retried.map(({ kind }) => kind)).toEqual(['repaired', 'not_repaired']);

    await service.settled();
    before = await contentsOf(service.database);
    figures = await dumpOfGeneration(service);
    answers = await statistics(service);
    await stopAll();

    file = join(folder, 'everything.jsonl');
    exported = await ran(ledgerExport, [file], old.environment);
    target = await aHouse();
  }, 120_000);

  it('is written down one entry a line, between a header and an end', () => {
    expect(exported).toMatchObject({ exitCode: 0, err: '' });
    const { position } = before.head;
    expect(exported.out).toContain(`Positions  1 to ${position}\n`);
    const lines = linesOf(file).map((line) => JSON.parse(line));
    expect(lines.map(({ type }) => type)).toEqual([
      'ledger',
      ...Array.from({ length: position }, () => 'entry'),
      ...['repair', 'repair', 'repair', 'waiting_refund', 'waiting_refund', 'end'],
    ]);
    expect(lines[0]).toMatchObject({ version: 1, ledger_id: before.head.ledgerId, after: 0 });
    expect(lines.find(({ outcome }) => outcome === 'accepted')).toMatchObject({
      kind: 'order',
      ordered_at: '2026-01-15T12:00:00.000Z',
      value_cents: 1_000,
      lines: [{ product_id: 'P1', quantity: 2, price_per_unit: '5', cents: 1_000 }],
    });
    expect(lines.at(-1)).toMatchObject({
      position,
      entry_hash: before.head.entryHash,
      repairs: 3,
      waiting_refunds: 2,
      base: before.base,
    });
    expect(before.base).toBeGreaterThan(0);
  });

  it('is for the eyes of its owner only', () => {
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('is in another database what it was: entries, keys, repairs, head and base', async () => {
    const imported = await ran(ledgerImport, [file], target.environment);
    expect(imported).toMatchObject({ exitCode: 0, err: '' });
    expect(imported.out).toMatch(new RegExp(`^Entries +${before.head.position}\nPositions +1 to .*\nRepairs +3\n`));
    expect(imported.out).toContain('/stats/verify');
    expect(await inHouse(target, contentsOf)).toEqual(before);
  });

  it('can be imported once more, which changes nothing', async () => {
    const again = await ran(ledgerImport, [file], target.environment);
    expect([again.exitCode, again.out]).toEqual([0, expect.stringMatching(/^Entries +0\n/)]);
    expect(await inHouse(target, contentsOf)).toEqual(before);
  });

  it('is written down there as it was here, byte by byte', async () => {
    const copy = join(folder, 'copy.jsonl');
    expect(await ran(ledgerExport, [copy], target.environment)).toMatchObject({ exitCode: 0 });
    expect(readFileSync(copy).equals(readFileSync(file))).toBe(true);
  });

  it('has there the figures that it had here, refuses the same orders again, and goes on', async () => {
    const service = await runningIn(target);
    try {
      await service.settled();
      expect(await dumpOfGeneration(service)).toEqual(figures);
      expect(await statistics(service)).toEqual(answers);

      for (const each of sent) await service.send(each);
      await service.settled();
      expect(await service.app.get(Ledger).head()).toEqual(before.head);

      const order = anOrderEvent();
      await service.send(order);
      const { body } = await eventually(async () => {
        const found = await service.get(`/order-events?order_id=${order.order_id}`);
        expect(found.body.items).toHaveLength(1);
        return found;
      });
      expect(body.items[0].position).toBe(before.head.position + 1);
      // The identity of repairs goes on too.
      const repair = await recordRepair(service.database, 1, null);
      const [{ number }] = (await service.database.query(
        sql`select number::float8 as number from repairs where id = ${repair}`,
      )) as [{ number: number }];
      expect(number).toBe(4);
    } finally {
      await stopAll();
    }
    const afterwards = await ran(ledgerImport, [file], target.environment);
    expect([afterwards.exitCode, afterwards.out]).toEqual([0, expect.stringMatching(/^Entries +0\n/)]);
  });

  it('leaves a clear that came there since as it is when it is imported once more', async () => {
    const place = await aHouse();
    expect(await ran(ledgerImport, [file], place.environment)).toMatchObject({ exitCode: 0 });
    const service = await runningIn(place);
    await service.settled();
    expect((await service.call('DELETE', '/clear_redis_db')).status).toBe(200);
    await stopAll();
    expect(await ran(ledgerImport, [file], place.environment)).toMatchObject({ exitCode: 0 });
    expect((await inHouse(place, contentsOf)).base).toBe(before.head.position);
  });

  describe('whose export is cut off', () => {
    const cuts: [string, (text: string) => number][] = [
      ['before anything was written', () => 0],
      ['within the header', () => 25],
      ['after the header', (text) => text.indexOf('\n') + 1],
      ['within the first entry', (text) => text.indexOf('\n') + 40],
      ['before a line feed', (text) => text.indexOf('\n', text.length / 2)],
      ['after an entry', (text) => text.indexOf('\n{"type":"entry","position":30') + 1],
      ['within a repair', (text) => text.indexOf('{"type":"repair"') + 30],
      ['before the end', (text) => text.indexOf('{"type":"end"')],
      ['within the end', (text) => text.indexOf('{"type":"end"') + 20],
    ];

    it.each(cuts)('is completed: cut %s', async (_where, cut) => {
      const whole = readFileSync(file, 'latin1');
      const path = fileOf('cut.jsonl', Buffer.from(whole.slice(0, cut(whole)), 'latin1'));
      expect(await ran(ledgerExport, [path], old.environment)).toMatchObject({ exitCode: 0, err: '' });
      expect(readFileSync(path).equals(readFileSync(file))).toBe(true);
    });
  });

  it.each([
    [
      'another ledger',
      (lines: string[]) => [changed(lines[0]!, { ledger_id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11' })],
    ],
    ['entries it never had', (lines: string[]) => [lines[0], changed(lines[1]!, { entry_hash: '00'.repeat(32) })]],
    ['more entries', (lines: string[]) => [lines[0], changed(lines[1]!, { position: 9_999 })]],
    ['a last entry that was edited', (lines: string[]) => [lines[0], lines[1]!.replace('"kind"', '"Kind"')]],
    ['a part only', (lines: string[]) => [changed(lines[0]!, { after: 7 })]],
    ['something else', () => ['{"order_id":"ORD1"}', '{"order_id":"ORD2"}']],
    ['a line of something else', (lines: string[]) => [...lines.slice(0, 3), 'and so on', ...lines.slice(3)]],
    ['a single line of something else', () => ['hello']],
  ])('is not written over a file with %s', async (_name, made) => {
    const content = `${made(linesOf(file)).join('\n')}\n`;
    const path = fileOf('other.jsonl', content);
    const { exitCode, err } = await ran(ledgerExport, [path], old.environment);
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/^[^\n]*other\.jsonl [^\n]+\n$/)]);
    expect(readFileSync(path, 'utf8')).toBe(content);
  });

  it('is not written where there is no place for it', async () => {
    const home = old.environment;
    mkdirSync(join(folder, 'folder.jsonl'));
    expect((await ran(ledgerExport, [join(folder, 'folder.jsonl')], home)).err).toMatch(/^.* is a directory\n$/);
    expect((await ran(ledgerExport, [join(folder, 'no/where.jsonl')], home)).err).toMatch(/does not exist\n$/);
    expect((await ran(ledgerExport, ['/dev/full'], home)).err).toMatch(/is not a file/);
  });
});

describe('A long ledger', () => {
  let source: OwnPart<Database>;
  let target: OwnPart<Database>;
  let lines: string[];
  let before: Contents;

  beforeAll(async () => {
    [source, target] = [await aDatabase(), await aDatabase()];
    const messages = Array.from({ length: ENTRIES_OF_LONG_LEDGER }, (_, i) =>
      i % 9 === 0 ? aFailedMessage({ content: `wrong ${i}` }) : aJudgedMessage(),
    );
    await new Ledger(source.part).append(messages, NO_HURRY);
    lines = await archived(source.part);
    before = await contentsOf(source.part);
  });

  afterAll(async () => {
    await source.destroy();
    await target.destroy();
  });

  beforeEach(async () => {
    await emptyLedger(target.part);
    await target.part.query(sql`delete from repairs`);
    await target.part.query(sql`update ledger_head set ledger_id = gen_random_uuid()`);
  });

  const reached = async (): Promise<number> => (await new Ledger(target.part).head()).position;

  it.each([0, 1, 1_999, 2_000, 2_001, 4_000, 4_500, 4_501])(
    'is continued after an import that broke off after %i entries',
    async (entries) => {
      await expect(importing(target.part, brokenOff(lines.slice(0, 1 + entries)))).rejects.toThrow('broken off');
      expect([0, 2_000, 4_000, 4_500]).toContain(await reached());
      expect(await importing(target.part, lines)).toMatchObject({ complete: true, position: 4_500 });
      expect(await contentsOf(target.part)).toEqual(before);
    },
  );

  it.each([1, 2, 3, 4, 5, 6, 7, 8, 9])('is continued after the %ith statement of an import failed', async (nth) => {
    await expect(importing(failingAt(target.part, nth), lines)).rejects.toThrow('connection lost');
    expect([0, 2_000, 4_000]).toContain(await reached());
    expect(await importing(target.part, lines)).toMatchObject({ complete: true });
    expect(await contentsOf(target.part)).toEqual(before);
  });

  it('is imported as far as it goes where its end is missing', async () => {
    expect(await importing(target.part, lines.slice(0, 3_001))).toMatchObject({ complete: false, entries: 3_000 });
    expect(await reached()).toBe(3_000);
  });

  const entryAt = 2_345;
  const damages: [string, RegExp, (lines: string[]) => string[]][] = [
    [
      'changed',
      /^line 2346: it was changed/,
      (all) => all.with(entryAt, all[entryAt]!.replace('"user_id":"U1"', '"user_id":"U2"')),
    ],
    ['no JSON', /^line 2346: it is no line of/, (all) => all.with(entryAt, 'x')],
    [
      'given another value, with a new check',
      /^line 2346: the entry at position 2345 does not follow/,
      (all) => all.with(entryAt, changed(all[entryAt]!, { outcome: 'accepted', value_cents: 1 })),
    ],
    [
      'of an unknown kind, with a new check',
      /^line 2346: its kind "gift" is not known/,
      (all) => all.with(entryAt, changed(all[entryAt]!, { kind: 'gift' })),
    ],
    ['missing', /^line 2346: position 2345 is missing, 2346 stands/, (all) => all.toSpliced(entryAt, 1)],
    ['twice', /^line 2347: position 2346 is missing, 2345 stands/, (all) => all.toSpliced(entryAt, 0, all[entryAt]!)],
    [
      'swapped with the next',
      /^line 2346: position 2345 is missing, 2346 stands/,
      (all) => all.with(entryAt, all[entryAt + 1]!).with(entryAt + 1, all[entryAt]!),
    ],
  ];

  it.each(damages)('is refused where an entry is %s, and nothing of that page stays', async (_what, why, damage) => {
    await expect(importing(target.part, damage(lines))).rejects.toThrow(why);
    expect(await reached()).toBe(2_000);
    expect(await importing(target.part, lines)).toMatchObject({ complete: true });
    expect(await contentsOf(target.part)).toEqual(before);
  });

  it.each<[string, RegExp, (lines: string[]) => string[]]>([
    ['nothing', /^it is empty/, () => []],
    ['no header', /^line 1: it must begin with/, (all) => all.slice(1)],
    ['two headers', /^line 2: a second ledger/, (all) => [all[0]!, ...all]],
    ['another version', /version is 2/, (all) => all.with(0, changed(all[0]!, { version: 2 }))],
    [
      'an end too early',
      /ends at position 4500, but the last entry before is 3/,
      (all) => [...all.slice(0, 4), all.at(-1)!],
    ],
    ['something after the end', /nothing may follow/, (all) => [...all, all.at(-1)!]],
    [
      'a repair that is missing',
      /counts 1 repairs, but 0 stand/,
      (all) => all.with(-1, changed(all.at(-1)!, { repairs: 1 })),
    ],
  ])('is refused with %s', async (_what, why, damage) => {
    await expect(importing(target.part, damage(lines))).rejects.toThrow(why);
  });

  it('is refused by a ledger with other entries, which keeps them', async () => {
    await new Ledger(target.part).append([aJudgedMessage()], NO_HURRY);
    const own = await contentsOf(target.part);
    await expect(importing(target.part, lines)).rejects.toThrow('the ledger there is another one, with 1 entries');
    expect(await contentsOf(target.part)).toEqual(own);
  });

  it('is refused by a copy that went on by itself before it was complete', async () => {
    await importing(target.part, lines.slice(0, 101));
    await new Ledger(target.part).append([aJudgedMessage()], NO_HURRY);
    await expect(importing(target.part, lines)).rejects.toThrow('has another entry at position 101');
    expect(await reached()).toBe(101);
  });

  it('is refused where an order is appended there meanwhile, which stays', async () => {
    async function* meanwhile(): AsyncGenerator<string> {
      for (const [i, line] of lines.entries()) {
        if (i === 2_500) await new Ledger(target.part).append([aJudgedMessage()], NO_HURRY);
        yield line;
      }
    }
    await expect(importing(target.part, meanwhile())).rejects.toThrow('meanwhile, at position 2001');
    expect(await reached()).toBe(2_001);
  });

  it('takes up what came since the last import', async () => {
    await importing(target.part, lines);
    const more = await aDatabase();
    try {
      await importing(more.part, lines);
      const [stored] = await new Ledger(more.part).append([aFailedMessage({ content: 'late' })], NO_HURRY);
      const failed = (stored as { position: number }).position;
      const repair = await recordRepair(more.part, failed, null);
      expect(await importing(target.part, await archived(more.part))).toMatchObject({ entries: 1, repairs: 1 });
      expect(await contentsOf(target.part)).toEqual(await contentsOf(more.part));

      // A repair changes after it was written down.
      const [{ body }] = (await more.part.query(sql`select body from ledger where position = ${failed}`)) as [
        { body: string },
      ];
      await new Ledger(more.part).append([aJudgedMessage({ body, repairId: repair })], NO_HURRY);
      await more.part.query(sql`update projection set base = 7`);
      expect(await importing(target.part, await archived(more.part))).toMatchObject({ entries: 2, repairs: 1 });
      expect(await contentsOf(target.part)).toEqual(await contentsOf(more.part));
    } finally {
      await more.destroy();
      await target.part.query(sql`update projection set base = 0`);
    }
  });

  it('is written down as it was when that began, the repairs too', async () => {
    const living = await aDatabase();
    try {
      const ledger = new Ledger(living.part);
      await ledger.append([aFailedMessage({ body: 'wrong' })], NO_HURRY);
      const repairId = await recordRepair(living.part, 1, null);
      const then = await contentsOf(living.part);
      const archive = new LedgerArchive(living.part);
      const extent = await archive.extent(0);
      await ledger.append([aJudgedMessage({ body: 'wrong', repairId }), aFailedMessage({ content: 'new' })], NO_HURRY);
      await recordRepair(living.part, 4, null);
      await importing(target.part, await linesIn(archive.pages(extent)));
      expect(await contentsOf(target.part)).toEqual(then);
      await importing(target.part, await archived(living.part));
      expect(await contentsOf(target.part)).toEqual(await contentsOf(living.part));
    } finally {
      await living.destroy();
    }
  });

  it('can not be written down where old entries were taken out', async () => {
    const short = await aDatabase();
    try {
      await importing(short.part, lines.slice(0, 11));
      await short.part.query(sql`delete from ledger where position = 4`);
      await expect(archived(short.part)).rejects.toThrow('no entry at position 4');
    } finally {
      await short.destroy();
    }
  });

  it('comes out whole with bodies and lines of the largest kind', async () => {
    const large = await aDatabase();
    try {
      await new Ledger(large.part).append(
        Array.from({ length: 12 }, (_, i) =>
          i % 2
            ? aFailedMessage({ content: `large ${i}`, body: '\u0001'.repeat(1_048_576) })
            : aJudgedMessage({ lines: Array.from({ length: 10_000 }, () => aLine({ product_id: 'P'.repeat(128) })) }),
        ),
        NO_HURRY,
      );
      await importing(target.part, await archived(large.part));
      expect(await contentsOf(target.part)).toEqual(await contentsOf(large.part));
    } finally {
      await large.destroy();
    }
  });

  describe('in a file', () => {
    let home: World;
    let path: string;

    beforeAll(async () => {
      home = await aHouse();
      path = fileOf('long.jsonl', `${lines.join('\n')}\n`);
    });

    it('that breaks off is imported as far as it goes, which the exit code tells', async () => {
      const torn = fileOf('torn.jsonl', readFileSync(path).subarray(0, 700_000));
      const { exitCode, err } = await ran(ledgerImport, [torn], home.environment);
      expect([exitCode, err]).toEqual([1, expect.stringMatching(/^.*torn\.jsonl breaks off within a line: .*\n$/)]);
      const { exitCode: after, out } = await ran(ledgerImport, [path], home.environment, true);
      expect([after, out]).toEqual([0, expect.stringContaining('Positions  1 to 4,500\n')]);
      expect(await inHouse(home, contentsOf)).toEqual(before);
    });

    it.each([
      ['long.jsonl.gz', Buffer.from([0x1f, 0x8b, 8, 0, 10, 0, 0]), /is refused: line 1: it is no line/],
      ['orders.jsonl', '{"order_id":"ORD1"}\n', /is refused: line 1: it is no line/],
      ['blank.jsonl', '', /is refused: it is empty/],
    ])('is not any file: %s', async (name, content, why) => {
      const { exitCode, err } = await ran(ledgerImport, [fileOf(name, content)], home.environment);
      expect([exitCode, err]).toEqual([1, expect.stringMatching(why)]);
      expect(err.trim()).not.toContain('\n');
    });

    it('has to be there', async () => {
      const { exitCode, err } = await ran(ledgerImport, [join(folder, 'missing.jsonl')], home.environment);
      expect([exitCode, err]).toEqual([1, expect.stringMatching(/^.*missing\.jsonl does not exist\n$/)]);
    });

    it('is shown with a bar on a terminal', async () => {
      const other = await aHouse();
      const { err } = await ran(ledgerImport, [path], other.environment, true);
      expect(err).toContain('4,500 imported');
    });
  });

  it(
    'is complete after the import was killed and run again',
    async () => {
      const home = await aHouse();
      const path = fileOf('killed.jsonl', `${lines.join('\n')}\n`);
      await inHouse(home, async (database) => {
        const first = Program.run('cli/ledger-import.js', home.environment, [path]);
        programs.push(first);
        await database.transaction(async (tx) => {
          await eventually(async () => {
            const [row] = await tx.query<{ n: number }>(sql`select position::float8 as n from ledger_head`);
            expect(row!.n).toBeGreaterThan(0);
          });
          await tx.query(sql`select from ledger_head for update`);
          await first.kill('SIGKILL');
        });
        expect(await ran(ledgerImport, [path], home.environment)).toMatchObject({ exitCode: 0 });
        expect(await contentsOf(database)).toEqual(before);
      });
    },
  );
});

describe('While a service runs on the embedded ledger', () => {
  let home: World;
  let service: RunningService;
  let environment: Record<string, string>;

  beforeAll(async () => {
    home = await anEmbeddedHouse();
    service = await runningIn(home);
    environment = { ...home.environment, PORT: new URL(service.url).port };
    await service.app.get(Ledger).append(
      Array.from({ length: 2_500 }, () => aJudgedMessage()),
      NO_HURRY,
    );
  });

  it('its ledger is written down through it, while orders go on coming', async () => {
    const path = join(folder, 'live.jsonl');
    let coming = true;
    const ledger = service.app.get(Ledger);
    const traffic = (async () => {
      while (coming) {
        await ledger.append([aJudgedMessage(), aFailedMessage({ content: String(Math.random()) })], NO_HURRY);
        await nextTurn(); // the embedded database alone never lets anybody else have a turn
      }
    })();
    const live = await ran(ledgerExport, [path], environment);
    coming = false;
    await traffic;
    expect(live).toMatchObject({ exitCode: 0, err: '' });
    expect(live.out).toContain('Entries that come from now on are not in it');

    const end = JSON.parse(linesOf(path).at(-1)!);
    expect(end.position).toBeGreaterThanOrEqual(2_500);
    expect(end.entry_hash).toBe(await ledger.hashAt(end.position));
    const again = await ran(ledgerExport, [path], environment);
    expect(again).toMatchObject({ exitCode: 0 });
    const target = await aDatabase();
    try {
      await importing(target.part, linesOf(path));
      expect(await contentsOf(target.part)).toEqual(await contentsOf(service.database));
    } finally {
      await target.destroy();
    }
  });

  it('hands out the rest after an entry', async () => {
    const { status, headers, body } = await service.get('/ledger/export?after=2499');
    expect([status, headers.get('content-type')]).toEqual([200, expect.stringContaining('application/x-ndjson')]);
    const [header, entry] = String(body).split('\n');
    expect(JSON.parse(header!)).toMatchObject({
      after: 2_499,
      entry_hash: await service.app.get(Ledger).hashAt(2_499),
    });
    expect(JSON.parse(entry!)).toMatchObject({ type: 'entry', position: 2_500 });
  });

  it.each(['-1', 'x', '1.5', '999999999', ''])('refuses to begin after "%s"', async (after) => {
    const { status, body } = await service.get(`/ledger/export?after=${after}`);
    expect([status, body.code, body.errors]).toEqual([
      400,
      'invalid_input',
      [{ field: 'after', message: expect.any(String) }],
    ]);
  });

  it('is not disturbed by a client that leaves', async () => {
    const leaving = new AbortController();
    const response = await fetch(`${service.url}/ledger/export`, { signal: leaving.signal });
    await response.body!.getReader().read();
    leaving.abort();
    expect((await service.get('/ledger/export?after=2500')).status).toBe(200);
  });

  it('a file that the ledger does not reach is not continued', async () => {
    const path = join(folder, 'further.jsonl');
    await ran(ledgerExport, [path], environment);
    const lines = linesOf(path);
    const last = lines.findLast((line) => line.startsWith('{"type":"entry"'))!;
    const content = `${[...lines.slice(0, -1), changed(last, { position: 1_000_000 })].join('\n')}\n`;
    writeFileSync(path, content);
    const { exitCode, err } = await ran(ledgerExport, [path], environment);
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/goes to position 1000000, and the ledger does not/)]);
    expect(readFileSync(path, 'utf8')).toBe(content);
  });

  it('nothing is imported into it, and whoever tries hears why', async () => {
    const path = fileOf('any.jsonl', '\n');
    const { exitCode, err } = await ran(ledgerImport, [path], environment);
    expect([exitCode, err]).toEqual([
      1,
      expect.stringMatching(/^The data folder .* is in use by another process .*\n$/),
    ]);
  });

  it('the service on another port is not taken for it', async () => {
    const path = join(folder, 'none.jsonl');
    const unheard = await ran(ledgerExport, [path], { ...environment, PORT: '9' });
    expect([unheard.exitCode, unheard.err]).toEqual([1, expect.stringMatching(/no service answers at http:.*PORT/)]);
    writeFileSync(join(home.dataDir, 'owner.pid'), '1\n');
    const other = await ran(ledgerExport, [path], environment);
    expect([other.exitCode, other.err]).toEqual([
      1,
      expect.stringMatching(/the ledger of the service at .* is not in it/),
    ]);
    expect(() => statSync(path)).toThrow('ENOENT');
  });

  afterAll(stopAll);
});

describe('A service that was pointed at a server', () => {
  let home: World;
  let server: World;

  /** Starts it beside the embedded ledger of `home`. @returns all that it said until it had looked around */
  async function saysAtStart(): Promise<string> {
    const { DATABASE_URL } = server.environment;
    const service = await ServiceProcess.ready(home, { DATABASE_URL: DATABASE_URL!, LOG_LEVEL: 'debug' });
    programs.push(service);
    await service.says(/Nothing is left behind|^ {2}The embedded ledger/m);
    await service.kill('SIGTERM');
    return service.output;
  }

  beforeAll(async () => {
    home = await anEmbeddedHouse();
    server = await aHouse();
  });

  const shown = it;

  shown('says nothing of an embedded ledger that is empty or was never begun', async () => {
    expect(await saysAtStart()).not.toContain('The embedded ledger in');
    await inHouse(home, () => Promise.resolve());
    expect(await saysAtStart()).not.toContain('The embedded ledger in');
  });

  shown('says of entries that they were left behind, and how to move them, until they are moved', async () => {
    await inHouse(home, async (database) => {
      await new Ledger(database).append([aJudgedMessage(), aJudgedMessage()], NO_HURRY);
    });
    const said = await saysAtStart();
    expect(said).toMatch(/^ {2}The embedded ledger in .* has 2 entries that the ledger at .* does not have\..*:\n/m);
    expect(said).toMatch(
      /^ {4}DATABASE_URL=embedded npm run ledger:export -- ledger\.jsonl\n {4}DATABASE_URL=postgres:\/\/… npm run ledger:import/m,
    );
    expect(said).toMatch(/^\{"level":40,.*"msg":"The embedded ledger in .*"\}$/m);

    const path = join(folder, 'left.jsonl');
    expect(await ran(ledgerExport, [path], home.environment)).toMatchObject({ exitCode: 0 });
    expect(await ran(ledgerImport, [path], server.environment)).toMatchObject({ exitCode: 0 });
    expect(await saysAtStart()).not.toContain('The embedded ledger in');

    await inHouse(home, async (database) => void (await new Ledger(database).append([aJudgedMessage()], NO_HURRY)));
    expect(await saysAtStart()).toMatch(/has 1 entry that the ledger at .* does not have\. To move them/);
    await inHouse(server, async (database) => void (await new Ledger(database).append([aJudgedMessage()], NO_HURRY)));
    expect(await saysAtStart()).toMatch(/has 3 entries .* into an empty database only, and this one has 3 entries/);
  });

  shown('starts beside one that can not be read, and says so', async () => {
    writeFileSync(join(home.dataDir, 'ledger', 'PG_VERSION'), 'nonsense\n');
    rmSync(join(home.dataDir, 'ledger', 'global'), { recursive: true });
    expect(await saysAtStart()).toMatch(/The embedded ledger in .* could not be compared/);
  });
});

describe('Both commands', () => {
  const commands: [string, Command][] = [
    ['ledger:export', ledgerExport],
    ['ledger:import', ledgerImport],
  ];

  it.each(commands)('explain themselves: %s', async (name, command) => {
    const { exitCode, out } = await ran(command, ['--help'], {});
    expect([exitCode, out]).toEqual([0, expect.stringContaining(`Usage: npm run ${name} -- FILE`)]);
  });

  it.each(commands)('want one file: %s', async (name, command) => {
    for (const argv of [[], ['a', 'b'], ['--fast', 'a']]) {
      const { exitCode, err } = await ran(command, argv, {});
      expect([exitCode, err]).toEqual([2, expect.stringContaining(`Usage: npm run ${name}`)]);
    }
  });

  it.each(commands)('say in one line that the database is not there: %s', async (_name, command) => {
    const path = fileOf('database.jsonl');
    const { exitCode, err } = await ran(command, [path], { DATABASE_URL: 'postgres://127.0.0.1:9/none' });
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/^PostgreSQL: .*ECONNREFUSED.*\n$/)]);
  });

  it('need an embedded ledger to export one', async () => {
    const nowhere = join(folder, 'nowhere');
    const { exitCode, err } = await ran(ledgerExport, [join(folder, 'x.jsonl')], { DATA_DIR: nowhere });
    expect([exitCode, err]).toEqual([
      1,
      `There is no embedded ledger in ${nowhere}. Set DATA_DIR, or DATABASE_URL for a server's.\n`,
    ]);
    expect(() => statSync(nowhere)).toThrow('ENOENT');
  });
});

async function archived(database: Database): Promise<string[]> {
  const archive = new LedgerArchive(database);
  return linesIn(archive.pages(await archive.extent(0)));
}

async function linesIn(pages: AsyncIterable<string[]>): Promise<string[]> {
  const lines: string[] = [];
  for await (const page of pages) lines.push(...page);
  return lines;
}

async function importing(database: Database, lines: Iterable<string> | AsyncIterable<string>): Promise<Imported> {
  async function* numbered(): AsyncGenerator<{ number: number; text: string }> {
    let number = 0;
    for await (const text of lines) yield { number: ++number, text };
  }
  return new ArchiveImport(database, () => undefined).run(numbered());
}

function* brokenOff(lines: string[]): Generator<string> {
  yield* lines;
  throw new Error('broken off');
}

/** A database whose nth statement within transactions fails. */
function failingAt(database: Database, nth: number): Database {
  let statements = 0;
  const transaction: Database['transaction'] = (work) =>
    database.transaction((tx) =>
      work({
        query: (statement) => {
          if (++statements === nth) throw new Error('connection lost');
          return tx.query(statement);
        },
      }),
    );
  return { query: database.query.bind(database), transaction } as unknown as Database;
}

/** A line with other fields, and the check that then belongs to it. */
function changed(line: string, fields: object): string {
  const { check: _check, ...content } = { ...(JSON.parse(line) as HeaderLine & { check: string }), ...fields };
  return archiveLine(JSON.stringify(content));
}
