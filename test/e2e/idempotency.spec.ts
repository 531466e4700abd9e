import { sql } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Client } from 'pg';
import { IdempotencyKeys } from '../../src/fulfilment/orders/idempotency.service.js';
import { Orders } from '../../src/fulfilment/orders/orders.service.js';
import { type Answer, aWorld, RunningService, type World } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { aProduct, QUICK, requestOrder } from '../support/fulfilment.js';
import { itWithRedis } from '../support/only-on.js';
import { ServiceProcess } from '../support/process.js';

const KEYS = 20;
const KEYS_AT_ONCE = 10;
const REQUESTS_AT_ONCE = 100;
const LONG_MS = 180_000;

/** Asks many times at once, each key as often as the others. */
function burst(service: RunningService, keys: string[], street: string): Promise<{ key: string; answer: Answer }[]> {
  return Promise.all(
    Array.from({ length: REQUESTS_AT_ONCE }, async (_, i) => {
      const key = keys[i % keys.length]!;
      return { key, answer: await requestOrder(service, { key, body: { shipping_address: street } }) };
    }),
  );
}

/** An answer in a few words. */
function inWords({ status, headers, body }: Answer): string {
  const details = [body.code, headers.get('idempotent-replayed') && 'replayed'];
  const retryAfter = headers.get('retry-after');
  return [status, ...details, retryAfter && `after ${retryAfter}`].filter(Boolean).join(' ');
}

/** How many orders were made for a street. */
async function ordersTo(service: RunningService, street: string): Promise<number> {
  const [found] = await service.database.query<{ orders: number }>(
    sql`select count(*)::float8 as orders from orders where shipping_address = ${street}`,
  );
  return found!.orders;
}

/** Keeps orders of A123 from being made, each in the midst of its transaction, for as long as it is there. */
class Blockade {
  private constructor(private readonly client: Client) {}

  static async of({ environment }: World): Promise<Blockade> {
    const client = new Client(environment.DATABASE_URL);
    await client.connect();
    await client.query('begin');
    await client.query("select 1 from products where sku = 'A123' for update");
    return new Blockade(client);
  }

  /** Locks on keys. @param granted whether they are held, or waited for */
  async keys(granted: boolean): Promise<number> {
    const { rows } = await this.client.query<{ keys: number }>(
      // Not by pg_stat_activity, which shows a transaction no connection that was opened after its first look.
      `select count(*)::int as keys from pg_locks held join pg_database on pg_database.oid = database
       where locktype = 'advisory' and datname = current_database() and granted = $1
         and exists (select from pg_locks waited where waited.pid = held.pid and not waited.granted)`,
      [granted],
    );
    return rows[0]!.keys;
  }

  /** Waits until a request holds its key, and can't go on. */
  async hasOne(): Promise<void> {
    await eventually(async () => expect(await this.keys(true)).toBe(1));
  }

  async lift(): Promise<void> {
    await this.client.end();
  }
}

/** How a request can be answered whose key others have too. */
const POSSIBLE = new Set(['202', '202 replayed', '409 request_in_flight after 1']);

describe('Of requests with the same key', () => {
  let service: RunningService;
  let streets = 0;

  beforeAll(async () => {
    service = await RunningService.ready();
    await aProduct(service, { stock: {} }); // so that an order ends at once, which is less for the parts to do meanwhile
  }, 60_000);

  afterEach(() => jest.restoreAllMocks());
  afterAll(() => service.stop());

  /** What is promised of keys that were asked for many times at once. */
  async function expectOneOrderEach(bursts: string[][]): Promise<void> {
    const street = `${++streets} Fixture Street`;
    for (const keys of bursts) {
      const asked = await burst(service, keys, street);
      for (const key of keys) {
        const answers = asked.filter((each) => each.key === key).map(({ answer }) => answer);
        const taken = answers.filter(({ status }) => status === 202);
        expect(answers.map(inWords).filter((answer) => !POSSIBLE.has(answer))).toEqual([]);
        expect(answers.filter((answer) => inWords(answer) === '202')).toHaveLength(1);
        const again = await requestOrder(service, { key, body: { shipping_address: street } });
        expect(inWords(again)).toBe('202 replayed');
        for (const { body } of taken) expect(body).toEqual(again.body);
      }
    }
    expect(await ordersTo(service, street)).toBe(bursts.flat().length);
  }

  it(
    `one makes an order, with ${KEYS} keys and ${REQUESTS_AT_ONCE} requests at once`,
    async () => {
      const keys = Array.from({ length: KEYS }, () => randomUUID());
      const bursts = Array.from({ length: KEYS / KEYS_AT_ONCE }, (_, i) =>
        keys.slice(i * KEYS_AT_ONCE, (i + 1) * KEYS_AT_ONCE),
      );
      await expectOneOrderEach(bursts);
    },
    LONG_MS,
  );

  it(
    `one makes an order, where all ${REQUESTS_AT_ONCE} at once have it`,
    () => expectOneOrderEach([[randomUUID()]]),
    LONG_MS,
  );

  it(
    'several would make orders by looking for the key first and keeping it afterwards',
    async () => {
      await service.database.query(sql`create table naive_keys (key text, answer text)`);
      const orders = service.app.get(Orders);
      const place = orders.place.bind(orders);
      jest.spyOn(orders, 'place').mockImplementation(async (given, request, caller, actor, answer) => {
        const [first] = await service.database.query<{ answer: string }>(
          sql`select answer from naive_keys where key = ${request.key}`,
        );
        if (first) return { ...JSON.parse(first.answer), replayed: true };
        const placed = await place(given, { ...request, key: randomUUID() }, caller, actor, answer);
        await service.database.query(sql`insert into naive_keys values (${request.key}, ${JSON.stringify(placed)})`);
        return placed;
      });
      await expect(expectOneOrderEach([[randomUUID()]])).rejects.toThrow();
      expect(await ordersTo(service, `${streets} Fixture Street`)).toBeGreaterThan(1);
    },
    LONG_MS,
  );
});

describe('While a request with the key is being answered', () => {
  let world: World;
  let service: RunningService;
  let blockade: Blockade;

  beforeAll(async () => {
    world = await aWorld();
    service = await RunningService.ready({ world });
    await aProduct(service, { stock: {} });
  }, 60_000);

  beforeEach(async () => {
    blockade = await Blockade.of(world);
  });

  afterEach(async () => {
    jest.restoreAllMocks();
    await blockade.lift();
  });

  afterAll(async () => {
    await service.stop();
    await world.destroy();
  });

  it('another one is told so, and does not wait', async () => {
    const key = randomUUID();
    const first = requestOrder(service, { key });
    await blockade.hasOne();
    // The first one can't be answered: had these waited for it, neither would they.
    for (let n = 0; n < 5; n++) {
      expect(inWords(await requestOrder(service, { key }))).toBe('409 request_in_flight after 1');
    }
    await blockade.lift();
    expect(inWords(await first)).toBe('202');
    expect(inWords(await requestOrder(service, { key }))).toBe('202 replayed');
  });

  it('it would wait by a lock that is waited for', async () => {
    jest.spyOn(service.app.get(IdempotencyKeys), 'take').mockImplementation(async (tx, { key }) => {
      await tx.query(sql`select pg_advisory_xact_lock(hashtext(${key}))`);
      return null;
    });
    const key = randomUUID();
    const asked = [requestOrder(service, { key })];
    await blockade.hasOne();
    asked.push(requestOrder(service, { key }));
    await eventually(async () => expect(await blockade.keys(false)).toBe(1));
    await blockade.lift();
    await Promise.all(asked);
  });
});

describe('A process that is killed while it answers', () => {
  itWithRedis(
    'leaves no trace: the same key makes one order elsewhere',
    async () => {
      const world = await aWorld(QUICK);
      const other = { ...world, environment: { ...world.environment, DATA_DIR: join(world.dataDir, 'other') } };
      const processes = [ServiceProcess.ready(world), ServiceProcess.ready(other)];
      try {
        const [mortal, survivor] = (await Promise.all(processes)) as [ServiceProcess, ServiceProcess];
        await aProduct(survivor);
        const key = randomUUID();
        const blockade = await Blockade.of(world);
        try {
          const unanswered = expect(requestOrder(mortal, { key })).rejects.toThrow();
          await blockade.hasOne();
          expect(inWords(await requestOrder(survivor, { key }))).toBe('409 request_in_flight after 1');
          await mortal.kill('SIGKILL');
          await unanswered;
        } finally {
          await blockade.lift();
        }
        const made = await eventually(async () => {
          const answer = await requestOrder(survivor, { key });
          expect(inWords(answer)).toBe('202');
          return answer.body;
        });
        const again = await requestOrder(survivor, { key });
        expect([inWords(again), again.body]).toEqual(['202 replayed', made]);
        const listed = (await survivor.get('/api/v1/orders')).body.items;
        expect(listed.map(({ order_id }: { order_id: string }) => order_id)).toEqual([made.order_id]);
        await eventually(async () => {
          const { body } = await survivor.get(made.links.self);
          expect(body.order_status).toBe('completed');
        }, 30_000);
        expect((await survivor.get('/api/v1/inventory/A123')).body).toMatchObject({ on_hand: 99, reserved: 0 });
      } finally {
        for (const started of await Promise.allSettled(processes)) {
          if (started.status === 'fulfilled') await started.value.end();
        }
        await world.destroy();
      }
    },
    LONG_MS,
  );
});
