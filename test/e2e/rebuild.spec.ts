import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { run as rebuildCommand } from '../../src/cli/rebuild.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { Aggregation } from '../../src/stats/rebuild/aggregation.repository.js';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import { ProjectionStateRepository } from '../../src/stats/projection/projection-state.repository.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { Rebuild } from '../../src/stats/rebuild/rebuild.service.js';
import { aWorld, RunningService, type Answer, type World } from '../support/app.js';
import { aBreakableLedger, aBreakableRedis, type PartBehindNetwork } from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { expectExactFigures, expectNoStrayKeys, servedGeneration } from '../support/exact-figures.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { anEntryOfTraffic } from '../support/put-back-ledger.js';
import { anOrderOfTraffic, Traffic } from '../support/traffic.js';

beforeAll(() => Logger.overrideLogger(false));
afterEach(() => {
  for (const release of held.splice(0)) release();
  jest.restoreAllMocks();
});

/** Lets go what a test held, where it failed before it did so itself. */
const held: (() => void)[] = [];
const UUID = /^[0-9a-f-]{36}$/;
const ordersOfTraffic = (count: number): object[] => Array.from({ length: count }, (_, i) => anOrderOfTraffic(i));

/** Asks for a rebuild. @returns its resource */
async function asked(service: RunningService, body?: object): Promise<Answer['body']> {
  const answer = await service.call('POST', '/stats/rebuild', body);
  expect(answer).toMatchObject({ status: 202, body: { id: expect.stringMatching(UUID) } });
  return answer.body;
}

async function seen(service: RunningService, id: string): Promise<Answer['body']> {
  const { status, body } = await service.get(`/stats/rebuild/${id}`);
  expect(status).toBe(200);
  return body;
}

/** Waits until a rebuild has ended. */
async function ended(service: RunningService, id: string): Promise<Answer['body']> {
  return eventually(async () => {
    const rebuild = await seen(service, id);
    if (!rebuild.finished_at) throw new Error(`It is ${rebuild.state}`);
    return rebuild;
  }, 30_000);
}

/** Rebuilds to the end. */
async function rebuilt(service: RunningService, body?: object): Promise<Answer['body']> {
  const rebuild = await ended(service, (await asked(service, body)).id);
  expect(rebuild).toMatchObject({ state: 'done', error: null });
  return rebuild;
}

/** Holds the next call of a method until it is let go. */
function hold<Part extends object>(
  part: Part,
  method: keyof Part & string,
): { reached: Promise<void>; release(): void } {
  const original = (part[method] as (...args: unknown[]) => unknown).bind(part);
  let release: () => void = () => undefined;
  let reach: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => (reach = resolve));
  const released = new Promise<void>((resolve) => (release = resolve));
  held.push(release);
  jest.spyOn(part as Record<string, () => unknown>, method).mockImplementationOnce(async (...args: unknown[]) => {
    reach();
    await released;
    return original(...args);
  });
  return { reached, release };
}

/** A rebuild that waits in the middle of reading the ledger. */
async function heldRebuild(service: RunningService, body?: object): Promise<{ id: string; release(): void }> {
  const { reached, release } = hold(service.app.get(Aggregation), 'figures');
  const { id } = await asked(service, body);
  await reached;
  return { id, release };
}

/** As if the processes that run rebuilds had been silent for long. */
async function letLeasesExpire({ database }: RunningService): Promise<void> {
  await database.query(
    sql`update projection set builder_until = now() - interval '1 second' where builder is not null`,
  );
  await database.query(sql`update rebuilds set seen_at = now() - interval '1 hour'`);
}

describe('a rebuild on request', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    await service.send(...ordersOfTraffic(40));
    await service.settled();
  });
  afterAll(() => service.stop());

  /** All figures that the API shows, in the order of the paths. */
  async function figures(): Promise<unknown[]> {
    const paths = [
      '/stats/global',
      '/users?limit=1000',
      '/users?start=2026-01-01&end=2026-01-31&limit=1000',
      '/stats/monthly/2026-01?limit=1000',
      '/stats/daily?start=2026-01-01&end=2026-01-31',
      '/stats/products',
    ];
    const answers = await Promise.all(paths.map((path) => service.get(path)));
    return answers.map(({ status, body }) => {
      const { as_of: _, ...shown } = body;
      return { status, shown };
    });
  }

  it('is accepted with the place where it is told how it goes, and done in the background', async () => {
    const before = servedGeneration(service);
    const { status, headers, body } = await service.call('POST', '/stats/rebuild');
    expect({ status, location: headers.get('location') }).toEqual({
      status: 202,
      location: `/stats/rebuild/${body.id}`,
    });
    expect(body).toEqual({
      id: expect.stringMatching(UUID),
      state: 'requested',
      from_beginning: false,
      requested_by: 'local-operator',
      requested_at: new Date(body.requested_at).toISOString(),
      started_at: null,
      finished_at: null,
      done: null,
      total: null,
      position: null,
      error: null,
    });
    const { position } = await service.app.get(Ledger).head();
    const rebuild = await ended(service, body.id);
    expect(rebuild).toEqual({
      ...body,
      state: 'done',
      started_at: new Date(rebuild.started_at).toISOString(),
      finished_at: new Date(rebuild.finished_at).toISOString(),
      done: position,
      total: position,
      position,
    });
    expect(servedGeneration(service)).toBeGreaterThan(before);
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  });

  it.each([
    [{ from_beginning: 'yes' }, ['from_beginning']],
    [{ from_beginning: null }, ['from_beginning']],
    [{ from_beginning: 1, force: true }, ['force', 'from_beginning']],
    [[], ['body']],
  ])('is not accepted with %j', async (body, fields) => {
    const answer = await service.call('POST', '/stats/rebuild', body);
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_input' } });
    expect(answer.body.errors.map(({ field }: { field: string }) => field).sort()).toEqual(fields);
  });

  it('that is not known is not found', async () => {
    const unknown = await service.get(`/stats/rebuild/${randomUUID()}`);
    expect(unknown).toMatchObject({ status: 404, body: { code: 'not_found' } });
    for (const id of ['7', 'undefined', "';drop table rebuilds", '%00']) {
      const { status } = await service.get(`/stats/rebuild/${encodeURIComponent(id)}`);
      expect({ id, status }).toEqual({ id, status: 400 });
    }
  });

  it('is listed, the newest first and page by page', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) ids.unshift((await rebuilt(service, {})).id);
    const { body: all } = await service.get('/stats/rebuild');
    expect(all.items.slice(0, 3).map(({ id }: { id: string }) => id)).toEqual(ids);
    expect(all.next_cursor).toBeNull();
    const paged: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const page: Answer = await service.get(`/stats/rebuild?limit=2${cursor && `&cursor=${cursor}`}`);
      paged.push(...page.body.items.map(({ id }: { id: string }) => id));
      cursor = page.body.next_cursor;
    }
    expect(paged).toEqual(all.items.map(({ id }: { id: string }) => id));
    for (const query of ['limit=0', 'limit=101', 'cursor=7', 'cursor=eyJiZWZvcmUiOiI3In0', 'order=up']) {
      expect({ query, status: (await service.get(`/stats/rebuild?${query}`)).status }).toEqual({ query, status: 400 });
    }
  });

  it('in traffic leaves no gap, takes nothing back and shows nothing wrong', async () => {
    const before = servedGeneration(service);
    await using traffic = Traffic.start(service);
    await traffic.around(async () => {
      for (let i = 0; i < 5; i++) await rebuilt(service);
    });
    await traffic.stop();
    expect(traffic.reads.rebuilding).toBe(0);
    expect(servedGeneration(service)).toBeGreaterThan(before);
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  });

  it('leaves the present figures in service and up to date until the switch', async () => {
    const before = servedGeneration(service);
    const { body: then } = await service.get('/stats/global');
    const { id, release } = await heldRebuild(service);
    await service.send(anOrderOfTraffic(0), anOrderOfTraffic(0));
    await service.settled();
    expect((await service.get('/stats/global')).body.total_orders).toBe(then.total_orders + 2);
    expect(servedGeneration(service)).toBe(before);
    release();
    const { position } = await ended(service, id);
    expect(position).toBe((await service.app.get(Ledger).head()).position);
    expect(servedGeneration(service)).toBeGreaterThan(before);
    await expectExactFigures(service);
  });

  it('catches up with what comes just before the switch', async () => {
    const store = service.app.get(StatisticsRepository);
    const sweep = store.sweep.bind(store);
    const positions: number[] = [];
    // The last sweep comes right after the switch, before anything else is folded.
    jest.spyOn(store, 'sweep').mockImplementation((...args) => {
      positions.push(service.app.get(Projector).served().position);
      return sweep(...args);
    });
    const { reached, release } = hold(service.app.get(ProjectionStateRepository), 'switchTo');
    const { id } = await asked(service);
    await reached;
    await service.app.get(Ledger).append([anEntryOfTraffic(), anEntryOfTraffic()], 5_000);
    release();
    await ended(service, id);
    expect(positions.at(-1)).toBe((await service.app.get(Ledger).head()).position);
    await expectExactFigures(service);
  });

  it('tells from the start how much there is to do, and then how much is done', async () => {
    const { position: total } = await service.app.get(Ledger).head();
    const sweep = hold(service.app.get(StatisticsRepository), 'sweep');
    const filling = hold(service.app.get(StatisticsRepository), 'fill');
    const { id } = await asked(service);
    await sweep.reached;
    expect(await seen(service, id)).toMatchObject({ state: 'running', done: 0, total, position: null });
    sweep.release();
    await filling.reached;
    expect(await seen(service, id)).toMatchObject({ state: 'running', done: total, total, position: null });
    filling.release();
    expect(await ended(service, id)).toMatchObject({ state: 'done', done: total, total, position: total });
  });

  it('is accepted once, however many ask for one at the same time', async () => {
    const { reached, release } = hold(service.app.get(Aggregation), 'figures');
    const answers = await Promise.all(Array.from({ length: 12 }, () => service.call('POST', '/stats/rebuild')));
    await reached;
    const accepted = answers.filter(({ status }) => status === 202);
    expect(accepted).toHaveLength(1);
    const { id } = accepted[0]!.body;
    for (const { status, body } of answers.filter((answer) => answer !== accepted[0])) {
      expect({ status, code: body.code, detail: body.detail }).toEqual({
        status: 409,
        code: 'rebuild_running',
        detail: `A rebuild is under way already, see /stats/rebuild/${id}`,
      });
    }
    release();
    expect(await ended(service, id)).toMatchObject({ state: 'done' });
  });

  it('waits while the figures are being rebuilt for another reason', async () => {
    const { reached, release } = hold(service.app.get(Aggregation), 'figures');
    const other = service.app.get(Rebuild).run('a test');
    await reached;
    const claims = jest.spyOn(service.app.get(ProjectionStateRepository), 'claimBuild');
    const { id } = await asked(service);
    await eventually(() => expect(claims.mock.calls.length).toBeGreaterThan(2));
    expect(await seen(service, id)).toMatchObject({ state: 'requested', started_at: null, done: null });
    release();
    expect(await other).toBe(true);
    expect(await ended(service, id)).toMatchObject({ state: 'done' });
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  });

  it('undoes a clearing, to the cent, and only where that is asked for', async () => {
    await service.settled();
    const before = await figures();
    await service.call('DELETE', '/clear_redis_db');
    const { position: base } = await service.app.get(Ledger).head();
    const cleared = await figures();
    expect(cleared).not.toEqual(before);

    await rebuilt(service);
    expect(await figures()).toEqual(cleared);

    const { id, release } = await heldRebuild(service, { from_beginning: true });
    expect(await seen(service, id)).toMatchObject({ from_beginning: true, total: base });
    expect(await figures()).toEqual(cleared);
    expect((await service.app.get(ProjectionStateRepository).read()).base).toBe(base);
    release();
    await ended(service, id);
    expect(await figures()).toEqual(before);
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  });

  it('that undoes a clearing takes nothing back in traffic', async () => {
    await service.settled();
    await service.call('DELETE', '/clear_redis_db');
    const { position } = await service.app.get(Ledger).head();
    await using cleared = Traffic.start(service, { base: position });
    await cleared.goesOn();
    const { id, release } = await heldRebuild(service, { from_beginning: true });
    await cleared.goesOn();
    await cleared.stop();
    release();
    await ended(service, id);
    await using whole = Traffic.start(service, { base: 0 });
    await whole.goesOn();
    await whole.stop();
    expect(cleared.reads.rebuilding + whole.reads.rebuilding).toBe(0);
    await expectExactFigures(service);
  });

  it('is void where the figures are cleared meanwhile', async () => {
    for (const body of [{}, { from_beginning: true }]) {
      await service.send(...ordersOfTraffic(5));
      await service.settled();
      const { id, release } = await heldRebuild(service, body);
      expect(await service.call('DELETE', '/clear_redis_db')).toMatchObject({ status: 200 });
      release();
      expect(await ended(service, id)).toMatchObject({
        state: 'failed',
        position: null,
        error: 'the figures were cleared meanwhile',
      });
      await expectExactFigures(service);
      expect((await service.get('/stats/global')).body.total_orders).toBe(0);
      await rebuilt(service);
      await expectNoStrayKeys(service);
    }
    await rebuilt(service, { from_beginning: true });
    await expectExactFigures(service);
  });

  it('does not switch to figures that are behind those in service', async () => {
    await service.settled();
    const before = servedGeneration(service);
    const store = service.app.get(StatisticsRepository);
    const checkpoint = store.checkpoint.bind(store);
    const { reached, release } = hold(store, 'fill');
    const { id } = await asked(service);
    await reached;
    jest.spyOn(store, 'checkpoint').mockImplementation(async (generation) => {
      const found = await checkpoint(generation);
      return found && generation === before ? { ...found, position: found.position + 1 } : found;
    });
    release();
    const { state, error } = await ended(service, id);
    jest.restoreAllMocks();
    expect([state, error]).toEqual(['failed', 'The ledger no longer reaches as far as the figures in service']);
    expect(servedGeneration(service)).toBe(before);
    await expectExactFigures(service);
    await rebuilt(service);
    await expectNoStrayKeys(service);
  });

  it('does not switch to figures that Redis has lost', async () => {
    await service.settled();
    const before = servedGeneration(service);
    const store = service.app.get(StatisticsRepository);
    const fill = store.fill.bind(store);
    jest.spyOn(store, 'fill').mockImplementationOnce(async (figures, checkpoint) => {
      await fill(figures, checkpoint);
      await store.retire(checkpoint.generation);
    });
    const { id } = await asked(service);
    expect(await ended(service, id)).toMatchObject({
      state: 'failed',
      error: 'Redis lost the new figures while they were being built',
    });
    expect(servedGeneration(service)).toBe(before);
    await rebuilt(service);
    await expectNoStrayKeys(service);
  });

  it('whose process is gone is told as failed, and does not keep another one from being asked for', async () => {
    for (const state of ['requested', 'running']) {
      const [row] = await service.database.query<{ id: string }>(
        sql`insert into rebuilds (requested_by, from_beginning, state, generation, started_at)
            values ('somebody', false, ${state}, 1, now()) returning id::text as id`,
      );
      expect(await service.call('POST', '/stats/rebuild')).toMatchObject({ status: 409 });
      await letLeasesExpire(service);
      const gone = { state: 'failed', error: 'the process that ran it ended' };
      expect(await seen(service, row!.id)).toMatchObject(gone);
      await rebuilt(service);
      expect(await seen(service, row!.id)).toMatchObject(gone);
    }
  });

  it('is run and followed by a command', async () => {
    const { port } = new URL(service.url);
    const [out, err] = [new PassThrough(), Object.assign(new PassThrough(), { isTTY: true, columns: 100 })];
    const before = servedGeneration(service);
    const exitCode = await rebuildCommand(['--from-beginning'], { out, err, environment: { PORT: port } });
    const { position } = await service.app.get(Ledger).head();
    const shown = position.toLocaleString('en');
    expect([exitCode, String(out.read())]).toEqual([
      0,
      expect.stringMatching(
        new RegExp(`^Entries +${shown}\nPosition +${shown}\nTime +[\\d.]+ s\nSee http:.*/stats/global\n$`),
      ),
    ]);
    expect(String(err.read())).toContain(`100% | ${shown} read`);
    expect(servedGeneration(service)).toBeGreaterThan(before);
  });
});

describe('a rebuild that something ends', () => {
  let world: World;
  let redis: PartBehindNetwork | null = null;
  let ledger: PartBehindNetwork;
  let service: RunningService;

  beforeAll(async () => {
    world = await aWorld();
    if (hasRedisServer) redis = await aBreakableRedis(world);
    ledger = await aBreakableLedger(world);
    service = await RunningService.ready({ world, environment: { ...redis?.environment, ...ledger.environment } });
    await service.send(...ordersOfTraffic(20));
    await service.settled();
  });
  afterAll(async () => {
    await service?.stop();
    await redis?.remove();
    await ledger.remove();
    await world.destroy();
  });

  async function countRebuilds(): Promise<number> {
    return (await service.get('/stats/rebuild?limit=100')).body.items.length;
  }

  itWithRedis('fails where Redis goes, and the figures in service serve when it is back', async () => {
    const before = servedGeneration(service);
    const { id, release } = await heldRebuild(service);
    const count = await countRebuilds();
    redis!.goAway(service);
    await eventually(() => expect(service.redis.availability.up).toBe(false));
    release();
    expect(await ended(service, id)).toMatchObject({ state: 'failed', error: expect.stringMatching(/Redis/i) });
    expect(await service.call('POST', '/stats/rebuild')).toMatchObject({
      status: 503,
      body: { code: 'redis_unavailable' },
    });
    expect(await countRebuilds()).toBe(count);
    await redis!.comeBack();
    await service.isReady();
    expect(servedGeneration(service)).toBe(before);
    await expectExactFigures(service);
    await rebuilt(service);
    await expectNoStrayKeys(service);
  });

  it('fails where the ledger goes, and the figures in service serve on', async () => {
    const before = servedGeneration(service);
    const { id, release } = await heldRebuild(service);
    const count = await countRebuilds();
    ledger.goAway(service);
    release();
    await eventually(() => expect(service.database.availability.up).toBe(false));
    expect(await service.call('POST', '/stats/rebuild')).toMatchObject({
      status: 503,
      body: { code: 'ledger_unavailable' },
    });
    await ledger.comeBack();
    await service.isReady();
    const { state, error } = await ended(service, id);
    expect({ state, error }).toEqual({ state: 'failed', error: expect.stringMatching(/\S/) });
    expect(servedGeneration(service)).toBe(before);
    await letLeasesExpire(service);
    await rebuilt(service);
    expect(await countRebuilds()).toBe(count + 1);
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  });

  it('gives up at once where the service stops, and the next service may begin another', async () => {
    const { id, release } = await heldRebuild(service);
    await service.stop();
    release();
    service = await RunningService.ready({ world });
    expect(await seen(service, id)).toMatchObject({ state: 'failed', error: 'the service was stopped' });
    await rebuilt(service);
    await expectExactFigures(service);
    await expectNoStrayKeys(service);
  });
});

describe('two services on the same parts', () => {
  let worlds: World[] = [];
  let one: RunningService;
  let other: RunningService;

  beforeAll(async () => {
    worlds = [await aWorld(), await aWorld()];
    const { DATABASE_URL, REDIS_KEY_PREFIX } = worlds[0]!.environment;
    one = await RunningService.ready({ world: worlds[0]! });
    other = await RunningService.ready({
      world: worlds[1]!,
      environment: { DATABASE_URL: DATABASE_URL!, REDIS_KEY_PREFIX: REDIS_KEY_PREFIX! },
    });
    await one.send(...ordersOfTraffic(30));
    await one.settled();
  });
  afterAll(async () => {
    await Promise.all([one?.stop(), other?.stop()]);
    await Promise.all(worlds.map((world) => world.destroy()));
  });

  async function bothAreExact(): Promise<void> {
    for (const service of [one, other]) {
      service.app.get(Projector).onInterval();
      expect((await service.get('/stats/global')).status).toBe(200);
      await expectExactFigures(service);
      await expectNoStrayKeys(service);
    }
    expect(servedGeneration(one)).toBe(servedGeneration(other));
  }

  itWithRedis('a rebuild of one leaves no gap in either, and takes readers of both nowhere back', async () => {
    await using ofOne = Traffic.start(one);
    await using ofOther = Traffic.start(other);
    let reading = true;
    let last = 0;
    const backwards: string[] = [];
    const readsInTurn = (async () => {
      while (reading) {
        for (const service of [one, other]) {
          const { status, body } = await service.get('/stats/global');
          if (status !== 200) continue; // counted by the traffic
          if (body.as_of.position < last) backwards.push(`${body.as_of.position} after ${last}`);
          last = body.as_of.position;
        }
      }
    })();
    try {
      await ofOne.goesOn();
      for (let i = 0; i < 6; i++) await rebuilt(i % 2 ? one : other);
      await Promise.all([ofOne.goesOn(), ofOther.goesOn()]);
    } finally {
      reading = false;
      await readsInTurn;
    }
    await Promise.all([ofOne.stop(), ofOther.stop()]);
    expect(backwards).toEqual([]);
    expect([ofOne, ofOther].map(({ reads }) => reads.rebuilding)).toEqual([0, 0]);
    await bothAreExact();
  });

  itWithRedis('the other one tells how far a rebuild is, and accepts none beside it', async () => {
    const { id, release } = await heldRebuild(one);
    const { position: total } = await one.app.get(Ledger).head();
    expect(await seen(other, id)).toMatchObject({ state: 'running', done: 0, total });
    const answers = await Promise.all([one, other].map((service) => service.call('POST', '/stats/rebuild')));
    expect(answers.map(({ status }) => status)).toEqual([409, 409]);
    release();
    expect(await ended(other, id)).toMatchObject({ state: 'done' });
    await bothAreExact();
  });

  itWithRedis('accept one of the rebuilds that both are asked for at the same time', async () => {
    for (let round = 0; round < 5; round++) {
      const calls = Array.from({ length: 10 }, (_, i) => (i % 2 ? one : other).call('POST', '/stats/rebuild'));
      const accepted = (await Promise.all(calls)).filter(({ status }) => status === 202);
      expect(accepted.length).toBeGreaterThanOrEqual(1);
      // A second one may have been accepted after the first was done, but never beside it.
      const ends = await Promise.all(accepted.map(({ body }) => ended(one, body.id)));
      ends.sort((first, second) => first.started_at.localeCompare(second.started_at));
      for (const [i, { state, requested_at }] of ends.entries()) {
        expect(state).toBe('done');
        if (i > 0) expect(requested_at >= ends[i - 1].finished_at).toBe(true);
      }
    }
    await bothAreExact();
  });

  itWithRedis('the other one goes over to figures whose builder died when it had just switched', async () => {
    await other.call('DELETE', '/clear_redis_db');
    const before = servedGeneration(other);
    await eventually(() => expect(servedGeneration(one)).toBe(before));
    // From there on the builder neither takes the old figures out of service nor folds anything.
    const { release } = hold(one.app.get(StatisticsRepository), 'retire');
    const { id } = await asked(one, { from_beginning: true });
    await eventually(() => expect(servedGeneration(other)).toBeGreaterThan(before));
    const { position } = await one.app.get(Ledger).head();
    await eventually(async () => {
      const { body } = await other.get('/stats/global');
      expect(body.total_orders + body.failed_orders).toBe(position);
    });
    await letLeasesExpire(other);
    expect(await seen(other, id)).toMatchObject({ state: 'done', position });
    await expectExactFigures(other);
    release();
    await bothAreExact();
  });
});
