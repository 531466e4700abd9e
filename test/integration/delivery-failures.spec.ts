import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import { DeliveryFailures } from '../../src/orders/consumer/delivery-failures.repository.js';
import type { Database } from '../../src/platform/database/database.js';
import { eventually } from '../support/eventually.js';
import { aDatabase, type OwnPart } from '../support/stores.js';

let store: OwnPart<Database>;
let database: Database;
let failures: DeliveryFailures;

beforeAll(async () => {
  store = await aDatabase();
  database = store.part;
  failures = new DeliveryFailures(database);
});
afterEach(() => jest.restoreAllMocks());
afterAll(() => store.destroy());

describe('What is recorded of failures', () => {
  it('is how often and why last, by message', async () => {
    const [one, other] = [randomUUID(), randomUUID()];
    const error = new Error('first');
    failures.record([
      { messageId: one, error },
      { messageId: other, error },
    ]);
    await eventually(async () => expect((await failures.of([one, other])).size).toBe(2));
    await database.query(
      sql`update delivery_failures
          set first_failed_at = now() - interval '1 minute', last_failed_at = now() - interval '1 minute'`,
    );
    failures.record([{ messageId: one, error: 'then this' }]);
    await eventually(async () => {
      expect((await failures.of([one])).get(one)).toMatchObject({ failures: 2, lastError: 'then this' });
    });
    const recorded = await failures.of([one, other, 'unknown']);
    expect([...recorded.keys()].sort()).toEqual([one, other].sort());
    expect(recorded.get(other)).toMatchObject({ failures: 1, lastError: 'first' });
    const { firstFailedAt, lastFailedAt } = recorded.get(one)!;
    expect(lastFailedAt - firstFailedAt).toBeGreaterThanOrEqual(60_000);
  });

  it('counts a message once that is named twice at once, and misses none where many fail at once', async () => {
    const ids = Array.from({ length: 30 }, () => randomUUID());
    const faults = ids.map((messageId) => ({ messageId, error: new Error('fault') }));
    for (let round = 0; round < 10; round++) {
      failures.record(round % 2 ? [...faults, ...faults] : [...faults].reverse());
    }
    await eventually(async () => {
      expect([...(await failures.of(ids)).values()].map((row) => row.failures)).toEqual(Array(30).fill(10));
    });
  });

  it('is nothing while the ledger is down, which nobody who records feels', async () => {
    const said = jest.spyOn(Logger.prototype, 'debug').mockImplementation();
    const id = randomUUID();
    jest.spyOn(database, 'query').mockRejectedValueOnce(new Error('gone'));
    expect(failures.record([{ messageId: id, error: new Error('fault') }])).toBeUndefined();
    await eventually(() => expect(said).toHaveBeenCalledWith('1 delivery failures were not recorded: gone'));
    expect(await failures.of([id])).toEqual(new Map());
  });

  it('is forgotten after 15 days', async () => {
    const [old, young] = [randomUUID(), randomUUID()];
    failures.record([old, young].map((messageId) => ({ messageId, error: new Error('fault') })));
    await eventually(async () => expect((await failures.of([old, young])).size).toBe(2));
    for (const [id, age] of [
      [old, '15 days 1 minute'],
      [young, '14 days 23 hours'],
    ]) {
      await database.query(
        sql`update delivery_failures set last_failed_at = now() - ${age}::interval where message_id = ${id}`,
      );
    }
    await failures.purge();
    expect([...(await failures.of([old, young])).keys()]).toEqual([young]);
  });

  it('stays where purging fails, which is said unless the ledger is down', async () => {
    const said = jest.spyOn(Logger.prototype, 'error').mockImplementation();
    jest.spyOn(database, 'query').mockRejectedValueOnce(new Error('a mistake'));
    await failures.purge();
    expect(said.mock.calls).toEqual([["Old delivery failures can't be purged: a mistake"]]);
  });
});
