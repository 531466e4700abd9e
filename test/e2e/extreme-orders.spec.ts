import { Logger } from '@nestjs/common';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { cents, MAX_CENTS } from '../../src/domain/money.js';
import { StatisticsComparison } from '../../src/stats/verification/statistics-comparison.js';
import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import { Projector } from '../../src/stats/projection/projector.worker.js';
import { RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { expectExactFigures } from '../support/exact-figures.js';
import { aValidatedMessage, aLine } from '../support/validated-messages.js';
import { anOrderEvent } from '../support/order-events.js';

let service: RunningService;
beforeAll(async () => {
  Logger.overrideLogger(false);
  service = await RunningService.ready();
});
afterAll(() => service.stop());

/** The answer as it is written: JSON.parse would round its numbers. */
async function textOf(path: string, accept = 'application/json'): Promise<string> {
  return (await fetch(`${service.url}${path}`, { headers: { accept } })).text();
}

describe('sums beyond what a double holds', () => {
  const SUM = '90500000000000.01';

  beforeAll(async () => {
    const most = { value: MAX_CENTS, lines: [aLine({ product_id: 'P-RICH', cents: MAX_CENTS })] };
    const orders = Array.from({ length: 905 }, () => aValidatedMessage({ userId: 'U-RICH', ...most }));
    const cent = { value: cents(1), lines: [aLine({ product_id: 'P-RICH', cents: cents(1) })] };
    await service.app.get(Ledger).append([...orders, aValidatedMessage({ userId: 'U-RICH', ...cent })], 60_000);
  });

  it('are counted, and those of everybody else go on', async () => {
    await service.send(anOrderEvent({ user_id: 'U-OTHER' }));
    await expectExactFigures(service);
    expect((await service.get('/users/U-OTHER/stats')).body).toMatchObject({ total_spend: 10 });
  });

  it('are shown exactly to the cent, in JSON and CSV', async () => {
    const range = 'start=2026-01-15&end=2026-01-15';
    for (const path of [
      '/users/U-RICH/stats',
      `/users/U-RICH/stats?${range}`,
      '/users',
      `/users?${range}`,
      '/stats/top/1',
      '/stats/products',
      '/stats/monthly/2026-01',
    ]) {
      expect([path, await textOf(path)]).toEqual([
        path,
        expect.stringMatching(new RegExp(`:${SUM.replace('.', '\\.')}[,}]`)),
      ]);
    }
    for (const path of ['/stats/top/1', '/users', '/stats/products', '/stats/monthly/2026-01']) {
      expect([path, await textOf(path, 'text/csv')]).toEqual([path, expect.stringContaining(`,${SUM}`)]);
    }
    expect(await textOf('/users/U-RICH/stats')).toContain('"average_order_value":99889624724.06');
  });

  it('lead to the next page of a month', async () => {
    const first = await service.get('/stats/monthly/2026-01?limit=1');
    const next = await service.get(`/stats/monthly/2026-01?limit=1&cursor=${first.body.next_cursor}`);
    const users = [first, next].map(({ body }) =>
      (body.user_stats as { user_id: string }[]).map(({ user_id }) => user_id),
    );
    expect(users).toEqual([['U-RICH'], ['U-OTHER']]);
  });

  it('are verified, and rebuilt', async () => {
    expect((await service.get('/stats/verify')).body).toMatchObject({ verified: true, drift_cents: 0 });
    const { generation } = service.app.get(Projector).served();
    expect((await service.call('POST', '/stats/rebuild')).status).toBe(202);
    await eventually(() => expect(service.app.get(Projector).served().generation).not.toBe(generation));
    await expectExactFigures(service);
    expect((await service.get('/stats/verify')).body).toMatchObject({ verified: true });
  });

  it('that are a cent wrong are found', async () => {
    const { generation } = service.app.get(Projector).served();
    const { global } = service.redis.keys.generation(generation);
    const right = (await service.redis.client.hget(global, 'revenue'))!;
    await service.redis.client.hset(global, 'revenue', String(BigInt(right) - 1n));
    const answer = await textOf('/stats/verify');
    expect(answer).toContain('"drift_cents":1,');
    expect(answer).toContain('"expected":90500000000010.01,"found":90500000000010.00}');
    await service.redis.client.hset(global, 'revenue', right);
  });
});

describe('statistics that stand still', () => {
  beforeEach(async () => {
    await service.settled();
    jest.spyOn(service.app.get(StatisticsRepository), 'add').mockRejectedValue(new Error('no room'));
    await service.app.get(Ledger).append([aValidatedMessage()], 60_000);
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await service.settled();
  });

  it('are told of in readiness, not before half a minute', async () => {
    expect((await service.get('/health/ready')).body.info.statistics).toMatchObject({ status: 'up', behind: 1 });
    Reflect.set(service.app.get(Projector), 'progressAt', performance.now() - 30_000);
    // Why it failed is known after the next try.
    await eventually(async () => {
      const { status, body } = await service.get('/health/ready');
      expect([status, body.error.statistics]).toEqual([
        503,
        expect.objectContaining({
          behind: 1,
          reason: expect.stringMatching(/^1 entries are missing, and none was added for \d+ s: no room$/) as string,
        }),
      ]);
    });
  });

  it('are not verified', async () => {
    jest.replaceProperty(service.app.get<{ stalledAfterMs: number }>(StatisticsComparison), 'stalledAfterMs', 50);
    const { position } = await service.app.get(Ledger).head();
    const { body } = await service.get('/stats/verify');
    expect(body).toMatchObject({
      verified: false,
      mismatches: [{ key: 'checkpoint', field: 'position', expected: position, found: position - 1 }],
    });
  });
});
