import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { randomBytes } from 'node:crypto';
import { FindingsSchedule } from '../../src/data-quality/findings/findings-schedule.worker.js';
import { Findings } from '../../src/data-quality/findings/findings.repository.js';
import { OrderChecks } from '../../src/data-quality/check/order-checks.service.js';
import { QualityReports } from '../../src/data-quality/report/quality-reports.service.js';
import { ScheduleClaims } from '../../src/data-quality/findings/schedule-claims.repository.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { type Answer, RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { aModelAnswer, says, StubModel } from '../support/language-model.js';
import { anOrderEvent, type SentOrderEvent } from '../support/order-events.js';

const FINDINGS = '/data-quality/findings';
const SECRET = 'Quetzalcoatl';

/** What the API answered. */
type Shown = Answer['body'];

let service: RunningService;

beforeAll(async () => {
  service = await RunningService.ready({ environment: { ORDER_VALUE_MISMATCH: 'reject', DATA_QUALITY_SAMPLE: '3' } });
});

afterAll(() => service.stop());

/** Each test begins without findings, and with all entries before it looked at. */
beforeEach(async () => {
  await service.database.query(sql`delete from quality_findings`);
  await service.database.query(
    sql`update quality_schedule set failed_position = position, suspect_position = position from ledger_head`,
  );
});

afterEach(() => jest.restoreAllMocks());

const schedule = (): FindingsSchedule => service.app.get(FindingsSchedule);

/** The schedule of a process that is to check so often. */
function scheduleEvery(qualityCheckMinutes: number): FindingsSchedule {
  const part = <Part>(kind: new (...of: never[]) => Part): Part => service.app.get(kind);
  const config = { ...service.config, qualityCheckMinutes };
  return new FindingsSchedule(
    service.database,
    part(Ledger),
    part(ScheduleClaims),
    part(Findings),
    part(QualityReports),
    part(OrderChecks),
    config,
  );
}

/** Has all entries since a position be looked at again, as if the check before had broken off at its end. */
async function forgotten(position: number): Promise<void> {
  await service.database.query(
    sql`update quality_schedule set failed_position = ${position}, suspect_position = ${position}`,
  );
}

/** Sends orders and waits for their entries, whose positions are in their order. @returns the position of the last */
async function stored(...orders: (object | string)[]): Promise<number> {
  let position = 0;
  for (const order of orders) {
    await service.send(order);
    await service.settled();
    ({ position } = await service.app.get(Ledger).head());
  }
  return position;
}

/** One that does not stand out: another by the same user would be a near duplicate. */
const anOrdinaryOrder = (): SentOrderEvent => anOrderEvent({ user_id: `U${randomBytes(6).toString('hex')}` });

const aFailingOrder = (given: Partial<SentOrderEvent> = {}): SentOrderEvent =>
  anOrderEvent({ order_value: -1, ...given });

async function findings(query = ''): Promise<Shown[]> {
  const { status, body } = await service.get(`${FINDINGS}?limit=500${query}`);
  expect(status).toBe(200);
  return body.items;
}

const positions = (items: Shown[]): number[] => items.map(({ position }) => position);

/** Has checks wait from now on until they are let go; tells how many wait. */
function heldChecks(): { waiting: () => number; letGo: () => void } {
  const ofEntry = OrderChecks.prototype.ofEntry;
  let waiting = 0;
  let letGo = (): void => undefined;
  const gate = new Promise<void>((resolve) => (letGo = resolve));
  jest.spyOn(OrderChecks.prototype, 'ofEntry').mockImplementation(async function (this: OrderChecks, entry) {
    waiting++;
    await gate;
    return ofEntry.call(this, entry);
  });
  return { waiting: () => waiting, letGo };
}

describe('A scheduled check', () => {
  it('finds what failed since the last time, once, with what the rules say and how to mend it', async () => {
    await stored(anOrdinaryOrder());
    const failing = aFailingOrder();
    const position = await stored(failing);
    expect(await schedule().check()).toEqual({ checked: 1, found: 1 });
    const [finding, ...others] = await findings();
    expect(others).toEqual([]);
    expect(finding).toMatchObject({
      position,
      order_id: failing.order_id,
      cause: 'failed',
      suspects: [],
      repaired_by: null,
      check: (await service.call('POST', '/data-quality/check', { position })).body,
    });
    expect(finding.check.rules.reasons).toMatchObject([{ reason: 'non_positive_order_value' }]);
    expect(Math.abs(Date.parse(finding.found_at) - Date.now())).toBeLessThan(60_000);

    expect(await schedule().check()).toEqual({ checked: 0, found: 0 });
    const next = await stored(aFailingOrder());
    expect(await schedule().check()).toEqual({ checked: 1, found: 1 });
    expect(positions(await findings())).toEqual([next, position]);
  });

  it('proposes a fix whose call repairs the order through the queue, and changes nothing by itself', async () => {
    const position = await stored(anOrderEvent({ order_value: 11 }));
    await schedule().check();
    expect((await service.get(`/order-events/${position}`)).body.repaired_by).toBeNull();
    const [{ check }] = (await findings()) as [Shown];
    const { method, path, body } = check.proposed_fix.apply;
    expect((await service.call(method, path, body)).status).toBe(202);
    const { repaired_by } = await eventually(async () => {
      const entry = (await service.get(`/order-events/${position}`)).body;
      expect(entry.repaired_by).not.toBeNull();
      return entry;
    });
    expect(await findings()).toMatchObject([{ position, repaired_by }]);
  });

  it('leaves out what is repaired already', async () => {
    const position = await stored(aFailingOrder());
    await service.call('POST', `/order-events/${position}/retry`, { order: anOrdinaryOrder() });
    await eventually(async () =>
      expect((await service.get(`/order-events/${position}`)).body.repaired_by).not.toBeNull(),
    );
    expect(await schedule().check()).toEqual({ checked: 0, found: 0 });
  });

  it('takes no more than the sample, and of that something of every reason', async () => {
    await stored(anOrderEvent({ user_id: 'X1' }), anOrderEvent({ order_timestamp: 'soon' }));
    await stored(aFailingOrder(), aFailingOrder());
    expect(await schedule().check()).toEqual({ checked: 3, found: 3 });
    const reasons = (await findings()).map(({ check }) => check.rules.reasons[0].reason);
    expect(reasons.sort()).toEqual(['invalid_order_timestamp', 'invalid_user_id', 'non_positive_order_value']);
    // The others had their chance.
    expect(await schedule().check()).toEqual({ checked: 0, found: 0 });
  });

  it('finds orders that stand out, with the evidence', async () => {
    const one = anOrderEvent({ user_id: 'U5', order_timestamp: '2026-01-15T12:00:00Z' });
    const again = { ...one, order_id: `${one.order_id}B`, order_timestamp: '2026-01-15T12:02:00Z' };
    const position = await stored(one, again);
    expect(await schedule().check()).toEqual({ checked: 1, found: 1 });
    const { suspects } = (await service.get('/data-quality')).body;
    const item = suspects.items.find((each: Shown) => each.position === position);
    const { kind, explanation, evidence } = item;
    expect(await findings()).toMatchObject([
      { position, order_id: again.order_id, cause: 'suspect', suspects: [{ kind, explanation, evidence }] },
    ]);
    expect(await findings('&cause=failed')).toEqual([]);
    expect(await findings('&cause=suspect')).toHaveLength(1);

    // What stood out before is what new orders are compared with, and no news.
    await service.database.query(sql`delete from quality_findings`);
    await stored(anOrdinaryOrder());
    expect(await schedule().check()).toEqual({ checked: 0, found: 0 });
  });

  it('goes on where it broke off, and keeps no finding twice', async () => {
    const last = await stored(...[1, 2, 3].map(() => aFailingOrder()));
    const checks = service.app.get(OrderChecks);
    const real = checks.ofEntry.bind(checks);
    const ofEntry = jest.spyOn(checks, 'ofEntry').mockImplementation(real);
    ofEntry.mockImplementationOnce(real).mockRejectedValueOnce(new DatabaseUnavailable('gone'));
    await expect(schedule().check()).rejects.toThrow('gone');
    expect(await findings()).toHaveLength(1);
    expect(await schedule().check()).toEqual({ checked: 2, found: 2 });
    expect(positions(await findings()).sort()).toEqual([last - 2, last - 1, last]);

    await forgotten(last - 3);
    expect(await schedule().check()).toEqual({ checked: 0, found: 0 });
  });

  it('goes on where a check of one order is a fault of ours', async () => {
    const position = await stored(aFailingOrder(), aFailingOrder());
    jest.spyOn(service.app.get(OrderChecks), 'ofEntry').mockRejectedValueOnce(new TypeError(`no "${SECRET}"`));
    const said = jest.spyOn(Logger.prototype, 'error').mockReturnValue();
    expect(await schedule().check()).toEqual({ checked: 2, found: 1 });
    expect(said.mock.calls).toEqual([[`Position ${position} could not be checked: no "…"`]]);
  });

  it('is one at a time, and keeps nobody from the database while a model thinks', async () => {
    await stored(aFailingOrder());
    const { waiting, letGo } = heldChecks();
    const first = schedule().check();
    await eventually(() => expect(waiting()).toBe(1));
    expect(await schedule().check()).toBeNull();
    const next = await stored(anOrdinaryOrder());
    expect((await service.get(`/order-events/${next}`)).status).toBe(200);
    letGo();
    expect(await first).toEqual({ checked: 1, found: 1 });
    expect(await schedule().check()).toEqual({ checked: 0, found: 0 });
  });

  it('is taken over where its process has gone, and then keeps nothing more', async () => {
    await stored(aFailingOrder());
    const { waiting, letGo } = heldChecks();
    const gone = schedule().check();
    await eventually(() => expect(waiting()).toBe(1));
    await service.database.query(sql`update quality_schedule set claimed_until = clock_timestamp()`);
    const other = schedule().check();
    await eventually(() => expect(waiting()).toBe(2));
    letGo();
    expect(await gone).toEqual({ checked: 0, found: 0 });
    expect(await other).toEqual({ checked: 1, found: 1 });
    expect(await findings()).toHaveLength(1);
  });

  it('is due every so many minutes, for all processes together', async () => {
    await stored(aFailingOrder());
    await service.database.query(sql`update quality_schedule set began_at = null`);
    await scheduleEvery(30).checkWhenDue();
    expect(await findings()).toHaveLength(1);
    await stored(aFailingOrder());
    await scheduleEvery(30).checkWhenDue();
    expect(await findings()).toHaveLength(1);
    await service.database.query(sql`update quality_schedule set began_at = began_at - interval '29.7 minutes'`);
    await scheduleEvery(0).checkWhenDue();
    expect(await findings()).toHaveLength(1);
    await scheduleEvery(30).checkWhenDue();
    expect(await findings()).toHaveLength(2);
  });

  it('is off where nothing is set', () => {
    expect(service.config.qualityCheckMinutes).toBe(0);
  });

  it('says in a line how much it looked at, and nothing of a person', async () => {
    const said = jest.spyOn(Logger.prototype, 'log').mockReturnValue();
    await stored(aFailingOrder({ user_id: `U${SECRET}`, shipping_address: `1 ${SECRET} Street` }));
    said.mockClear();
    await schedule().check();
    expect(said.mock.calls).toEqual([[expect.stringMatching(/looked at 1 .* 1 findings?$/)]]);
    expect(JSON.stringify(said.mock.calls)).not.toMatch(new RegExp(SECRET, 'i'));
  });

  it('forgets findings after 90 days', async () => {
    const position = await stored(aFailingOrder(), aFailingOrder());
    await schedule().check();
    await service.database.query(
      sql`update quality_findings
          set found_at = now() - case position when ${position} then interval '89 days' else interval '91 days' end`,
    );
    await schedule().check();
    expect(positions(await findings())).toEqual([position]);
  });
});

describe('GET /data-quality/findings', () => {
  it('goes page by page, the newest first', async () => {
    await stored(...[1, 2, 3].map(() => aFailingOrder()));
    await schedule().check();
    const all = await findings();
    const first = (await service.get(`${FINDINGS}?limit=2`)).body;
    expect(first.items).toEqual(all.slice(0, 2));
    const second = (await service.get(`${FINDINGS}?limit=2&cursor=${first.next_cursor}`)).body;
    expect(second).toEqual({ items: all.slice(2), next_cursor: null });
  });

  it('gives fewer where their orders are very large', async () => {
    await stored(...[1, 2, 3].map(() => aFailingOrder()));
    await schedule().check();
    await service.database.query(
      sql`update quality_findings set verdict = (verdict::jsonb || jsonb_build_object('pad', repeat('x', 5000000)))::text`,
    );
    const { items, next_cursor } = (await service.get(`${FINDINGS}?limit=3`)).body;
    expect(items).toHaveLength(2);
    expect((await service.get(`${FINDINGS}?cursor=${next_cursor}`)).body).toMatchObject({
      items: [expect.anything()],
      next_cursor: null,
    });
  });

  it.each(['cause=corrected', 'limit=0', 'limit=501', 'cursor=x', 'state=open'])('refuses %s', async (query) => {
    const { status, body } = await service.get(`${FINDINGS}?${query}`);
    expect([status, body.code]).toEqual([400, 'invalid_input']);
  });
});

describe('Erasing a person', () => {
  const erasureOf = (userId: string): Promise<Answer> =>
    service.call('DELETE', `/api/v1/users/${userId}/personal-data`);

  const aPersonalOrder = (given: Partial<SentOrderEvent> = {}): SentOrderEvent =>
    aFailingOrder({ user_id: 'U7', shipping_address: `1 ${SECRET} Street`, ...given });

  async function kept(): Promise<string> {
    return JSON.stringify(await service.database.query(sql`select f::text as row from quality_findings f`));
  }

  it('deletes the findings of their orders, and leaves those of others', async () => {
    const others = await stored(aPersonalOrder({ order_value: 11 }), aFailingOrder({ user_id: 'U8' }));
    await schedule().check();
    expect(await kept()).toContain(SECRET);
    expect(await erasureOf('U7')).toMatchObject({
      status: 200,
      body: { erased: { order_events: 1, quality_findings: 1 } },
    });
    expect(positions(await findings())).toEqual([others]);
    expect(await kept()).not.toContain(SECRET);
    expect(await erasureOf('U7')).toMatchObject({ body: { erased: { quality_findings: 0 } } });
  });

  it('deletes those of orders that came to them by a repair', async () => {
    const position = await stored(aPersonalOrder({ user_id: 'nobody' }));
    await schedule().check();
    await service.call('POST', `/order-events/${position}/retry`, { order: anOrderEvent({ user_id: 'U10' }) });
    await eventually(async () => expect((await service.get(`/repairs`)).body.items[0].state).toBe('repaired'));
    await service.settled();
    expect(await erasureOf('U10')).toMatchObject({ status: 200, body: { erased: { quality_findings: 1 } } });
    expect(await findings()).toEqual([]);
  });

  it('has reports made anew, and no old one shown', async () => {
    await stored(aPersonalOrder({ user_id: 'U12' }));
    const report = async (): Promise<string> => (await service.get('/data-quality')).body.id;
    const before = await report();
    expect(await report()).toBe(before);
    expect((await erasureOf('U12')).status).toBe(200);
    expect(await report()).not.toBe(before);
    expect((await service.get(`/data-quality/reports/${before}`)).status).toBe(404);
  });

  it('is not undone by a check that had the order in hand meanwhile', async () => {
    const position = await stored(aPersonalOrder({ user_id: 'U9' }));
    const { waiting, letGo } = heldChecks();
    const check = schedule().check();
    await eventually(() => expect(waiting()).toBe(1));
    expect((await erasureOf('U9')).status).toBe(200);
    letGo();
    expect(await check).toEqual({ checked: 1, found: 0 });
    expect(await findings()).toEqual([]);
    // What is left of the order may be checked.
    await forgotten(position - 1);
    expect(await schedule().check()).toEqual({ checked: 1, found: 1 });
    expect(await kept()).not.toContain(SECRET);
  });
});

describe('A scheduled check with a model', () => {
  it('asks it anew about what it knew when a person was erased', async () => {
    const model = await StubModel.start();
    let asking: RunningService | null = null;
    try {
      model.will(says(aModelAnswer({ valid: false })));
      asking = await RunningService.ready({ environment: model.environment });
      const { position } = await asking.app.get(Ledger).head();
      await asking.send(aFailingOrder({ user_id: 'U5' }));
      await asking.settled();
      const isKnown = async (): Promise<boolean> =>
        (await asking!.call('POST', '/data-quality/check', { position: position + 1 })).body.model.from_cache;
      expect([await isKnown(), await isKnown()]).toEqual([false, true]);
      expect((await asking.call('DELETE', '/api/v1/users/U5/personal-data')).status).toBe(200);
      expect([await isKnown(), await isKnown()]).toEqual([false, true]);
    } finally {
      await asking?.stop();
      await model.stop();
    }
  });

  it('asks it as long as its budget lasts, and says where it did not', async () => {
    const model = await StubModel.start();
    let asking: RunningService | null = null;
    try {
      model.will(says(aModelAnswer({ valid: false })));
      asking = await RunningService.ready({ environment: { ...model.environment, LLM_CALLS_PER_MINUTE: '1' } });
      await asking.send(aFailingOrder({ user_id: 'U5' }), aFailingOrder({ user_id: 'U66' }));
      await asking.settled();
      expect(await asking.app.get(FindingsSchedule).check()).toEqual({ checked: 2, found: 2 });
      const { items } = (await asking.get(FINDINGS)).body;
      const [second, first] = items.map(({ check }: Shown) => check);
      expect(first).toMatchObject({ model: { valid: false }, model_reason: null });
      expect(second).toMatchObject({
        rules: { outcome: 'failed' },
        model: null,
        model_reason: { code: 'out_of_budget' },
      });
      expect(model.asked).toHaveLength(1);
    } finally {
      await asking?.stop();
      await model.stop();
    }
  });
});
