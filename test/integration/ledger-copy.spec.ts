import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Client } from 'pg';
import { run } from '../../src/cli/ledger-copy.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { removeHome } from '../../src/platform/embedded/postgres-home.js';
import { aPerson, logIn, signUp } from '../support/accounts.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { aProduct, orderIs, placeOrder, QUICK } from '../support/fulfilment.js';
import { aFailedMessage, aValidatedMessage } from '../support/validated-messages.js';
import { anOrderEvent } from '../support/order-events.js';
import { ownDatabase, parts } from '../support/parts.js';
import { Program } from '../support/process.js';
import { aRefund } from '../support/refunds.js';

const STATISTICS = [
  '/stats/global',
  '/stats/products?limit=1000',
  '/users?limit=1000',
  '/stats/monthly/2026-01?limit=1000',
];

const cleanups: (() => Promise<unknown>)[] = [];

afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

async function anEnvironment(overrides: Record<string, string> = {}): Promise<World> {
  const environment = await aWorld(overrides);
  cleanups.push(() => environment.destroy());
  return environment;
}

async function aTarget(): Promise<string> {
  const { url, drop } = await ownDatabase({ empty: true });
  cleanups.push(drop);
  return url;
}

/** Runs a service, does something with it, and stops it. */
async function serviceIn(world: World, work: (service: RunningService) => Promise<void>): Promise<void> {
  const service = await RunningService.ready({ world });
  try {
    await work(service);
  } finally {
    await service.stop();
  }
}

interface Ran {
  exitCode: number;
  out: string;
  err: string;
}

async function copy(environment: NodeJS.ProcessEnv, argv: string[], isTTY = false): Promise<Ran> {
  const out = new PassThrough();
  const err = Object.assign(new PassThrough(), { isTTY, columns: 100 });
  const exitCode = await run(argv, { out, err, environment });
  return { exitCode, out: String(out.read() ?? ''), err: String(err.read() ?? '') };
}

async function connected<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(url);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function query<Row = Record<string, string>>(url: string, statement: string): Promise<Row[]> {
  return connected(url, async (client) => (await client.query(statement)).rows as Row[]);
}

/** All rows of all tables as text, and what every sequence gives out next. */
async function contentsOf(url: string): Promise<Record<string, string[]>> {
  return connected(url, async (client) => {
    const contents: Record<string, string[]> = {};
    const { rows: relations } = await client.query<{ name: string; columns: string }>(
      `select relname as name, case relkind when 'S' then 'last_value, is_called' else 'each.*' end as columns
       from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'S') order by relname`,
    );
    for (const { name, columns } of relations) {
      const found = await client.query<{ row: string }>(
        `select row(${columns})::text as row from ${name} each order by 1`,
      );
      contents[name] = found.rows.map(({ row }) => row);
    }
    return contents;
  });
}

/** Valid, corrected, failed and repeated orders, refunds that count, fail and wait, and text that COPY escapes. */
function everyKindOfOrder(): (string | object)[] {
  const refunded = anOrderEvent();
  const repeated = anOrderEvent();
  return [
    refunded,
    repeated,
    repeated,
    { ...repeated, user_id: 'U99' },
    aRefund({ order_id: refunded.order_id }),
    aRefund({ order_id: refunded.order_id, amount: 7 }),
    aRefund({ order_id: 'ORD-NEVER', note: 'a\nb\tc\\N\u2028' }),
    aRefund({ order_id: 'ORD-NEVER', amount: 3 }),
    anOrderEvent({ order_value: 999 }),
    anOrderEvent({ items: [{ product_id: 'A "b", \\c {d} (e)', quantity: 1, price_per_unit: 10 }] }),
    anOrderEvent({ order_id: 'ORD-BROKEN', items: [], user_id: 'ü', order_value: -7 }),
    '\\.',
    '{broken\r\n\\x41',
    `{"note":"${'x'.repeat(1_000_000)}"}`,
  ];
}

/** Rows of tables that a service fills by chance, or not at all. */
const REST = `
  insert into delivery_failures (message_id, last_error) values ('m1', 'tab	and \\ and
line');
  insert into simulated_refunds (key, charge_key, amount_cents)
    select 'r1', key, captured_cents from simulated_charges where state = 'captured' limit 1;
  insert into quality_findings (position, body_hash, cause, suspects, verdict) values (1, '\\x00ff', 'failed', '[]', '{}');
  insert into simulated_webhooks (charge_key, delivered_at) select charge_key, now() from simulated_refunds
    on conflict do nothing;
  insert into outbox (order_id, sequence, queue, body, claimed_until)
    select id, 99, 'orders', '{}', now() + interval '1 day' from orders;
  insert into refunds_due values ('ORD-DUE');
  insert into failed_jobs (order_id, job, error) select id, 'refund', 'refused' from orders;`;

describe('a copy of a ledger with everything in it', () => {
  const sent = everyKindOfOrder();
  let source: World;
  let target: string;
  /** Stays empty: every copy to it is refused. */
  let untouched: string;
  let copied: Ran;
  let statistics: unknown[];
  let before: Record<string, string[]>;

  async function statisticsOf(service: RunningService): Promise<unknown[]> {
    const answers = await Promise.all(STATISTICS.map((path) => service.get(path)));
    return answers.map(({ status, body }) => {
      delete body.as_of;
      return { status, body };
    });
  }

  beforeAll(async () => {
    source = await anEnvironment({ ...QUICK });
    await serviceIn(source, async (service) => {
      const person = aPerson();
      await signUp(service, person);
      await logIn(service, person);
      await service.call('POST', '/api/v1/auth/api-keys', { name: 'k', scopes: [] });
      await aProduct(service);
      await orderIs(service, await placeOrder(service), 'completed');
      await service.settled();
      await service.call('DELETE', '/clear_redis_db');
      for (const each of sent) await service.send(each);
      await service.settled();
      const { body: failed } = await service.get('/order-events?outcome=failed&order_id=ORD-BROKEN');
      await service.call('POST', `/order-events/${failed.items[0].position}/retry`, { order: anOrderEvent() });
      await service.call('POST', '/stats/rebuild', {});
      await eventually(async () => {
        expect((await service.get('/repairs')).body.items).toMatchObject([{ state: 'repaired' }]);
        expect((await service.get('/stats/rebuild')).body.items).toMatchObject([{ state: 'done' }]);
      });
      await service.settled();
      statistics = await statisticsOf(service);
    });
    await query(source.environment.DATABASE_URL!, REST);

    target = await aTarget();
    untouched = await aTarget();
    before = await contentsOf(source.environment.DATABASE_URL!);
    copied = await copy(source.environment, ['--to', target]);
  });

  it('has every table row for row, and the sequences', async () => {
    expect(copied).toMatchObject({ exitCode: 0, err: '' });
    expect(Object.keys(before).filter((table) => before[table]!.length === 0)).toEqual([]);
    expect(await contentsOf(target)).toEqual(before);
    expect(await contentsOf(source.environment.DATABASE_URL!)).toEqual(before);
  });

  it('is summed up, with what to do next', () => {
    const entries = before.ledger!.length;
    expect(copied.out).toMatch(
      new RegExp(`^Tables +\\d+\nRows +[\\d,]+\nEntries +${entries}\nPosition +${entries}\nTime +[\\d.]+ s\n`),
    );
    expect(copied.out).toContain('start with DATABASE_URL=postgres://… npm start\n');
  });

  it('gives the same statistics, verified, and goes on where the source ended', async () => {
    const environment = { ...source.environment, DATABASE_URL: target, REDIS_KEY_PREFIX: `copy-${Date.now()}` };
    await serviceIn({ ...source, environment }, async (service) => {
      await service.settled();
      expect(await statisticsOf(service)).toEqual(statistics);
      expect((await service.get('/stats/verify')).body).toMatchObject({ verified: true, mismatch_count: 0 });

      for (const each of sent) await service.send(each);
      await service.settled();
      const { position } = await service.app.get(Ledger).head();
      expect(position).toBe(before.ledger!.length);
      const order = anOrderEvent();
      await service.send(order);
      await service.settled();
      const { body } = await service.get(`/order-events?order_id=${order.order_id}`);
      expect(body.items).toMatchObject([{ position: position + 1 }]);
      const id = await placeOrder(service);
      expect(await query(target, `select number::int from orders where id = '${id}'`)).toEqual([{ number: 2 }]);
    });
  });

  it('does not depend on settings of the servers', async () => {
    const withOptions = (url: string, options: string): string => `${url}?options=${encodeURIComponent(options)}`;
    const timeout = '-c idle_in_transaction_session_timeout=1';
    const other = await aTarget();
    const DATABASE_URL = withOptions(source.environment.DATABASE_URL!, `${timeout} -c datestyle=sql,dmy`);
    const { exitCode, err } = await copy({ DATABASE_URL }, ['--to', withOptions(other, timeout)]);
    expect([exitCode, err]).toEqual([0, '']);
    expect(await contentsOf(other)).toEqual(before);
  });

  it('is refused where the target has tables, the source itself included, and changes nothing', async () => {
    const refused = await aTarget();
    await query(refused, 'create table notes as select 1 as note');
    for (const url of [refused, source.environment.DATABASE_URL!]) {
      const { exitCode, err } = await copy(source.environment, ['--to', url]);
      expect([exitCode, err]).toEqual([1, expect.stringMatching(/^\S+ has tables already: .*\n$/)]);
    }
    expect(await contentsOf(refused)).toEqual({ notes: ['(1)'] });
    expect(await contentsOf(source.environment.DATABASE_URL!)).toEqual(before);
  });

  it('is refused where the target is older than PostgreSQL 15', async () => {
    const old = await aTarget();
    await query(
      old,
      `create schema old; create function old.current_setting(text) returns text language sql return '140011'`,
    );
    const { exitCode, err } = await copy(source.environment, [
      '--to',
      `${old}?options=-c%20search_path%3Dold,pg_catalog,public`,
    ]);
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/ is PostgreSQL 14; 15 or later is needed\n$/)]);
  });

  it.each([
    ['a migration is missing', `delete from schema_migrations where name = '0011-quality-findings'`],
    ['a function is another', `update schema_migrations set hash = '' where name = 'functions/append_entries'`],
    ['there are tables of somebody else', 'create table notes (note text)'],
  ])('is refused where in the source %s', async (_what, change) => {
    const { environment } = await anEnvironment();
    await query(environment.DATABASE_URL!, change);
    const { exitCode, err } = await copy(environment, ['--to', untouched]);
    expect([exitCode, err]).toEqual([
      1,
      expect.stringMatching(/^\S+ has another schema than this version: start the service .*\n$/),
    ]);
    expect(await contentsOf(untouched)).toEqual({});
  });

  it('is refused where the source has no ledger', async () => {
    const { exitCode, err } = await copy({ DATABASE_URL: untouched }, ['--to', untouched]);
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/^There is no ledger in \S+\n$/)]);
  });

  it.each([
    ['is different', `new.body := new.body || '!'; return new`, /^The rows of ledger are not the same .*\n$/],
    ['is refused', `raise exception 'no room'`, /^no room\n$/],
  ])('is undone where a row of it %s', async (_what, change, why) => {
    const spoiling = await aTarget();
    await query(
      spoiling,
      `create function spoil() returns trigger language plpgsql as $$ begin ${change}; end $$;
       create function prepare() returns event_trigger language plpgsql as $$ begin
         if exists (select from pg_event_trigger_ddl_commands() where object_identity = 'public.ledger') then
           create trigger spoil before insert on ledger for each row when (new.position = 3) execute function spoil();
         end if;
       end $$;
       create event trigger prepare on ddl_command_end when tag in ('CREATE TABLE') execute function prepare()`,
    );
    const { exitCode, out, err } = await copy(source.environment, ['--to', spoiling]);
    expect([exitCode, out, err]).toEqual([1, '', expect.stringMatching(why)]);
    expect(await contentsOf(spoiling)).toEqual({});
  });

  it('leaves the target empty when it is interrupted, and succeeds when it is run again', async () => {
    const interrupted = await aTarget();
    const blocker = new Client(source.environment.DATABASE_URL);
    await blocker.connect();
    await blocker.query('begin; lock table write_probe');
    const program = Program.run('cli/ledger-copy.js', source.environment, ['--to', interrupted]);
    cleanups.push(() => program.end());
    await eventually(async () => {
      const waiting = await query(interrupted, `select from pg_stat_activity where wait_event_type = 'Lock'`);
      expect(waiting).toHaveLength(1);
    });
    expect(await program.kill('SIGINT')).toMatchObject({ signal: 'SIGINT' });
    await blocker.end();
    expect(await contentsOf(interrupted)).toEqual({});
    expect(await copy(source.environment, ['--to', interrupted], true)).toMatchObject({
      exitCode: 0,
      err: expect.stringContaining('rows copied'),
    });
    expect(await contentsOf(interrupted)).toEqual(before);
  });
});

describe('while the service takes orders', () => {
  it('copies a prefix of the ledger, and what belongs to it', async () => {
    const environment = await anEnvironment();
    const url = environment.environment.DATABASE_URL!;
    const service = await RunningService.ready({ world: environment });
    cleanups.push(() => service.stop());
    const ledger = service.app.get(Ledger);
    const append = async (count: number): Promise<unknown> => {
      const messages = Array.from({ length: count }, (_, i) =>
        i % 5 === 0 ? aFailedMessage({ content: String(Math.random()) }) : aValidatedMessage(),
      );
      return ledger.append(messages, Number.MAX_SAFE_INTEGER);
    };
    await append(3_000);
    let copying = true;
    const traffic = (async () => {
      while (copying) await append(20);
    })();
    const target = await aTarget();
    const { exitCode, err } = await copy(environment.environment, ['--to', target]);
    copying = false;
    await traffic;
    expect([exitCode, err]).toEqual([0, '']);

    const [head] = await query(target, 'select position::int, entry_hash from ledger_head');
    expect(head!.position).toBeGreaterThanOrEqual(3_000);
    expect(head!.position).toBeLessThan((await ledger.head()).position);
    for (const table of ['ledger', 'counted_orders', 'failed_contents']) {
      const rows = `select each::text as row from ${table} each where position <= ${head!.position} order by position`;
      const here = await query(target, rows);
      expect(here).toEqual(await query(url, rows));
      expect(await query(target, `select count(*)::int as count from ${table}`)).toEqual([{ count: here.length }]);
    }
    expect(await query(url, `select entry_hash from ledger where position = ${head!.position}`)).toEqual([
      { entry_hash: head!.entry_hash },
    ]);
  });
});

describe('the embedded ledger', () => {
  it('is copied while a service runs on it, and when it has stopped', async () => {
    const home = await anEnvironment({ DATABASE_URL: 'embedded' });
    cleanups.push(async () => removeHome(home.dataDir));
    const targets = [await aTarget(), await aTarget()];
    await serviceIn(home, async (service) => {
      const append = (): Promise<unknown> =>
        service.app.get(Ledger).append([aValidatedMessage(), aFailedMessage()], Number.MAX_SAFE_INTEGER);
      await append();
      const first = await copy(home.environment, ['--to', targets[0]!]);
      expect(first).toMatchObject({ exitCode: 0, out: expect.stringMatching(/^Position +2$/m), err: '' });
      await append();
    });
    const second = await copy(home.environment, ['--to', targets[1]!]);
    expect(second).toMatchObject({ exitCode: 0, out: expect.stringMatching(/^Position +4$/m), err: '' });
    expect(second.out).toContain(` has every row of the embedded ledger in ${home.dataDir}.\n`);
    expect(existsSync(join(home.dataDir, 'owner.pid'))).toBe(false);
    const [ledger, continued] = await Promise.all(targets.map(async (url) => (await contentsOf(url)).ledger!));
    expect(continued!.slice(0, 2)).toEqual(ledger);
  });

  it('has to be there, and is not made', async () => {
    const nowhere = join(tmpdir(), `nowhere-${Date.now()}`);
    const { exitCode, err } = await copy({ DATA_DIR: nowhere }, ['--to', 'postgres://127.0.0.1:9/orders']);
    expect([exitCode, err]).toEqual([
      1,
      `There is no embedded ledger in ${nowhere}. Set DATA_DIR, or DATABASE_URL for a server's.\n`,
    ]);
    expect(existsSync(nowhere)).toBe(false);
  });
});

describe('the command line', () => {
  const SECRET = 'fixture-secret';
  const UNREACHABLE = `postgres://orders:${SECRET}@127.0.0.1:9/orders`;

  it.each([
    [[]],
    [['--to']],
    [['--to', '']],
    [[UNREACHABLE]],
    [['--to', UNREACHABLE, UNREACHABLE]],
    [['--into', UNREACHABLE]],
    [[`--into=${UNREACHABLE}`]],
  ])('is explained where it is wrong, without a password: %j', async (argv) => {
    const { exitCode, out, err } = await copy({}, argv);
    expect([exitCode, out, err]).toEqual([2, '', expect.stringContaining('Usage: npm run ledger:copy -- --to ')]);
    expect(err).not.toContain(SECRET);
  });

  it.each([
    [`mysql://orders:${SECRET}@127.0.0.1/orders`, '--to must be a postgres:// URL\n'],
    [`postgres://orders:${SECRET}@127.0.0.1:port/orders`, '--to must be a postgres:// URL\n'],
    [UNREACHABLE, expect.stringMatching(/^127\.0\.0\.1:9\/orders can't be reached: .*ECONNREFUSED 127\.0\.0\.1:9\n$/)],
    [`postgres://orders:${SECRET}%@127.0.0.1/orders`, expect.not.stringContaining(SECRET)],
  ])('names no password of a target that is refused: %#', async (url, message) => {
    expect(await copy({ DATABASE_URL: parts.databaseUrl }, ['--to', url])).toEqual({
      exitCode: 1,
      out: '',
      err: message,
    });
  });

  it('names no password of a source that is refused', async () => {
    const { exitCode, err } = await copy({ DATABASE_URL: UNREACHABLE }, ['--to', parts.databaseUrl]);
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/^127\.0\.0\.1:9\/orders can't be reached: .*\n$/)]);
    expect(err).not.toContain(SECRET);
  });

  it('explains itself', async () => {
    const { exitCode, out } = await copy({}, ['--help']);
    expect([exitCode, out]).toEqual([0, expect.stringContaining('Usage: npm run ledger:copy -- --to ')]);
  });
});
