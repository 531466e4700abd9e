import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { Database, DatabaseUnavailable } from '../src/platform/database/database.js';
import { isOutage, sqlStateOf } from '../src/platform/database/sql-state.js';
import { EmbeddedLedger } from '../src/platform/embedded/embedded-ledger.js';
import type { Thread } from '../src/platform/embedded/thread.js';
import { eventually } from './support/eventually.js';
import { prepareEmbeddedLedger } from './support/parts.js';

/** Keeps the thread busy for as long as it is let. */
const ENDLESS = `select count(*) from generate_series(1, 1000000000)`;

let folder: string;
let ledger: EmbeddedLedger;
let said: jest.SpyInstance;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-'));
  await prepareEmbeddedLedger(folder);
  ledger = await EmbeddedLedger.open(folder);
  await ledger.query('create table things (id int primary key, name text)');
});
beforeEach(async () => {
  said = jest.spyOn(Logger.prototype, 'error').mockImplementation();
  await ledger.query('delete from things');
});
afterEach(() => jest.restoreAllMocks());
afterAll(async () => {
  await ledger.close();
  rmSync(folder, { recursive: true, force: true });
});

async function killThread(error?: Error): Promise<void> {
  const thread = await (ledger as unknown as { opening: Promise<Thread<unknown>> }).opening;
  if (error) (thread as unknown as { worker: Worker }).worker.emit('error', error);
  await thread.terminate();
}

async function ids(): Promise<number[]> {
  return (await ledger.query<{ id: number }>('select id from things order by id')).map(({ id }) => id);
}

describe('a statement', () => {
  it('leaves the event loop free while it runs', async () => {
    let turns = 0;
    let running = true;
    const turn = (): void => {
      turns++;
      if (running) setImmediate(turn);
    };
    turn();
    await ledger.query('select count(*) from generate_series(1, 1000000)');
    running = false;
    expect(turns).toBeGreaterThan(10);
  });

  it('takes and gives values of every kind that the ledger knows', async () => {
    const [row] = await ledger.query<Record<string, unknown>>(
      `select $1::text as text, $2::float8 as float8, $3::bool as bool, $4::json as json, $5::text[] as texts,
              $6::bytea as bytea, null as nothing, 7::int8 as int8, 1.50::numeric as numeric,
              '2024-05-06 07:08:09+02'::timestamptz as time, '{1.50,2}'::numeric[] as numerics`,
      ['Zoë 🚲', 1.5, true, JSON.stringify({ a: [1, null] }), ['a', 'b,c'], Buffer.from([0, 255])],
    );
    expect({ ...row, bytea: [...(row!.bytea as Uint8Array)] }).toEqual({
      text: 'Zoë 🚲',
      float8: 1.5,
      bool: true,
      json: { a: [1, null] },
      texts: ['a', 'b,c'],
      bytea: [0, 255],
      nothing: null,
      int8: 7,
      numeric: '1.50',
      time: '2024-05-06 05:08:09+00',
      numerics: '{1.50,2}',
    });
  });

  it('that fails says all that PostgreSQL says, and not what it was given', async () => {
    await ledger.query('insert into things values (1, $1)', ['first']);
    const failed = await ledger.query('insert into things values (1, $1)', ['a secret']).catch((error: Error) => error);
    expect(failed).toBeInstanceOf(Error);
    expect(failed).toMatchObject({
      message: 'duplicate key value violates unique constraint "things_pkey"',
      code: '23505',
      constraint: 'things_pkey',
      table: 'things',
      detail: 'Key (id)=(1) already exists.',
    });
    expect(sqlStateOf(failed)).toBe('23505');
    expect(JSON.stringify(failed)).not.toContain('secret');
  });

  it('of which a parameter can’t be sent fails alone', async () => {
    await expect(ledger.query('select $1', [() => 1])).rejects.toThrow('could not be cloned');
    expect(await ids()).toEqual([]);
  });
});

describe('a transaction', () => {
  it('has the ledger to itself until it is committed', async () => {
    const order: string[] = [];
    const beside: Promise<unknown>[] = [];
    await ledger.transaction(async (tx) => {
      await tx.query('insert into things values (1)');
      beside.push(ids().then((seen) => order.push(`seen ${seen.join()}`)));
      beside.push(ledger.transaction((other) => other.query('insert into things values (3)')));
      await tx.query('insert into things values (2)');
      order.push('done');
    });
    await Promise.all(beside);
    expect(order).toEqual(['done', 'seen 1,2']);
    expect(await ids()).toEqual([1, 2, 3]);
  });

  it('whose work fails leaves nothing behind and says why', async () => {
    const work = ledger.transaction(async (tx) => {
      await tx.query('insert into things values (1)');
      throw new Error('changed my mind');
    });
    await expect(work).rejects.toThrow('changed my mind');
    expect(await ids()).toEqual([]);
  });

  it('of which a statement failed is not taken for committed', async () => {
    const work = ledger.transaction(async (tx) => {
      await tx.query('insert into things values (1)');
      await tx.query('no such statement').catch(() => undefined);
    });
    await expect(work).rejects.toThrow();
    expect(await ids()).toEqual([]);
  });

  it('that is over takes no more statements', async () => {
    const tx = await ledger.transaction(async (tx) => tx);
    await expect(tx.query('insert into things values (1)')).rejects.toThrow('This transaction is over');
    expect(await ids()).toEqual([]);
  });
});

describe('a thread that dies', () => {
  it('fails what waits for it as an outage, and says so in one line', async () => {
    const waiting = Promise.allSettled([
      ledger.query(ENDLESS),
      ledger.query('select 1'),
      ledger.transaction((tx) => tx.query('select 1')),
    ]);
    await killThread(new Error('out of memory'));
    const errors = (await waiting).map((settled) => (settled as PromiseRejectedResult).reason as Error);
    expect(errors.map(isOutage)).toEqual([true, true, true]);
    expect(said.mock.calls).toEqual([
      ['the thread of the embedded ledger has ended with 1: out of memory; another one takes its place'],
    ]);
  });

  it('is replaced, and everything that it answered is there', async () => {
    const answered: number[] = [];
    const inserting = (async () => {
      for (let id = 1; ; id++) {
        await ledger.query('insert into things values ($1)', [id]);
        answered.push(id);
      }
    })();
    inserting.catch(() => undefined);
    await eventually(() => expect(answered.length).toBeGreaterThan(100));
    await killThread();
    await expect(inserting).rejects.toThrow('has ended');
    expect((await ids()).slice(0, answered.length)).toEqual(answered);
  });

  it('breaks off a transaction, which leaves nothing behind', async () => {
    const work = ledger.transaction(async (tx) => {
      await tx.query('insert into things values (1)');
      await killThread();
      await tx.query('insert into things values (2)');
    });
    await expect(work).rejects.toThrow('has ended');
    expect(await ids()).toEqual([]);
  });

  it('is an outage of the database, which comes back by itself', async () => {
    jest.spyOn(Logger.prototype, 'warn').mockImplementation();
    jest.spyOn(Logger.prototype, 'log').mockImplementation();
    const database = Database.embedded(ledger);
    await database.availability.start();
    const waiting = database.query(sql.raw(ENDLESS));
    waiting.catch(() => undefined);
    await killThread();
    await expect(waiting).rejects.toBeInstanceOf(DatabaseUnavailable);
    expect(database.availability.culprit).toContain('the thread of the embedded ledger has ended');
    await database.availability.whenUp();
    expect(await database.query(sql`select current_setting('timezone') as zone`)).toEqual([{ zone: 'UTC' }]);
    await database.onApplicationShutdown();
  });
});

it('is closed for good', async () => {
  const other = mkdtempSync(join(tmpdir(), 'order-pipeline-test-'));
  await prepareEmbeddedLedger(other);
  const closed = await EmbeddedLedger.open(other);
  await closed.close();
  const failed = await closed.query('select 1').catch((error: Error) => error);
  expect(isOutage(failed)).toBe(true);
  rmSync(other, { recursive: true });
});

it('says why it can’t be opened', async () => {
  await expect(EmbeddedLedger.open(join(folder, 'no folder\0'))).rejects.toThrow('must be a string');
});
