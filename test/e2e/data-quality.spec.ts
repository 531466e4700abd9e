import { Logger } from '@nestjs/common';
import { readFileSync } from 'node:fs';
import { QualityReportController } from '../../src/data-quality/report/quality-report.controller.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { BusinessCalendar } from '../../src/domain/business-time.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { REASONS } from '../../src/domain/order-event.js';
import { asAdmin, anAccount, SECURED } from '../support/accounts.js';
import { type Answer, RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { anOrderEvent, type SentOrderEvent } from '../support/order-events.js';
import { aRefund } from '../support/refunds.js';
import { times } from '../support/reported-entries.js';

type Json = Answer['body'];

const NOBODY = '7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11';
const NO_SUSPECTS = {
  user_value_outlier: 0,
  overall_value_outlier: 0,
  price_deviation: 0,
  shared_address: 0,
  burst: 0,
  odd_timestamp_precision: 0,
  near_duplicate: 0,
};

beforeAll(() => Logger.overrideLogger(false));
afterEach(() => jest.restoreAllMocks());

async function count(service: RunningService, ...orders: (object | string)[]): Promise<void> {
  await service.send(...orders);
  await service.settled();
}

async function report(service: RunningService, query = ''): Promise<Json> {
  const { status, body } = await service.get(`/data-quality${query}`);
  expect({ status, body }).toMatchObject({ status: 200, body: { state: 'done' } });
  return body;
}

/** Keeps the reading of the ledger waiting until it is released. */
function holdBack(service: RunningService): { held(): Promise<void>; release(): void } {
  const ledger = service.app.get(Ledger);
  const reads = ledger.reportedEntries.bind(ledger);
  let release = (): void => undefined;
  let arrived = (): void => undefined;
  const free = new Promise<void>((resolve) => (release = resolve));
  const first = new Promise<void>((resolve) => (arrived = resolve));
  jest.spyOn(ledger, 'reportedEntries').mockImplementation(async (...args) => {
    arrived();
    await free;
    return reads(...args);
  });
  return { held: () => first, release };
}

/** From now on nobody waits for a report. */
function noPatience(service: RunningService): void {
  const controller: object = service.app.get(QualityReportController);
  jest.replaceProperty(controller as { longestWaitMs: number }, 'longestWaitMs', 0);
}

describe('A report on known faults', () => {
  let service: RunningService;
  let body: Json;

  const refunded = anOrderEvent({ order_id: 'ORD-REFUNDED', user_id: 'U2', order_timestamp: '2026-01-10T08:00:01Z' });

  beforeAll(async () => {
    service = await RunningService.ready();
    const on = (day: string, given: Partial<SentOrderEvent> = {}): SentOrderEvent =>
      anOrderEvent({ order_timestamp: `${day}T12:00:00Z`, ...given });
    await count(
      service,
      // Right.
      on('2026-01-10', { user_id: 'U1' }),
      refunded,
      on('2026-01-11', { user_id: 'U3' }),
      // Corrected: by +1.00, +2.50, −4.00, and once without a claim.
      on('2026-01-11', { user_id: 'U1', order_value: 9 }),
      on('2026-01-11', { user_id: 'U2', order_value: '7.50' }),
      on('2026-01-12', { order_id: 'ORD-LARGEST', user_id: 'U3', order_value: 14 }),
      on('2026-01-12', { user_id: 'U4', order_value: undefined }),
    );
    // Failed: one for two reasons, two without a user.
    await count(service, on('2026-01-10', { order_id: 'ORD-F1', user_id: 'U1', items: [] }));
    await count(service, on('2026-01-12', { order_id: 'ORD-F2', user_id: 'U1', items: [], order_value: -5 }));
    await count(service, on('2026-01-12', { order_id: 'ORD-F3', user_id: 'U2', order_value: 0 }));
    await count(service, on('2026-01-12', { order_id: 'ORD-F4', user_id: 'X1', items: [] }));
    await count(service, '{"order_id": "ORD-BROKEN');
    // No orders, or nothing new.
    await count(
      service,
      aRefund({ order_id: refunded.order_id }),
      aRefund({ order_id: refunded.order_id, amount: 99 }),
    );
    await count(service, refunded);
    body = await report(service);
  });
  afterAll(() => service.stop());

  it('counts entries by outcome, orders only', () => {
    expect(body).toMatchObject({
      start: null,
      end: null,
      position: 14,
      entries: 12,
      accepted: 3,
      corrected: 4,
      failed: 5,
      failed_share: 0.4167,
      without_user: 2,
    });
  });

  it('counts them by reason, with shares and the newest samples first', () => {
    expect(body.by_reason.map(({ samples: _, ...counts }: Json) => counts)).toEqual([
      { reason: 'missing_items', meaning: REASONS.missing_items, count: 3, share: 0.6 },
      { reason: 'non_positive_order_value', meaning: REASONS.non_positive_order_value, count: 2, share: 0.4 },
      { reason: 'malformed_json', meaning: REASONS.malformed_json, count: 1, share: 0.2 },
      { reason: 'invalid_user_id', meaning: REASONS.invalid_user_id, count: 1, share: 0.2 },
    ]);
    expect(body.by_reason[0].samples).toEqual([
      {
        position: 11,
        order_id: 'ORD-F4',
        user_id: null,
        sent_at: expect.stringMatching(/Z$/),
        reasons: ['invalid_user_id', 'missing_items'],
      },
      expect.objectContaining({
        position: 9,
        order_id: 'ORD-F2',
        reasons: ['non_positive_order_value', 'missing_items'],
      }),
      expect.objectContaining({ position: 8, order_id: 'ORD-F1', user_id: 'U1', reasons: ['missing_items'] }),
    ]);
  });

  it('has the trend by day, what has no readable time on the day it was sent', () => {
    const [{ date, ...today }, ...others] = body.trend.toReversed();
    expect(others.toReversed()).toEqual([
      { date: '2026-01-10', entries: 3, accepted: 2, corrected: 0, failed: 1, failed_share: 0.3333 },
      { date: '2026-01-11', entries: 3, accepted: 1, corrected: 2, failed: 0, failed_share: 0 },
      { date: '2026-01-12', entries: 5, accepted: 0, corrected: 2, failed: 3, failed_share: 0.6 },
    ]);
    expect(body.by_reason.find(({ reason }: Json) => reason === 'malformed_json').samples[0].sent_at).toContain(date);
    expect(today).toEqual({ entries: 1, accepted: 0, corrected: 0, failed: 1, failed_share: 1 });
  });

  it('names the worst senders', () => {
    expect(body.worst_senders).toEqual([
      {
        user_id: 'U1',
        entries: 4,
        failed: 2,
        failed_share: 0.5,
        reasons: [
          { reason: 'missing_items', count: 2 },
          { reason: 'non_positive_order_value', count: 1 },
        ],
      },
      {
        user_id: 'U2',
        entries: 3,
        failed: 1,
        failed_share: 0.3333,
        reasons: [{ reason: 'non_positive_order_value', count: 1 }],
      },
    ]);
  });

  it('adds up corrections', () => {
    expect(body.corrections).toEqual({
      count: 4,
      share: 0.5714,
      unclaimed: 1,
      total_delta: -0.5,
      total_absolute_delta: 7.5,
      raised: { count: 2, delta: 3.5 },
      lowered: { count: 1, delta: -4 },
      bias: 'lowered',
      largest: { position: expect.any(Number), order_id: 'ORD-LARGEST', claimed_value: 14, order_value: 10, delta: -4 },
    });
  });

  it('suspects nobody', () => expect(body.suspects).toEqual({ counts: NO_SUSPECTS, items: [] }));

  it('says when it was made', () => {
    const { started_at, finished_at, duration_ms } = body;
    expect(duration_ms).toBe(Date.parse(finished_at) - Date.parse(started_at));
  });

  it('is of the days asked for, both inclusive', async () => {
    const entries = async (query: string): Promise<unknown> => {
      const { start, end, entries } = await report(service, query);
      return { start, end, entries };
    };
    expect(await entries('?start=2026-01-11&end=2026-01-12')).toEqual({
      start: '2026-01-11',
      end: '2026-01-12',
      entries: 8,
    });
    expect(await entries('?start=2026-01-12&end=2026-01-12')).toMatchObject({ entries: 5 });
    expect(await entries('?start=2026-01-12')).toEqual({ start: '2026-01-12', end: null, entries: 6 });
    expect(await entries('?end=2026-01-10')).toEqual({ start: null, end: '2026-01-10', entries: 3 });
    expect(await report(service, '?start=2025-01-01&end=2025-12-31')).toMatchObject({
      entries: 0,
      failed_share: 0,
      by_reason: [],
      trend: [],
      worst_senders: [],
      corrections: { count: 0, share: 0, bias: 'none', largest: null },
    });
  });

  it.each([
    ['start=2026-01-12&end=2026-01-11', 'start', 'must not be after end (2026-01-11)'],
    ['start=2026-02-30', 'start', 'must be a day such as 2026-01-31, of the years 2000 to 2100'],
    ['end=1999-12-31', 'end', 'must be a day such as 2026-01-31, of the years 2000 to 2100'],
    ['start=2026-01-01&start=2026-01-02', 'start', 'must be a day such as 2026-01-31, of the years 2000 to 2100'],
    ['days=7', 'days', 'is not known here'],
  ])('is refused for %s', async (query, field, message) => {
    expect(await service.get(`/data-quality?${query}`)).toMatchObject({
      status: 400,
      body: { code: 'invalid_input', errors: [{ field, message }] },
    });
  });

  it('keeps a failed order that was repaired as failed, and counts what it was repaired to', async () => {
    const { position: head } = await service.app.get(Ledger).head();
    const order = anOrderEvent({ order_id: 'ORD-F1', user_id: 'U1', order_timestamp: '2026-01-10T12:00:00Z' });
    await service.call('POST', '/order-events/8/retry', { order });
    await eventually(async () => expect((await service.app.get(Ledger).head()).position).toBe(head + 2));
    expect(await report(service)).toMatchObject({
      entries: 13,
      accepted: 4,
      corrected: 4,
      failed: 5,
      position: head + 2,
    });
  });
});

it.each([
  ['UTC', ['2026-03-28', '2026-03-29']],
  ['Asia/Tokyo', ['2026-03-29', '2026-03-29']],
  ['America/St_Johns', ['2026-03-28', '2026-03-28']],
])('Days are cut in BUSINESS_TIME_ZONE: %s', async (BUSINESS_TIME_ZONE, [before, after]) => {
  const service = await RunningService.ready({ environment: { BUSINESS_TIME_ZONE } });
  try {
    const midnight = Date.parse('2026-03-29T00:00:00Z');
    await count(
      service,
      anOrderEvent({ order_id: 'ORD-BEFORE', items: [], order_timestamp: new Date(midnight - 1).toISOString() }),
      anOrderEvent({ order_id: 'ORD-AFTER', items: [], order_timestamp: new Date(midnight).toISOString() }),
    );
    const on = async (day: string): Promise<string[]> => {
      const { by_reason } = await report(service, `?start=${day}&end=${day}`);
      return (by_reason[0]?.samples ?? []).map(({ order_id }: Json) => order_id as string).sort();
    };
    const expected = (day: string): string[] => [
      ...(after === day ? ['ORD-AFTER'] : []),
      ...(before === day ? ['ORD-BEFORE'] : []),
    ];
    for (const day of ['2026-03-28', '2026-03-29']) expect(await on(day)).toEqual(expected(day));
    const days = (await report(service)).trend.map(({ date }: Json) => date as string);
    expect(days).toEqual([...new Set([before, after])]);
  } finally {
    await service.stop();
  }
});

describe('Suspects', () => {
  let service: RunningService;
  let suspects: Json;

  /** Of ten users each an order a day: of about 10.00, to one of four addresses of theirs, to the second. */
  const usual = times(200, (i) =>
    anOrderEvent({
      user_id: `U-${i % 10}`,
      order_timestamp: `2026-01-${String(1 + Math.floor(i / 10)).padStart(2, '0')}T1${i % 10}:00:07Z`,
      order_value: 8 + (Math.floor(i / 10) % 5),
      items: [{ product_id: 'P1', quantity: 1, price_per_unit: 8 + (Math.floor(i / 10) % 5) }],
      shipping_address: `${i % 40} Home Street, Town`,
    }),
  );

  function odd(order_id: string, seconds: number, given: Partial<SentOrderEvent> = {}): SentOrderEvent {
    const order_timestamp = new Date(Date.UTC(2026, 1, 1, 12, 0, seconds)).toISOString().replace('.000', '');
    const items = [{ product_id: 'P1', quantity: 1, price_per_unit: 10 }];
    return anOrderEvent({ order_id, user_id: 'U-0', order_timestamp, items, ...given });
  }
  const of = (product_id: string, quantity: number, price_per_unit: number): Partial<SentOrderEvent> => ({
    order_value: quantity * price_per_unit,
    items: [{ product_id, quantity, price_per_unit }],
  });

  beforeAll(async () => {
    service = await RunningService.ready();
    await count(service, ...usual);
    await count(
      service,
      odd('ORD-DEAR', 0, of('P1', 200, 10)),
      odd('ORD-PRICE', 3_600, of('P1', 1, 40)),
      odd('ORD-NOT-SO-DEAR', 7_200, of('P1', 1, 25)),
      odd('ORD-ONCE', 20_000),
      odd('ORD-TWICE', 20_120),
      odd('ORD-LATER', 21_000),
      odd('ORD-FINE', 30_000, { order_timestamp: '2026-02-02T10:00:00.123456Z' }),
      // Of new users, to an address of a few users and to one of many.
      ...times(4, (i) =>
        odd(`ORD-FAMILY-${i}`, 40_000 + i * 4_000, { user_id: `U-F${i}`, shipping_address: '1 Big House' }),
      ),
      ...times(6, (i) =>
        odd(`ORD-BOX-${i}`, 90_000 + i * 4_000, { user_id: `U-B${i}`, shipping_address: '77 Drop Box, Town' }),
      ),
      // Each of another quantity, or they were near duplicates.
      ...times(6, (i) => odd(`ORD-BURST-${i}`, 900_000 + i * 9, { user_id: 'U-QUICK', ...of('P1', 1 + i, 10) })),
      ...times(6, (i) => odd(`ORD-SLOW-${i}`, 900_000 + i * 13, { user_id: 'U-SLOW', ...of('P1', 1 + i, 10) })),
    );
    ({ suspects } = await report(service));
  });
  afterAll(() => service.stop());

  const ofKind = (kind: string): Json[] => suspects.items.filter((suspect: Json) => suspect.kind === kind);

  it('are those that were planted, and no others', () => {
    expect(suspects.counts).toEqual({
      user_value_outlier: 1,
      overall_value_outlier: 1,
      price_deviation: 1,
      shared_address: 1,
      burst: 1,
      odd_timestamp_precision: 1,
      near_duplicate: 1,
    });
    expect(suspects.items).toHaveLength(7);
    for (const { position, order_id, user_id, explanation } of suspects.items) {
      expect(typeof position).toBe('number');
      expect([order_id, user_id]).toEqual([expect.stringMatching(/^ORD/), expect.stringMatching(/^U/)]);
      expect(explanation).toMatch(/^\S.+\.$/);
    }
  });

  it.each([
    ['user_value_outlier', { value: 2_000, median: 10, factor: 200 }],
    ['overall_value_outlier', { value: 2_000, median: 10, factor: 200 }],
  ])('%s', (kind, evidence) => {
    expect(ofKind(kind)).toMatchObject([{ order_id: 'ORD-DEAR', user_id: 'U-0', evidence }]);
  });

  it('price_deviation', () => {
    const evidence = { product_id: 'P1', price_per_unit: 40, median: 10 };
    expect(ofKind('price_deviation')).toMatchObject([{ order_id: 'ORD-PRICE', evidence }]);
  });

  it('shared_address, which is masked', () => {
    const evidence = { address: '7* d*** b** t***', users: 6, orders: 6, median_users: 1 };
    expect(ofKind('shared_address')).toMatchObject([{ order_id: expect.stringMatching('ORD-BOX-'), evidence }]);
    expect(JSON.stringify(suspects)).not.toMatch(/drop|box, town/i);
  });

  it('burst', () => {
    const evidence = { orders: 6, seconds: 45, positions: expect.any(Array) };
    expect(ofKind('burst')).toMatchObject([{ order_id: 'ORD-BURST-5', user_id: 'U-QUICK', evidence }]);
  });

  it('odd_timestamp_precision', () => {
    const evidence = { form: 'with 6 digits after the second', orders_with_form: 1, usual_form: 'to the second' };
    expect(ofKind('odd_timestamp_precision')).toMatchObject([{ order_id: 'ORD-FINE', evidence }]);
  });

  it('near_duplicate', () => {
    const evidence = { other_order_id: 'ORD-ONCE', seconds_apart: 120, value: 10 };
    expect(ofKind('near_duplicate')).toMatchObject([{ order_id: 'ORD-TWICE', evidence }]);
  });

  it('are looked for within the range only', async () => {
    const { suspects: none } = await report(service, '?end=2026-01-31');
    expect(none).toEqual({ counts: NO_SUSPECTS, items: [] });
  });
});

describe('What is reported of orders that nobody made up to be found', () => {
  it('is nothing in a sample of the producer', async () => {
    const service = await RunningService.ready();
    try {
      await service.call('POST', '/produce', {
        count: 500,
        invalid_rate: 0,
        seed: 5,
        run_id: 'CLEAN',
        as_of: '2026-06-01T00:00:00Z',
      });
      await eventually(async () => expect((await service.app.get(Ledger).head()).position).toBe(500), 30_000);
      expect((await report(service)).suspects).toEqual({ counts: NO_SUSPECTS, items: [] });
    } finally {
      await service.stop();
    }
  });

  it('are some very large and very small invoices of a wholesaler, and the same order taken twice', async () => {
    const service = await RunningService.ready();
    try {
      await count(service, ...readFileSync('test/data/online-retail-2010-12-early.jsonl', 'utf8').trim().split('\n'));
      const { entries, accepted, failed, suspects } = await report(service);
      expect({ entries, accepted, failed }).toEqual({ entries: 1_088, accepted: 776, failed: 312 });
      expect(suspects.counts).toEqual({ ...NO_SUSPECTS, overall_value_outlier: 13, near_duplicate: 5 });
      expect(suspects.items[0].evidence).toMatchObject({ value: 15_885.49, median: 269.28 });
    } finally {
      await service.stop();
    }
  }, 120_000);
});

describe('The making of a report', () => {
  let service: RunningService;

  beforeAll(async () => {
    service = await RunningService.ready();
    await count(service, anOrderEvent(), anOrderEvent({ items: [] }));
  });
  afterAll(() => service.stop());

  it('happens once for each range, until the ledger grows', async () => {
    const reads = jest.spyOn(service.app.get(Ledger), 'reportedEntries');
    const first = await report(service, '?start=2026-01-01');
    expect(await report(service, '?start=2026-01-01')).toEqual(first);
    expect(reads).toHaveBeenCalledTimes(1);
    expect((await report(service, '?start=2026-01-02')).id).not.toBe(first.id);
    await count(service, anOrderEvent());
    const grown = await report(service, '?start=2026-01-01');
    expect({ isNew: grown.id !== first.id, entries: grown.entries }).toEqual({
      isNew: true,
      entries: first.entries + 1,
    });
  });

  it('goes page by page where bodies are large', async () => {
    const large = times(11, (i) => anOrderEvent({ user_id: `U-LARGE-${i}`, note: 'x'.repeat(1_000_000) }));
    for (const order of large) await service.send(order);
    await service.settled();
    const ledger = service.app.get(Ledger);
    const { entries, upTo } = await ledger.reportedEntries(0, 1_000, {}, new BusinessCalendar('UTC'));
    expect(entries.length).toBeLessThan(3 + large.length);
    expect(upTo).toBe(entries.at(-1)!.position);
    const { position } = await ledger.head();
    expect(await report(service)).toMatchObject({ position, entries: position });
  });

  it('becomes a resource where it takes long', async () => {
    noPatience(service);
    const { held, release } = holdBack(service);
    const { status, headers, body } = await service.get('/data-quality?end=2026-02-01');
    const location = headers.get('location');
    expect({ status, location }).toEqual({ status: 202, location: `/data-quality/reports/${body.id}` });
    await held();
    expect(await service.get(location!)).toMatchObject({
      status: 200,
      body: {
        id: body.id,
        state: 'running',
        done: 0,
        total: expect.any(Number),
        started_at: expect.any(String),
        error: null,
      },
    });
    const { body: same } = await service.get('/data-quality?end=2026-02-01');
    const { status: next, body: waiting } = await service.get('/data-quality?end=2026-02-02');
    expect({ same: same.id, next, waiting }).toMatchObject({ same: body.id, next: 202, waiting: { state: 'waiting' } });
    release();
    const made = await eventually(async () => {
      const { body } = await service.get(location!);
      expect(body).toMatchObject({ state: 'done', end: '2026-02-01' });
      return body;
    });
    await eventually(async () => expect((await report(service, '?end=2026-02-01')).id).toBe(made.id));
    await eventually(async () =>
      expect((await service.get(`/data-quality/reports/${waiting.id}`)).body).toMatchObject({ state: 'done' }),
    );
  });

  it('does not have more than ten waiting', async () => {
    noPatience(service);
    const { held, release } = holdBack(service);
    const ask = (i: number) => service.get(`/data-quality?start=2020-01-${String(i + 1).padStart(2, '0')}`);
    const first = await ask(0);
    await held();
    const answers: Answer[] = [];
    for (let i = 1; i <= 11; i++) answers.push(await ask(i));
    expect(answers.map(({ status }) => status)).toEqual([...times(10, () => 202), 429]);
    expect(answers.at(-1)!.body).toMatchObject({ code: 'too_many_reports' });
    expect(answers.at(-1)!.headers.get('retry-after')).toBe('30');
    release();
    for (const { body } of [first, ...answers.slice(0, -1)]) {
      await eventually(async () =>
        expect((await service.get(`/data-quality/reports/${body.id}`)).body.state).toBe('done'),
      );
    }
  });

  it('that fails is told, and tried again for the next who asks', async () => {
    const ledger = service.app.get(Ledger);
    jest.spyOn(ledger, 'reportedEntries').mockRejectedValueOnce(new DatabaseUnavailable('PostgreSQL: gone'));
    expect(await service.get('/data-quality?start=2019-01-01')).toMatchObject({
      status: 503,
      body: { code: 'ledger_unavailable' },
    });
    await report(service, '?start=2019-01-01');
  });

  it('knows no others', async () => {
    expect(await service.get(`/data-quality/reports/${NOBODY}`)).toMatchObject({
      status: 404,
      body: { code: 'not_found', detail: `No report ${NOBODY} is known.` },
    });
    expect(await service.get('/data-quality/reports/first')).toMatchObject({
      status: 400,
      body: { code: 'invalid_input', errors: [{ field: 'id', message: 'must be the id of a report' }] },
    });
  });

  it('is given up when the service stops', async () => {
    const stopping = await RunningService.ready();
    await count(stopping, anOrderEvent());
    const { held, release } = holdBack(stopping);
    const asked = stopping.get('/data-quality');
    await held();
    const stopped = stopping.stop();
    release();
    expect(await asked).toMatchObject({ status: 503, body: { code: 'report_stopped' } });
    await stopped;
  });
});

it('A report is for those who may read it, and shown in Swagger', async () => {
  const service = await RunningService.ready({ environment: SECURED });
  try {
    const analyst = (await anAccount(service, 'analyst')).header;
    const customer = (await anAccount(service, 'customer')).header;
    expect(await service.get('/data-quality', analyst)).toMatchObject({ status: 200, body: { entries: 0 } });
    expect((await service.get('/data-quality', await asAdmin(service))).status).toBe(200);
    for (const path of ['/data-quality', `/data-quality/reports/${NOBODY}`]) {
      expect(await service.get(path, customer)).toMatchObject({ status: 403, body: { code: 'not_allowed' } });
      expect((await service.get(path)).status).toBe(401);
    }
    const { body } = await service.get('/docs-json');
    expect(Object.keys(body.paths['/data-quality'].get.responses).sort()).toEqual(
      expect.arrayContaining(['200', '202', '400', '429', '503']),
    );
    const shown = body.components.schemas.SuspectJson.properties;
    expect(shown.kind.enum).toEqual(Object.keys(NO_SUSPECTS));
    expect(shown.evidence.example).toHaveProperty('other_order_id');
  } finally {
    await service.stop();
  }
});
