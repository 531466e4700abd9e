import { sql } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import {
  type Charge,
  ChargeKeyTaken,
  type ChargeResult,
  NothingToRefund,
  PaymentGateway,
  PaymentProviderUnavailable,
  PaymentTimeout,
  type Refund,
} from '../../src/fulfilment/payments/payment-gateway.js';
import { SimulatedProvider } from '../../src/fulfilment/payments/simulated-provider.service.js';
import { Database } from '../../src/platform/database/database.js';
import { loadConfig } from '../../src/shared/config.js';
import { cents } from '../../src/domain/money.js';
import { aWorld, RunningService, type World } from '../support/app.js';
import { aDatabase, type OwnPart } from '../support/stores.js';

const CAPTURED: ChargeResult = { outcome: 'captured' };
const DECLINED: ChargeResult = { outcome: 'declined', reason: 'declined_by_issuer' };
const VOIDED: ChargeResult = { outcome: 'declined', reason: 'voided' };
const ROUNDS = 20;
const AT_ONCE = 8;

let store: OwnPart<Database>;
let gateway: PaymentGateway;

beforeAll(async () => {
  store = await aDatabase();
  gateway = aGateway('0');
}, 60_000);

afterAll(() => store.destroy());

function aGateway(failureRate: string): PaymentGateway {
  return new SimulatedProvider(store.part, loadConfig({ PAYMENT_FAILURE_RATE: failureRate }));
}

function aCharge(charge: Partial<Charge> = {}): Charge {
  const key = randomUUID();
  return { key, orderId: `ORD-${key}`, amount: cents(12_99), currency: 'USD', method: 'CARD', ...charge };
}

/** Of a charge that was captured, unless its method says otherwise. */
async function aRefund(method = 'CARD'): Promise<Refund> {
  const { key: chargeKey, amount } = await captured(method);
  return { key: randomUUID(), chargeKey, amount };
}

async function captured(method = 'CARD'): Promise<Charge> {
  const charge = aCharge({ method });
  expect(await gateway.charge(charge)).toEqual(CAPTURED);
  return charge;
}

/** What something comes to, a failure by its name. */
async function ends<T>(work: Promise<T>): Promise<T | string> {
  return work.catch((error: Error) => error.name);
}

async function atOnce<T>(work: () => Promise<T>): Promise<(T | string)[]> {
  return Promise.all(Array.from({ length: AT_ONCE }, () => ends(work())));
}

/** What the books have of captures and refunds, in cents. */
async function books(chargeKey: string): Promise<{ captured: number; refunded: number }> {
  const [row] = await store.part.query<{ captured: number; refunded: number }>(
    sql`select coalesce(sum(captured_cents), 0)::float8 as captured,
          (select coalesce(sum(amount_cents), 0)::float8 from simulated_refunds
           where charge_key = ${chargeKey} and refunded_at is not null) as refunded
        from simulated_charges where key = ${chargeKey}`,
  );
  return row!;
}

describe('A charge', () => {
  it('is captured once, however often it is asked for', async () => {
    const charge = aCharge();
    expect(await gateway.find(charge.key)).toBe('none');
    for (let i = 0; i < 3; i++) expect(await gateway.charge(charge)).toEqual(CAPTURED);
    expect(await gateway.find(charge.key)).toBe('captured');
    expect(await books(charge.key)).toEqual({ captured: 12_99, refunded: 0 });
  });

  it('is captured once, however many ask at once', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const charge = aCharge();
      expect(await atOnce(() => gateway.charge(charge))).toEqual(Array(AT_ONCE).fill(CAPTURED));
      expect(await books(charge.key)).toEqual({ captured: 12_99, refunded: 0 });
    }
  });

  it.each([
    ['amount', { amount: cents(13_00) }],
    ['order', { orderId: 'ORD-OTHER' }],
    ['currency', { currency: 'EUR' }],
  ])('with the key of another %s is refused', async (_what, other) => {
    const charge = await captured();
    await expect(gateway.charge({ ...charge, ...other })).rejects.toThrow(ChargeKeyTaken);
    expect(await books(charge.key)).toEqual({ captured: 12_99, refunded: 0 });
    expect(await gateway.charge(charge)).toEqual(CAPTURED);
  });

  it('of one key and several amounts is captured with one of them', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const charge = aCharge();
      let amount = 100;
      const ended = await atOnce(() => gateway.charge({ ...charge, amount: cents(amount++) }));
      expect(ended.filter((result) => result !== 'ChargeKeyTaken')).toEqual([CAPTURED]);
    }
  });

  it('is declined by the share of orders that the rate says, and for the same order each time', async () => {
    const [never, always] = [aCharge(), aCharge()];
    expect(await aGateway('0').charge(never)).toEqual(CAPTURED);
    expect(await aGateway('1').charge(always)).toEqual(DECLINED);
    expect(await gateway.find(always.key)).toBe('declined');
    const some = aGateway('0.5');
    for (const { orderId } of Array.from({ length: 10 }, () => aCharge())) {
      expect(await some.charge(aCharge({ orderId }))).toEqual(await some.charge(aCharge({ orderId })));
    }
  });

  it('stays as it was decided when the rate changes', async () => {
    const charge = aCharge();
    expect(await aGateway('1').charge(charge)).toEqual(DECLINED);
    expect(await gateway.charge(charge)).toEqual(DECLINED);
  });

  it('by TEST-DECLINE is declined', async () => {
    const charge = aCharge({ method: 'TEST-DECLINE' });
    for (let i = 0; i < 2; i++) expect(await gateway.charge(charge)).toEqual(DECLINED);
    expect(await gateway.find(charge.key)).toBe('declined');
    expect(await books(charge.key)).toEqual({ captured: 0, refunded: 0 });
  });

  it('by TEST-TIMEOUT-BEFORE times out with nothing charged, and is captured when asked for again', async () => {
    const charge = aCharge({ method: 'TEST-TIMEOUT-BEFORE' });
    await expect(gateway.charge(charge)).rejects.toThrow(PaymentTimeout);
    expect(await gateway.find(charge.key)).toBe('none');
    expect(await gateway.charge(charge)).toEqual(CAPTURED);
    expect(await gateway.charge(charge)).toEqual(CAPTURED);
  });

  it('by TEST-TIMEOUT-AFTER times out with the money taken, which asking again tells', async () => {
    const charge = aCharge({ method: 'TEST-TIMEOUT-AFTER' });
    await expect(gateway.charge(charge)).rejects.toThrow(PaymentTimeout);
    expect(await gateway.find(charge.key)).toBe('captured');
    expect(await gateway.charge(charge)).toEqual(CAPTURED);
    expect(await books(charge.key)).toEqual({ captured: 12_99, refunded: 0 });
  });

  it('by TEST-UNAVAILABLE is refused twice, and then captured', async () => {
    const charge = aCharge({ method: 'TEST-UNAVAILABLE' });
    for (let i = 0; i < 2; i++) {
      await expect(gateway.charge(charge)).rejects.toThrow(PaymentProviderUnavailable);
      expect(await gateway.find(charge.key)).toBe('none');
    }
    expect(await gateway.charge(charge)).toEqual(CAPTURED);
  });

  it('by TEST-UNAVAILABLE is captured once, however many ask at once', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const charge = aCharge({ method: 'TEST-UNAVAILABLE' });
      const ended = await atOnce(() => gateway.charge(charge));
      expect(ended.filter((result) => result === 'PaymentProviderUnavailable')).toHaveLength(2);
      expect(await books(charge.key)).toEqual({ captured: 12_99, refunded: 0 });
    }
  });

  it.each(['TEST-LATE-WEBHOOK', 'TEST-LOST'])('by %s times out and is being processed', async (method) => {
    const charge = aCharge({ method });
    for (let i = 0; i < 2; i++) await expect(gateway.charge(charge)).rejects.toThrow(PaymentTimeout);
    expect(await gateway.find(charge.key)).toBe('processing');
    expect(await books(charge.key)).toEqual({ captured: 0, refunded: 0 });
  });
});

describe('A voided key', () => {
  it('that nobody charged by is declined when the charge arrives late', async () => {
    const charge = aCharge();
    for (let i = 0; i < 2; i++) expect(await gateway.void(charge.key)).toBe('voided');
    for (let i = 0; i < 2; i++) expect(await gateway.charge(charge)).toEqual(VOIDED);
    expect(await gateway.find(charge.key)).toBe('declined');
    expect(await books(charge.key)).toEqual({ captured: 0, refunded: 0 });
  });

  it.each(['TEST-LOST', 'TEST-LATE-WEBHOOK', 'TEST-UNAVAILABLE', 'TEST-TIMEOUT-BEFORE'])(
    'ends a charge by %s',
    async (method) => {
      const charge = aCharge({ method });
      await ends(gateway.charge(charge));
      expect(await gateway.void(charge.key)).toBe('voided');
      for (let i = 0; i < 3; i++) expect(await gateway.charge(charge)).toEqual(VOIDED);
      expect(await gateway.find(charge.key)).toBe('declined');
    },
  );

  it('leaves a captured charge captured, and a declined one declined', async () => {
    const [taken, refused] = [await captured(), aCharge({ method: 'TEST-DECLINE' })];
    await gateway.charge(refused);
    expect(await gateway.void(taken.key)).toBe('captured');
    expect(await gateway.void(refused.key)).toBe('declined');
    expect([await gateway.charge(taken), await gateway.charge(refused)]).toEqual([CAPTURED, DECLINED]);
  });

  it('is either voided or captured for everybody, however the two race', async () => {
    const seen = new Set<string>();
    for (let round = 0; round < ROUNDS * 3; round++) {
      const charge = aCharge();
      let charges = 0;
      const voidsFirst = round % 2;
      const ended = await atOnce<string | ChargeResult>(() =>
        charges++ % 2 === voidsFirst ? gateway.charge(charge) : gateway.void(charge.key),
      );
      const verdicts = new Set(
        ended.map((result) => (typeof result === 'string' ? result : 'reason' in result ? result.reason : 'captured')),
      );
      expect(verdicts.size).toBe(1);
      const [verdict] = verdicts;
      seen.add(verdict!);
      expect(await gateway.find(charge.key)).toBe(verdict === 'captured' ? 'captured' : 'declined');
    }
    expect([...seen].sort()).toEqual(['captured', 'voided']);
  });
});

describe('A refund', () => {
  it('gives the whole amount back once, however often it is asked for', async () => {
    const refund = await aRefund();
    for (let i = 0; i < 3; i++) await gateway.refund(refund);
    expect(await books(refund.chargeKey)).toEqual({ captured: 12_99, refunded: 12_99 });
    expect(await gateway.find(refund.chargeKey)).toBe('captured');
    expect(await gateway.void(refund.chargeKey)).toBe('captured');
  });

  it('gives it back once, however many ask at once, each by a key of their own or all by one', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const [one, own] = [await aRefund(), await aRefund()];
      expect(await atOnce(() => gateway.refund(one))).toEqual(Array(AT_ONCE).fill(undefined));
      const ended = await atOnce(() => gateway.refund({ ...own, key: randomUUID() }));
      expect(ended.filter((result) => result !== 'NothingToRefund')).toEqual([undefined]);
      for (const { chargeKey } of [one, own]) {
        expect(await books(chargeKey)).toEqual({ captured: 12_99, refunded: 12_99 });
      }
    }
  });

  it.each(['TEST-DECLINE', 'TEST-LOST', 'TEST-UNAVAILABLE'])(
    'of what %s did not capture is refused',
    async (method) => {
      const charge = aCharge({ method });
      await ends(gateway.charge(charge));
      const refund = { key: randomUUID(), chargeKey: charge.key, amount: charge.amount };
      await expect(gateway.refund(refund)).rejects.toThrow(NothingToRefund);
    },
  );

  it('of a charge that nobody knows, or that was voided, is refused', async () => {
    const key = randomUUID();
    const refund = { key, chargeKey: key, amount: cents(1) };
    await expect(gateway.refund(refund)).rejects.toThrow(NothingToRefund);
    await gateway.void(key);
    await expect(gateway.refund(refund)).rejects.toThrow(NothingToRefund);
  });

  it('of more or less than the amount, or by the key of another, is refused', async () => {
    const [refund, other] = [await aRefund(), await aRefund()];
    for (const amount of [1, 13_00]) {
      await expect(gateway.refund({ ...refund, amount: cents(amount) })).rejects.toThrow(NothingToRefund);
    }
    await gateway.refund(refund);
    await expect(gateway.refund({ ...other, key: refund.key })).rejects.toThrow(NothingToRefund);
    expect(await books(other.chargeKey)).toMatchObject({ refunded: 0 });
  });

  it('of TEST-REFUND-FLAKY is refused twice, and then goes through', async () => {
    const refund = await aRefund('TEST-REFUND-FLAKY');
    for (let i = 0; i < 2; i++) {
      await expect(gateway.refund(refund)).rejects.toThrow(PaymentProviderUnavailable);
      expect(await books(refund.chargeKey)).toMatchObject({ refunded: 0 });
    }
    await gateway.refund(refund);
    expect(await books(refund.chargeKey)).toEqual({ captured: 12_99, refunded: 12_99 });
  });

  it('of TEST-REFUND-FAILS is refused until somebody writes into the books that it is not', async () => {
    const refund = await aRefund('TEST-REFUND-FAILS');
    for (let i = 0; i < 5; i++) await expect(gateway.refund(refund)).rejects.toThrow(PaymentProviderUnavailable);
    await store.part.query(sql`update simulated_charges set refund_refusals = 0 where key = ${refund.chargeKey}`);
    await gateway.refund(refund);
    expect(await books(refund.chargeKey)).toEqual({ captured: 12_99, refunded: 12_99 });
  });
});

describe('The books of the provider', () => {
  const wrong = (statement: string): Promise<unknown> => store.part.query(sql.raw(statement));

  it('hold no refund of what was not captured, of more than that, or beside another', async () => {
    const { chargeKey, key, amount } = await aRefund();
    const { key: lost } = aCharge();
    await gateway.void(lost);
    const insert = (charge: string, of: number): Promise<unknown> =>
      wrong(
        `insert into simulated_refunds (key, charge_key, amount_cents) values ('${randomUUID()}', '${charge}', ${of})`,
      );
    await expect(insert(lost, 1)).rejects.toThrow(/foreign key/);
    await expect(insert(chargeKey, amount + 1)).rejects.toThrow(/foreign key/);
    await gateway.refund({ key, chargeKey, amount });
    await expect(insert(chargeKey, amount)).rejects.toThrow(/unique/);
  });

  it('let no capture be undone that was refunded', async () => {
    const refund = await aRefund();
    await gateway.refund(refund);
    for (const change of [`state = 'voided'`, 'amount_cents = 1']) {
      await expect(wrong(`update simulated_charges set ${change} where key = '${refund.chargeKey}'`)).rejects.toThrow(
        /foreign key/,
      );
    }
  });
});

describe('A provider whose service is started anew', () => {
  let world: World;

  beforeAll(async () => {
    world = await aWorld({ PAYMENT_FAILURE_RATE: '0' });
  });

  afterAll(() => world.destroy());

  it('knows what it was asked for before', async () => {
    const [taken, unavailable, voided] = [aCharge(), aCharge({ method: 'TEST-UNAVAILABLE' }), aCharge()];
    const refund: Refund = { key: randomUUID(), chargeKey: taken.key, amount: taken.amount };
    const before = await RunningService.ready({ world });
    let provider = before.app.get(PaymentGateway);
    expect(await provider.charge(taken)).toEqual(CAPTURED);
    expect(await ends(provider.charge(unavailable))).toBe('PaymentProviderUnavailable');
    expect(await provider.void(voided.key)).toBe('voided');
    await provider.refund(refund);
    await before.stop();

    const after = await RunningService.ready({ world });
    provider = after.app.get(PaymentGateway);
    expect(await provider.charge(taken)).toEqual(CAPTURED);
    expect(await ends(provider.charge(unavailable))).toBe('PaymentProviderUnavailable');
    expect(await provider.charge(unavailable)).toEqual(CAPTURED);
    expect(await provider.charge(voided)).toEqual(VOIDED);
    await provider.refund(refund);
    expect(await ends(provider.refund({ ...refund, key: randomUUID() }))).toBe('NothingToRefund');
    await after.stop();
  }, 60_000);
});

describe('A provider that can not be reached', () => {
  it('has timed out, so that nobody takes it for a refusal', async () => {
    const nowhere = new Database('postgres://127.0.0.1:1/none', 1_000);
    const provider = new SimulatedProvider(nowhere, loadConfig({}));
    const [charge, key] = [aCharge(), randomUUID()];
    for (const asked of [
      () => provider.charge(charge),
      () => provider.find(key),
      () => provider.void(key),
      () => provider.refund({ key, chargeKey: key, amount: cents(1) }),
    ]) {
      await expect(asked()).rejects.toThrow(PaymentTimeout);
    }
    await nowhere.onApplicationShutdown();
  });
});
