import { INVALID_KINDS, sampleOrders, type SampleOrder, type SampleRun } from './sample-orders.rules.js';
import { instantOf, RUN_ID, sampleRun } from './sample-run.rules.js';

const DAY_MS = 24 * 60 * 60 * 1000;
const AS_OF = Date.UTC(2026, 0, 31, 12);

interface Event {
  order_id: string;
  user_id: string;
  order_timestamp: string;
  order_value: number;
  items: { product_id: string; quantity: number; price_per_unit: number }[];
}

function samples(wishes: Partial<SampleRun> = {}): SampleOrder[] {
  return [...sampleOrders({ count: 1_000, invalidRate: 0.2, seed: 7, runId: 'demo', asOf: AS_OF, ...wishes })];
}

function validEvents(wishes: Partial<SampleRun> = {}): Event[] {
  return samples({ invalidRate: 0, ...wishes }).map(({ body }) => JSON.parse(body) as Event);
}

function valueOf(event: Event): number {
  return event.items.reduce((sum, item) => sum + item.quantity * Math.round(item.price_per_unit * 100), 0) / 100;
}

/** What is wrong with a sample, found out from the body alone. */
function faultOf({ body }: SampleOrder): (typeof INVALID_KINDS)[number] | null {
  let event: Partial<Event>;
  try {
    event = JSON.parse(body) as Event;
  } catch {
    return 'malformed_json';
  }
  if (!event.user_id || !event.order_timestamp || !event.items) return 'missing_fields';
  if (!event.order_id!.startsWith('ORD')) return 'bad_order_id';
  if (!event.user_id.startsWith('U')) return 'bad_user_id';
  if (event.order_value === 0) return 'zero_value';
  if (!event.items.every(({ quantity }) => Number.isInteger(quantity) && quantity > 0)) return 'bad_quantity';
  return event.order_value === valueOf(event as Event) ? null : 'wrong_value';
}

describe('Sample orders', () => {
  it('are the same bytes for the same run', () => {
    expect(samples()).toEqual(samples());
  });

  it('differ with the seed', () => {
    expect(samples({ seed: 8 })[0]!.body).not.toBe(samples()[0]!.body);
    expect(samples({ seed: 7 + 2 ** 32 })[0]!.body).not.toBe(samples()[0]!.body);
    expect(samples({ seed: -7 })[0]!.body).not.toBe(samples()[0]!.body);
  });

  it('carry the run in their ids and nowhere else', () => {
    const bodies = samples({ runId: 'other' }).map(({ body }) => body);
    expect(bodies.map((body) => body.replace('OTHER', 'DEMO'))).toEqual(samples().map(({ body }) => body));
  });

  it('keep their distance from as_of, whatever it is', () => {
    const ages = (asOf: number): number[] =>
      validEvents({ asOf, count: 50 }).map((event) => asOf - Date.parse(event.order_timestamp));
    expect(ages(AS_OF + 400 * DAY_MS)).toEqual(ages(AS_OF));
  });

  it('do not depend on how many come after', () => {
    expect(samples({ count: 30 })).toEqual(samples({ count: 1_000 }).slice(0, 30));
  });

  it('have unique ids in upper case', () => {
    const ids = samples({ runId: 'run_a-1' }).map((sample) => sample.order_id);
    expect(new Set(ids).size).toBe(1_000);
    expect(ids.every((id) => /^(ORD|INV)-RUN_A-1-\d{6}$/.test(id))).toBe(true);
    expect(ids).toContain('ORD-RUN_A-1-001000');
  });

  it('come from a hundred users and six products with fixed prices', () => {
    const events = validEvents({ count: 2_000 });
    const prices = new Set(events.flatMap(({ items }) => items.map((i) => `${i.product_id} ${i.price_per_unit}`)));
    expect(new Set(events.map((event) => event.user_id)).size).toBe(100);
    expect(events.every((event) => /^U\d{3}$/.test(event.user_id))).toBe(true);
    expect(prices.size).toBe(6);
  });

  it('have one to five lines', () => {
    expect(new Set(validEvents().map(({ items }) => items.length))).toEqual(new Set([1, 2, 3, 4, 5]));
  });

  it('have the value of their lines, to the cent', () => {
    for (const event of validEvents()) expect(event.order_value).toBe(valueOf(event));
  });

  it('spread evenly over the 180 days before as_of and over the hours of the day', () => {
    const times = validEvents({ count: 1_800 }).map((event) => Date.parse(event.order_timestamp));
    const days = times.map((time) => Math.floor((AS_OF - time) / DAY_MS));
    const hours = times.map((time) => new Date(time).getUTCHours());
    expect(Math.max(...times)).toBeLessThanOrEqual(AS_OF);
    expect(Math.min(...times)).toBeGreaterThan(AS_OF - 180 * DAY_MS);
    for (let day = 0; day < 180; day++) {
      expect(Math.abs(days.filter((one) => one === day).length - 10)).toBeLessThanOrEqual(2);
    }
    for (let hour = 0; hour < 24; hour++) {
      expect(Math.abs(hours.filter((one) => one === hour).length - 75)).toBeLessThanOrEqual(30);
    }
  });

  it.each([
    [0, 0],
    [0.2, 20],
    [0.29, 29],
    [1, 100],
  ])('are wrong at the rate asked for: %d', (invalidRate, wrong) => {
    expect(samples({ count: 100, invalidRate }).filter((sample) => faultOf(sample) !== null)).toHaveLength(wrong);
  });

  it('are wrong in all ways equally often', () => {
    const faults = samples({ count: 700, invalidRate: 1 }).map(faultOf);
    for (const kind of INVALID_KINDS)
      expect([kind, faults.filter((fault) => fault === kind).length]).toEqual([kind, 100]);
  });

  it('tell their values as they stand in the event', () => {
    for (const { body, ...told } of samples({ invalidRate: 1 })) {
      const fault = faultOf({ body, ...told });
      if (fault === 'malformed_json') continue;
      const event = JSON.parse(body) as Event;
      expect(told).toEqual({
        order_id: event.order_id,
        user_id: event.user_id ?? null,
        order_value: event.order_value,
      });
    }
  });

  it('tell the values that can be seen in malformed JSON', () => {
    const malformed = samples({ invalidRate: 1 }).filter((sample) => faultOf(sample) === 'malformed_json');
    for (const { order_id, user_id, order_value, body } of malformed) {
      expect(body).toContain(`"order_id":"${order_id}","user_id":"${user_id}"`);
      expect(body).toContain(`"order_value":${order_value},`);
    }
    expect(malformed.length).toBeGreaterThan(100);
  });
});

describe('A sample run', () => {
  it('draws what is left open', () => {
    const chance = Buffer.from('0000000aDEADBEEF', 'hex');
    expect(sampleRun({ count: 3 }, chance, AS_OF)).toEqual({
      count: 3,
      invalidRate: 0.2,
      seed: 10,
      runId: 'DEADBEEF',
      asOf: AS_OF,
    });
    expect(sampleRun({ count: 3 }, chance, AS_OF).runId).toMatch(RUN_ID);
  });

  it('keeps what is chosen, also zeros', () => {
    const chosen: SampleRun = { count: 1, invalidRate: 0, seed: 0, runId: 'r', asOf: 0 };
    expect(sampleRun(chosen, Buffer.alloc(8, 1), AS_OF)).toEqual(chosen);
  });
});

describe('An instant', () => {
  it.each([
    ['2026-01-31T12:00:00Z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31T12:00:00.5+02:00', '2026-01-31T10:00:00.500Z'],
    ['2026-01-31T12:00', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31', '2026-01-31T00:00:00.000Z'],
  ])('%s is %s: UTC where no offset is given', (text, instant) => {
    expect(new Date(instantOf(text)).toISOString()).toBe(instant);
  });

  it.each(['', 'yesterday', '2026-02-30', '2026-13-01T00:00:00Z', '2026-01-31T25:00:00Z', '31.01.2026', '2026-W05-1'])(
    '"%s" is none',
    (text) => {
      expect(instantOf(text)).toBeNaN();
    },
  );
});
