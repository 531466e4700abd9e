import { sql } from 'drizzle-orm';
import { createHmac, randomUUID } from 'node:crypto';
import { type Charge, type ChargeResult, PaymentGateway } from '../../src/fulfilment/payments/payment-gateway.js';
import { type PaymentNotice, PaymentNotices } from '../../src/fulfilment/payments/payment-notices.js';
import { SimulatedWebhooks } from '../../src/fulfilment/payments/simulated-webhooks.worker.js';
import {
  InvalidWebhookSignature,
  WebhookSignatures,
} from '../../src/fulfilment/payments/webhook-signatures.service.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { loadConfig } from '../../src/shared/config.js';
import { cents } from '../../src/domain/money.js';
import { SECURED } from '../support/accounts.js';
import { type Answer, aWorld, RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';
import { itWithRedis } from '../support/only-on.js';

const KEY = Buffer.from('fixture-secret-of-the-payment-provider');
const WEBHOOK_SECRET = `whsec_${KEY.toString('base64')}`;
const TOLERANCE_SECONDS = 300;
const CAPTURED: ChargeResult = { outcome: 'captured' };

interface Signed {
  id?: string;
  /** Seconds since 1970. */
  timestamp?: number;
  key?: typeof KEY;
}

let service: RunningService;
let told: jest.SpyInstance<Promise<void>, [PaymentNotice]>;

beforeAll(async () => {
  service = await RunningService.ready({ environment: { WEBHOOK_SECRET } });
}, 60_000);

beforeEach(() => {
  told = hears(service);
});

afterEach(() => jest.restoreAllMocks());

afterAll(() => service.stop());

/** What a service tells those who want to know. */
function hears({ app }: RunningService): jest.SpyInstance<Promise<void>, [PaymentNotice]> {
  return jest.spyOn(app.get(PaymentNotices), 'told').mockResolvedValue();
}

function anEvent(event: object = {}, data: object = {}): object {
  const charge = { charge_key: randomUUID(), order_id: 'ORD-1', amount: 12.99, ...data };
  return { type: 'charge.captured', timestamp: new Date().toISOString(), data: charge, ...event };
}

function now(): number {
  return Math.floor(Date.now() / 1000);
}

/** By hand as the specification has it, so that it shares nothing with what is tested. */
function signature(body: string, id: string, timestamp: number | string, key = KEY): string {
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}

function headersFor(body: string, { id = `msg_${randomUUID()}`, timestamp = now(), key }: Signed = {}): Headers {
  return new Headers({
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signature(body, id, timestamp, key),
  });
}

async function post(body: string, headers: Headers, to: RunningService = service): Promise<Answer> {
  headers.set('content-type', 'application/json');
  const response = await fetch(`${to.url}/api/v1/payments/webhook`, { method: 'POST', body, headers });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text && JSON.parse(text) };
}

/** Posts an event that is signed as it should be. */
function tell(event: object, signed: Signed = {}): Promise<Answer> {
  const body = JSON.stringify(event);
  return post(body, headersFor(body, signed));
}

const REFUSED = { status: 401, body: { code: 'invalid_webhook_signature' } };

describe('A signature', () => {
  it('is the one of the example of the specification', () => {
    const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
    const signatures = new WebhookSignatures(loadConfig({ WEBHOOK_SECRET: secret }));
    expect(signatures.headersFor('{"test": 2432232314}', 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330_000)).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });

  it('of one process without a secret is not that of another', () => {
    const [one, other] = [new WebhookSignatures(loadConfig({})), new WebhookSignatures(loadConfig({}))];
    const headers = one.headersFor('{}', 'msg_1', Date.now());
    expect(() => one.assertSigned(headers, Buffer.from('{}'))).not.toThrow();
    expect(() => other.assertSigned(headers, Buffer.from('{}'))).toThrow(InvalidWebhookSignature);
  });
});

describe('An event of the payment provider', () => {
  it('is told with its id', async () => {
    const [id, key] = ['msg_1', randomUUID()];
    expect(await tell(anEvent({}, { charge_key: key }), { id })).toMatchObject({ status: 204, body: '' });
    expect(told.mock.calls).toEqual([[{ webhookId: id, key, orderId: 'ORD-1', amount: 1_299, result: CAPTURED }]]);
  });

  it.each([
    [{ reason: 'declined_by_issuer' }, 'declined_by_issuer'],
    [{}, 'declined'],
  ])('that a charge was declined says why: %j', async (data, reason) => {
    expect((await tell(anEvent({ type: 'charge.declined' }, data))).status).toBe(204);
    expect(told.mock.calls).toMatchObject([[{ result: { outcome: 'declined', reason } }]]);
  });

  it('is to be told again where it could not be taken', async () => {
    told.mockRejectedValueOnce(new DatabaseUnavailable('away'));
    expect(await tell(anEvent())).toMatchObject({ status: 503, body: { code: 'ledger_unavailable' } });
  });

  it.each([
    ['type', { type: 'charge.forgotten' }, {}],
    ['timestamp', { timestamp: 'yesterday' }, {}],
    ['data', { data: null }, {}],
    ['data', { data: [] }, {}],
    ['data.charge_key', {}, { charge_key: '' }],
    ['data.charge_key', {}, { charge_key: 'x'.repeat(129) }],
    ['data.order_id', {}, { order_id: 7 }],
    ['data.amount', {}, { amount: '12.99' }],
    ['data.amount', {}, { amount: 0 }],
    ['data.amount', {}, { amount: 0.001 }],
    ['data.amount', {}, { amount: 1e-320 }],
    ['data.amount', {}, { amount: 12.345 }],
    ['data.amount', {}, { amount: 1e12 }],
    ['data.reason', {}, { reason: null }],
    ['data.reason', {}, { reason: 'two\nlines' }],
    ['unexpected', { unexpected: 1 }, {}],
  ])('with a wrong %s is refused although it is signed: %j %j', async (field, event, data) => {
    const answer = await tell(anEvent(event, data));
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_input' } });
    expect(answer.body.errors.map((wrong: { field: string }) => wrong.field)).toContain(field);
    expect(told).not.toHaveBeenCalled();
  });

  it('that is no JSON, or nothing, is refused although it is signed', async () => {
    expect(await post('', headersFor(''))).toMatchObject({ status: 400 });
    expect(await post('{', headersFor('{'))).toMatchObject({ status: 400, body: { code: 'malformed_body' } });
  });
});

describe('An event that the payment provider did not sign', () => {
  const body = JSON.stringify(anEvent());

  afterEach(() => expect(told).not.toHaveBeenCalled());

  it.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'])('is refused without %s', async (header) => {
    const headers = headersFor(body);
    headers.delete(header);
    expect(await post(body, headers)).toMatchObject(REFUSED);
    headers.set(header, '');
    expect(await post(body, headers)).toMatchObject(REFUSED);
  });

  it('is refused with the signature of another body', async () => {
    const other = body.replace('12.99', '12.98');
    expect(other).not.toBe(body);
    expect(await post(other, headersFor(body))).toMatchObject(REFUSED);
    // The same to whoever reads it as JSON.
    expect(await post(`${body} `, headersFor(body))).toMatchObject(REFUSED);
  });

  it.each([
    ['webhook-id', 'msg_other'],
    ['webhook-timestamp', String(now() - 1)],
  ])('is refused with another %s than was signed', async (header, value) => {
    const headers = headersFor(body);
    headers.set(header, value);
    expect(await post(body, headers)).toMatchObject(REFUSED);
  });

  it.each([
    ['old', -TOLERANCE_SECONDS - 1],
    ['new', TOLERANCE_SECONDS + 60],
  ])('is refused where it is too %s', async (_what, seconds) => {
    expect(await post(body, headersFor(body, { timestamp: now() + seconds }))).toMatchObject(REFUSED);
  });

  it.each(['', 'NaN', '1e99', 'Infinity', '-1', 'today'])('is refused at the time %j', async (timestamp) => {
    const headers = headersFor(body, { id: 'msg_1' });
    headers.set('webhook-timestamp', timestamp);
    headers.set('webhook-signature', signature(body, 'msg_1', timestamp));
    expect(await post(body, headers)).toMatchObject(REFUSED);
  });

  it('is refused where it is signed with another secret, or an empty one', async () => {
    for (const key of [Buffer.from('another'), Buffer.alloc(0), Buffer.from(WEBHOOK_SECRET)]) {
      expect(await post(body, headersFor(body, { key }))).toMatchObject(REFUSED);
    }
  });

  it.each(['v1', 'v1,', ',', ' ', 'v1,undefined', 'v1,null', 'v2,#', 'v1a,#', '#', 'v1,#AA', 'v1=#'])(
    'is refused with the signature %s',
    async (forged) => {
      const headers = headersFor(body);
      const good = headers.get('webhook-signature')!.slice('v1,'.length);
      headers.set('webhook-signature', forged.replace('#', good));
      expect(await post(body, headers)).toMatchObject(REFUSED);
    },
  );

  it('is refused with a longer id, and at a greater length, than any event has', async () => {
    expect(await post(body, headersFor(body, { id: 'x'.repeat(129) }))).toMatchObject(REFUSED);
    const long = JSON.stringify(anEvent({}, { reason: 'x'.repeat(70_000) }));
    expect(await post(long, headersFor(long))).toMatchObject({ status: 413, body: { code: 'body_too_large' } });
  });

  it('is refused before anything of it is looked at', async () => {
    for (const unsigned of ['{"unexpected": 1}', '']) {
      expect(await post(unsigned, new Headers())).toMatchObject(REFUSED);
    }
    expect(await post('{"unexpected": 1}', headersFor(body))).toMatchObject(REFUSED);
  });
});

describe('One of several signatures', () => {
  it('is enough, as while secrets are exchanged', async () => {
    const body = JSON.stringify(anEvent());
    const headers = headersFor(body);
    const [good, forged] = [headers.get('webhook-signature')!, signature(body, 'msg_other', now())];
    for (const list of [`${forged} ${good}`, `${good} ${forged}`, `v1a,nonsense v1 ${good}`]) {
      headers.set('webhook-signature', list);
      expect((await post(body, headers)).status).toBe(204);
    }
    expect(told).toHaveBeenCalledTimes(3);
  });

  it('of bytes that are no ASCII is as good', async () => {
    expect((await tell(anEvent({ type: 'charge.declined' }, { reason: 'Konto überzogen 💸' }))).status).toBe(204);
    expect(told.mock.calls).toMatchObject([[{ result: { reason: 'Konto überzogen 💸' } }]]);
  });
});

describe('A late charge', () => {
  /** One that is captured some time later. */
  async function aLateCharge(on: RunningService = service): Promise<string> {
    const key = randomUUID();
    const charge: Charge = {
      key,
      orderId: `ORD-${key}`,
      amount: cents(12_99),
      currency: 'USD',
      method: 'TEST-LATE-WEBHOOK',
    };
    await expect(on.app.get(PaymentGateway).charge(charge)).rejects.toThrow('did not answer in time');
    return key;
  }

  interface Sent {
    id: string;
    attempts: number;
    isDelivered: boolean;
  }

  async function sent(key: string, on: RunningService = service): Promise<Sent | undefined> {
    const [webhook] = await on.database.query<Sent>(
      sql`select id::text as id, attempts, delivered_at is not null as "isDelivered"
          from simulated_webhooks where charge_key = ${key}`,
    );
    return webhook;
  }

  async function isDelivered(key: string, on: RunningService = service): Promise<Sent> {
    return eventually(async () => {
      const webhook = await sent(key, on);
      expect(webhook).toMatchObject({ isDelivered: true });
      return webhook!;
    });
  }

  it('is captured after a while, and told once', async () => {
    const key = await aLateCharge();
    const gateway = service.app.get(PaymentGateway);
    expect(await gateway.find(key)).toBe('processing');
    const { id, attempts } = await isDelivered(key);
    expect(attempts).toBe(1);
    expect(told.mock.calls).toEqual([
      [{ webhookId: id, key, orderId: expect.stringMatching(/^ORD-/), amount: 1_299, result: CAPTURED }],
    ]);
    expect(await gateway.find(key)).toBe('captured');
    expect(await gateway.void(key)).toBe('captured');
  });

  it('is told until it is taken, always by one id', async () => {
    told.mockRejectedValueOnce(new DatabaseUnavailable('away')).mockRejectedValueOnce(new Error('a fault of ours'));
    const key = await aLateCharge();
    const { id } = await isDelivered(key);
    expect(told.mock.calls).toEqual(
      Array(3).fill([{ webhookId: id, key, orderId: expect.stringMatching(/^ORD-/), amount: 1_299, result: CAPTURED }]),
    );
  });

  it('is given up after ten attempts', async () => {
    told.mockRejectedValue(new DatabaseUnavailable('away'));
    const key = await aLateCharge();
    await eventually(async () => expect(await sent(key)).toMatchObject({ attempts: 1 }));
    const isDueAgain = (attempts: number): Promise<unknown> =>
      service.database.query(
        sql`update simulated_webhooks set attempts = ${attempts}, next_attempt_at = now() where charge_key = ${key}`,
      );
    await isDueAgain(9);
    await eventually(async () => expect(await sent(key)).toMatchObject({ attempts: 10 }));
    const webhooks = service.app.get(SimulatedWebhooks);
    await webhooks.sweep(); // counted before it is told: the sweep that tells it has ended now
    await isDueAgain(10);
    told.mockClear();
    await webhooks.sweep(); // which may be one that has looked already
    await webhooks.sweep();
    expect(told).not.toHaveBeenCalled();
    expect(await sent(key)).toMatchObject({ attempts: 10, isDelivered: false });
  });

  it('is neither captured nor told when it was voided first', async () => {
    const [key, gateway] = [await aLateCharge(), service.app.get(PaymentGateway)];
    expect(await gateway.void(key)).toBe('voided');
    const other = await aLateCharge(); // which is due after it
    await isDelivered(other);
    expect([await gateway.find(key), await sent(key)]).toEqual(['declined', undefined]);
  });

  it('is told although the process ended meanwhile, in the midst of telling it, too', async () => {
    const world = await aWorld();
    let running = await RunningService.ready({ world });
    try {
      const key = await aLateCharge(running);
      const cutOff = hears(running).mockReturnValue(new Promise(() => undefined));
      await eventually(() => expect(cutOff).toHaveBeenCalled());
      await running.stop();

      running = await RunningService.ready({ world });
      const heard = hears(running);
      expect(await sent(key, running)).toMatchObject({ attempts: 1, isDelivered: false });
      await running.database.query(sql`update simulated_webhooks set next_attempt_at = now()`);
      const { id } = await isDelivered(key, running);
      for (const { mock } of [cutOff, heard]) {
        expect(mock.calls).toEqual([
          [{ webhookId: id, key, orderId: expect.stringMatching(/^ORD-/), amount: 1_299, result: CAPTURED }],
        ]);
      }
    } finally {
      await running.stop();
      await world.destroy();
    }
  }, 60_000);

  it('is told where everybody has to log in, with a secret that nobody was given', async () => {
    const secured = await RunningService.ready({ environment: SECURED });
    try {
      const heard = hears(secured);
      const body = JSON.stringify(anEvent());
      expect(await post(body, headersFor(body), secured)).toMatchObject(REFUSED);
      const key = await aLateCharge(secured);
      await isDelivered(key, secured);
      expect(heard.mock.calls).toMatchObject([[{ key }]]);
    } finally {
      await secured.stop();
    }
  }, 60_000);

  itWithRedis(
    'is told by one of several processes',
    async () => {
      const world = await aWorld();
      const first = await RunningService.ready({ world });
      const both = [first, await RunningService.ready({ world })];
      try {
        const heard = both.map(hears);
        const keys = await Promise.all(Array.from({ length: 60 }, (_, i) => aLateCharge(both[i % 2])));
        // Both look at once, again and again.
        await eventually(async () => {
          await Promise.all(both.map(({ app }) => app.get(SimulatedWebhooks).sweep()));
          for (const key of keys) expect(await sent(key, first)).toMatchObject({ isDelivered: true });
        });
        const toldOf = heard.flatMap(({ mock }) => mock.calls.map(([notice]) => notice.key));
        expect(toldOf.sort()).toEqual(keys.sort());
      } finally {
        for (const each of both.reverse()) await each.stop();
        await world.destroy();
      }
    },
    60_000,
  );
});
