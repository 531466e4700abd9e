import fc from 'fast-check';
import { type ValidatedMessage, type ValidationPolicy, type Reason, REASONS } from '../order-event.js';
import { loadConfig } from '../../shared/config.js';
import { rawHash } from './content-hash.rules.js';
import { judge } from './order-event.rules.js';
import { cents, MAX_CENTS } from '../money.js';

const SENT_AT = Date.parse('2024-03-01T12:00:00Z');
const correcting: ValidationPolicy = { currency: 'USD', orderValueMismatch: 'correct', maxOrderCents: MAX_CENTS };
const rejecting: ValidationPolicy = { currency: 'USD', orderValueMismatch: 'reject', maxOrderCents: MAX_CENTS };

function anItem(changes: object = {}): object {
  return { product_id: 'P1', quantity: 2, price_per_unit: 2.5, ...changes };
}

/** An order worth 5.00; a change to undefined leaves the field out. */
function anOrder(changes: object = {}): object {
  return {
    order_id: 'ORD1',
    user_id: 'U1',
    order_timestamp: '2024-03-01T10:00:00Z',
    order_value: 5,
    items: [anItem()],
    ...changes,
  };
}

function judgeBody(body: string, policy = correcting): ValidatedMessage {
  return judge({ messageId: 'M1', body, sentAt: SENT_AT, receivedAt: SENT_AT + 50 }, policy);
}

function judgeOrder(changes: object = {}, policy = correcting): ValidatedMessage {
  return judgeBody(JSON.stringify(anOrder(changes)), policy);
}

/** An order whose JSON is changed as text, for what JSON.stringify can't write. */
function judgeText(from: string, to: string, policy = correcting): ValidatedMessage {
  return judgeBody(
    JSON.stringify(anOrder()).replace(from, () => to),
    policy,
  );
}

function validateItem(changes: object): ValidatedMessage {
  return judgeOrder({ order_value: undefined, items: [anItem(changes)] });
}

describe('judge', () => {
  it('accepts an order whose claimed value is the sum of its items', () => {
    const body = JSON.stringify(anOrder());
    expect(judgeBody(body)).toEqual({
      messageId: 'M1',
      body,
      sentAt: SENT_AT,
      receivedAt: SENT_AT + 50,
      kind: 'order',
      outcome: 'accepted',
      reasons: [],
      orderId: 'ORD1',
      userId: 'U1',
      refundId: null,
      orderedAt: Date.parse('2024-03-01T10:00:00Z'),
      value: 500,
      claimed: 500,
      lines: [{ product_id: 'P1', quantity: 2, price_per_unit: '2.5', cents: 500 }],
      contentHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      failureHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
  });

  it('accepts everything optional, and fields it does not know', () => {
    const optional = {
      currency: ' usd ',
      shipping_address: 'Straße 5, Zürich',
      payment_method: 'Card',
      note: { gift: true },
    };
    expect(judgeOrder(optional).outcome).toBe('accepted');
    expect(judgeOrder({ currency: null, shipping_address: '', payment_method: ' ' }).outcome).toBe('accepted');
  });

  it('cleans before it judges', () => {
    const judged = judgeOrder({
      order_id: ' ord1 ',
      user_id: 'u1\n',
      order_timestamp: ' 2024-03-01 11:00+01:00 ',
      order_value: ' 5.00 ',
      items: [anItem({ product_id: ' p1', quantity: '2', price_per_unit: ' 2.50 ' })],
    });
    expect(judged).toEqual({ ...judgeOrder(), body: judged.body, failureHash: judged.failureHash });
  });

  it('judges what is inside a JSON string and an SNS envelope', () => {
    const order = JSON.stringify(anOrder());
    const envelope = JSON.stringify({ Type: 'Notification', TopicArn: 'arn:aws:sns:x', Message: order });
    for (const body of [JSON.stringify(order), envelope, JSON.stringify(envelope)]) {
      expect(judgeBody(body)).toEqual({ ...judgeBody(order), body, failureHash: rawHash(body) });
    }
  });

  it('names the one reason why a body is no order event, and hashes it as received', () => {
    for (const [body, reason] of [
      ['oops', 'malformed_json'],
      ['[]', 'not_an_object'],
      [' null', 'not_an_object'],
    ] as const) {
      expect(judgeBody(body)).toEqual({
        messageId: 'M1',
        body,
        sentAt: SENT_AT,
        receivedAt: SENT_AT + 50,
        kind: 'order',
        outcome: 'failed',
        reasons: [reason],
        orderId: null,
        userId: null,
        refundId: null,
        orderedAt: null,
        value: null,
        claimed: null,
        lines: [],
        contentHash: rawHash(body),
        failureHash: rawHash(body),
      });
    }
  });

  it('finds every fault, each once, in the order of the contract', () => {
    const judged = judgeOrder({
      currency: 'EUR',
      payment_method: 7,
      shipping_address: ['Main Street'],
      items: [
        { quantity: 0, price_per_unit: -1 },
        { product_id: 'Ü', quantity: 1.5, price_per_unit: 'free' },
        { product_id: 'P1', quantity: 1_000_001, price_per_unit: 1_000_000_000.01 },
        { product_id: 'P1', quantity: 0 },
        { product_id: 'P1', price_per_unit: 1 },
        'P1',
      ],
      order_value: -5,
      order_timestamp: '2024-03-01T13:00:00Z',
      user_id: 'X1',
      order_id: undefined,
    });
    expect(judged.reasons).toEqual([
      'missing_order_id',
      'invalid_user_id',
      'order_timestamp_in_future',
      'non_positive_order_value',
      'invalid_items',
      'missing_product_id',
      'invalid_product_id',
      'missing_quantity',
      'invalid_quantity',
      'non_positive_quantity',
      'quantity_too_large',
      'missing_price_per_unit',
      'invalid_price_per_unit',
      'negative_price_per_unit',
      'price_per_unit_too_large',
      'unsupported_currency',
      'invalid_shipping_address',
      'invalid_payment_method',
    ]);
  });

  it('finds everything missing from an object with nothing in it', () => {
    const missing: Reason[] = ['missing_order_id', 'missing_user_id', 'missing_order_timestamp', 'missing_items'];
    expect(judgeBody('{}').reasons).toEqual(missing);
    expect(judgeBody('{}', rejecting).reasons).toEqual([
      'missing_order_id',
      'missing_user_id',
      'missing_order_timestamp',
      'missing_order_value',
      'missing_items',
    ]);
  });

  it('keeps what can be read of a failed order, but no value and no lines', () => {
    expect(judgeOrder({ currency: 'EUR' })).toMatchObject({
      outcome: 'failed',
      orderId: 'ORD1',
      userId: 'U1',
      orderedAt: Date.parse('2024-03-01T10:00:00Z'),
      value: null,
      claimed: 500,
      lines: [],
    });
  });
});

describe('order_id and user_id', () => {
  it.each([
    ['order_id', 'ORD'],
    ['user_id', 'U'],
  ] as const)('may be anything printable after the prefix: %s', (field, prefix) => {
    for (const id of [prefix, `${prefix}~ !"'\\`, prefix.padEnd(128, '7')]) {
      expect(judgeOrder({ [field]: id })).toMatchObject({
        outcome: 'accepted',
        [field === 'user_id' ? 'userId' : 'orderId']: id,
      });
    }
  });

  it.each([
    ['order_id', 'ORD'],
    ['user_id', 'U'],
  ] as const)('are null and a reason where they cannot be read: %s', (field, prefix) => {
    const unreadable = [
      'X1',
      prefix.padEnd(129, '7'),
      `${prefix}é`,
      `${prefix}\u0000`,
      `${prefix}\u007f`,
      `${prefix}\n1`,
    ];
    for (const id of [...unreadable, 7, true, {}, [`${prefix}1`]]) {
      const judged = judgeOrder({ [field]: id });
      expect(judged).toMatchObject({ outcome: 'failed', [field === 'user_id' ? 'userId' : 'orderId']: null });
      expect(judged.reasons).toEqual([`invalid_${field}`]);
    }
    expect(judgeOrder({ [field]: ' ' }).reasons).toEqual([`missing_${field}`]);
  });
});

describe('order_timestamp', () => {
  it('may lie up to 5 minutes after the message was sent', () => {
    expect(judgeOrder({ order_timestamp: '2024-03-01T12:05:00.000Z' }).reasons).toEqual([]);
    const late = judgeOrder({ order_timestamp: '2024-03-01T12:05:00.001Z' });
    expect(late.reasons).toEqual(['order_timestamp_in_future']);
    expect(late.orderedAt).toBe(SENT_AT + 300_001);
  });

  it.each([
    ['2000-01-01T00:00:00Z', '1999-12-31T23:59:59.999Z'],
    ['2000-01-01T05:00+05:00', '2000-01-01T04:59+05:00'],
    ['2100-12-31T23:59:59.999Z', '2101-01-01T00:00:00Z'],
    ['2101-01-01T00:59+01:00', '2100-12-31T23:00-01:00'],
  ])('is in range at %s and out of it at %s', (inside, outside) => {
    const message = { messageId: 'M1', sentAt: Date.parse('2101-01-01T00:00:00Z'), receivedAt: 0 };
    const at = (order_timestamp: string) =>
      judge({ ...message, body: JSON.stringify(anOrder({ order_timestamp })) }, correcting);
    expect(at(inside)).toMatchObject({ reasons: [], orderedAt: Date.parse(inside) });
    expect(at(outside)).toMatchObject({ reasons: ['order_timestamp_out_of_range'], orderedAt: null });
  });

  it('is a reason where it is missing or no ISO 8601', () => {
    expect(judgeOrder({ order_timestamp: null })).toMatchObject({
      reasons: ['missing_order_timestamp'],
      orderedAt: null,
    });
    for (const time of ['01.03.2024', '2024-02-30', 1709287200, {}]) {
      expect(judgeOrder({ order_timestamp: time })).toMatchObject({
        reasons: ['invalid_order_timestamp'],
        orderedAt: null,
      });
    }
  });
});

describe('order_value', () => {
  it.each([
    ['missing', undefined, null],
    ['null', null, null],
    ['no number', 'five', null],
    ['not even text', {}, null],
    ['too high', 5.01, 501],
    ['too low', '4.99', 499],
    ['less than a cent', 0.001, 0],
    ['beyond the bound', 100_000_000_000.01, null],
    ['immense', 1e308, null],
  ])('is corrected where it is %s', (_what, order_value, claimed) => {
    expect(judgeOrder({ order_value })).toMatchObject({ outcome: 'corrected', reasons: [], value: 500, claimed });
  });

  it('is corrected where it is beyond the numbers of JSON', () => {
    expect(judgeText('"order_value":5', '"order_value":1e999')).toMatchObject({ outcome: 'corrected', claimed: null });
  });

  it('is accepted where it is right to the cent', () => {
    for (const order_value of [5.004, 4.995, '4.99999999999999999999']) {
      expect(judgeOrder({ order_value })).toMatchObject({ outcome: 'accepted', value: 500, claimed: 500 });
    }
    expect(judgeOrder({ order_value: 4.9949 }).outcome).toBe('corrected');
  });

  it('compares without the noise of doubles', () => {
    const items = [anItem({ quantity: 3, price_per_unit: 1.1 })];
    for (const order_value of [3.3, 3.3000000000000003]) {
      expect(judgeOrder({ items, order_value })).toMatchObject({ outcome: 'accepted', value: 330 });
    }
  });

  it.each([
    [0, 0],
    ['0.00', 0],
    [-5, -500],
    [-0.001, 0],
    [-1e300, null],
  ])('fails and is not corrected where it is %p', (order_value, claimed) => {
    const reasons: Reason[] = ['non_positive_order_value'];
    expect(judgeOrder({ order_value })).toMatchObject({ outcome: 'failed', reasons, value: null, claimed });
    expect(judgeOrder({ order_value }, rejecting).reasons).toEqual(reasons);
    expect(judgeOrder({ order_value, items: null }).reasons).toEqual([...reasons, 'missing_items']);
  });

  it('knows no negative zero', () => {
    expect(judgeText('"order_value":5', '"order_value":-0').claimed).toBe(0);
  });

  it.each([
    ['missing_order_value', undefined],
    ['invalid_order_value', 'five'],
    ['order_value_mismatch', 5.01],
    ['order_value_mismatch', 1e308],
  ])('fails with %s under the rejecting policy where it is %p', (reason, order_value) => {
    expect(judgeOrder({ order_value }, rejecting)).toMatchObject({ outcome: 'failed', reasons: [reason], value: null });
  });

  it('is accepted under the rejecting policy where it is right', () => {
    expect(judgeOrder({ order_value: '5.00' }, rejecting).outcome).toBe('accepted');
  });

  it('is compared with a sum that can be computed although the order fails', () => {
    const items = [anItem({ product_id: undefined })];
    expect(judgeOrder({ order_value: 7, items }, rejecting).reasons).toEqual([
      'order_value_mismatch',
      'missing_product_id',
    ]);
  });

  it('is not compared with a sum that cannot be computed', () => {
    expect(judgeOrder({ order_value: 7, items: [anItem({ quantity: 0 })] }, rejecting).reasons).toEqual([
      'non_positive_quantity',
    ]);
  });
});

describe('the sum of an order', () => {
  it('must be greater than 0 after rounding', () => {
    for (const price_per_unit of [0, '0.00', 0.0024, '1e-300']) {
      expect(validateItem({ price_per_unit })).toMatchObject({ reasons: ['non_positive_total'], value: null });
    }
    expect(validateItem({ price_per_unit: 0.0025 })).toMatchObject({ reasons: [], value: 1 });
  });

  it('has the content that it has under a higher limit, where it fails for its value alone', () => {
    const under = (maxOrderCents: number, changes: object = {}): ValidatedMessage =>
      judgeOrder(changes, { ...correcting, maxOrderCents });
    const [counted, tooLarge] = [under(MAX_CENTS), under(cents(1))];
    expect(tooLarge).toMatchObject({ outcome: 'failed', reasons: ['order_value_too_large'], value: null, lines: [] });
    expect(tooLarge.contentHash).toBe(counted.contentHash);
    const wrong = under(cents(1), { user_id: 'x' });
    expect(wrong.contentHash).toBe(wrong.failureHash);
  });

  it('may be 100,000,000,000.00 and no cent more', () => {
    expect(loadConfig({ MAX_ORDER_VALUE: '100000000000' }).maxOrderCents).toBe(MAX_CENTS);
    expect(() => loadConfig({ MAX_ORDER_VALUE: '100000000001' })).toThrow('MAX_ORDER_VALUE');
    const most = anItem({ quantity: 100, price_per_unit: 1e9 });
    expect(judgeOrder({ order_value: 1e11, items: [most] })).toMatchObject({ outcome: 'accepted', value: 1e13 });
    const over = [most, anItem({ quantity: 1, price_per_unit: 0.01 })];
    expect(judgeOrder({ order_value: 1e11, items: over }).reasons).toEqual(['order_value_too_large']);
  });

  it('is too large, whatever it is, where it is beyond what a double counts', () => {
    const items = Array.from({ length: 10 }, () => anItem({ quantity: 1_000_000, price_per_unit: 999_999_999.99 }));
    for (const policy of [correcting, rejecting]) {
      expect(judgeOrder({ items }, policy).reasons).toEqual(['order_value_too_large']);
    }
  });
});

describe('items', () => {
  it.each([[undefined], [null], [[]], [' ']])('are missing where they are %p', (items) => {
    expect(judgeOrder({ items }).reasons).toEqual(['missing_items']);
  });

  it.each([[{}], ['P1'], [5], [[null]], [[[]]], [['P1']], [[anItem(), 5]]])(
    'are invalid where they are %p',
    (items) => {
      expect(judgeOrder({ items }).reasons).toEqual(['invalid_items']);
    },
  );

  it('may be 10,000, and are not looked at where they are more', () => {
    const items = Array.from({ length: 10_000 }, () => anItem({ quantity: 1, price_per_unit: 0.01 }));
    expect(judgeOrder({ items, order_value: 100 })).toMatchObject({ outcome: 'accepted', value: 10_000 });
    expect(judgeOrder({ items: [...items, null] }).reasons).toEqual(['too_many_items']);
  });

  it.each([
    ['missing_product_id', { product_id: ' ' }],
    ['invalid_product_id', { product_id: 85123 }],
    ['invalid_product_id', { product_id: 'P\u0000' }],
    ['invalid_product_id', { product_id: 'P'.repeat(129) }],
    ['missing_quantity', { quantity: null }],
    ['invalid_quantity', { quantity: 'two' }],
    ['invalid_quantity', { quantity: 2.5 }],
    ['invalid_quantity', { quantity: -1.5 }],
    ['invalid_quantity', { quantity: '1.00000000000000000001' }],
    ['invalid_quantity', { quantity: true }],
    ['non_positive_quantity', { quantity: 0 }],
    ['non_positive_quantity', { quantity: '-1' }],
    ['quantity_too_large', { quantity: 1_000_001 }],
    ['quantity_too_large', { quantity: '1e300' }],
    ['missing_price_per_unit', { price_per_unit: '' }],
    ['invalid_price_per_unit', { price_per_unit: '1,50' }],
    ['invalid_price_per_unit', { price_per_unit: 'Infinity' }],
    ['invalid_price_per_unit', { price_per_unit: '1e999' }],
    ['negative_price_per_unit', { price_per_unit: -0.01 }],
    ['negative_price_per_unit', { price_per_unit: '-0.0000000000000000000001' }],
    ['price_per_unit_too_large', { price_per_unit: 1_000_000_000.01 }],
    ['price_per_unit_too_large', { price_per_unit: '1000000000.00000000000000000001' }],
  ])('fail with %s for %p', (reason, changes) => {
    expect(validateItem(changes)).toMatchObject({ outcome: 'failed', reasons: [reason] });
  });

  it.each([
    [{ quantity: 1_000_000 }],
    [{ quantity: '2.0' }],
    [{ quantity: '1e1' }],
    [{ quantity: 1, price_per_unit: 1_000_000_000 }],
    [{ product_id: 'P'.repeat(128) }],
  ])('are within the bounds with %p', (changes) => {
    expect(validateItem(changes).outcome).toBe('corrected');
  });

  it('may be free where the order is not', () => {
    const items = [
      anItem(),
      anItem({ price_per_unit: 0 }),
      JSON.parse('{"product_id":"P2","quantity":1,"price_per_unit":-0}'),
    ];
    expect(judgeOrder({ items }).lines.map((line) => [line.price_per_unit, line.cents])).toEqual([
      ['2.5', 500],
      ['0', 0],
      ['0', 0],
    ]);
  });

  it('share the value of their order to the cent', () => {
    const items = Array.from({ length: 3 }, () =>
      anItem({ quantity: 1, price_per_unit: '3.333333333333333333333333' }),
    );
    const judged = judgeOrder({ items, order_value: 10 });
    expect(judged).toMatchObject({ outcome: 'accepted', value: 1000 });
    expect(judged.lines.map((line) => line.cents)).toEqual([333, 334, 333]);
  });
});

describe('optional fields', () => {
  it.each([
    ['unsupported_currency', { currency: 'EUR' }],
    ['unsupported_currency', { currency: 840 }],
    ['unsupported_currency', { currency: 'uſd' }],
    ['invalid_shipping_address', { shipping_address: { street: 'Main Street' } }],
    ['invalid_payment_method', { payment_method: false }],
  ])('fail with %s for %p', (reason, changes) => {
    expect(judgeOrder(changes).reasons).toEqual([reason]);
  });
});

describe('a hostile body', () => {
  it('is judged where it is nested a megabyte deep', () => {
    const levels = 524_000;
    for (const field of ['order_id', 'items', 'shipping_address', 'note']) {
      const body = `{"${field}":${'['.repeat(levels)}${']'.repeat(levels)}}`;
      expect(judgeBody(body)).toMatchObject({ outcome: 'failed', orderId: null });
    }
    expect(judgeBody('{"a":'.repeat(200_000)).reasons).toEqual(['malformed_json']);
  });

  it('cannot smuggle fields in by __proto__', () => {
    const body = JSON.stringify(anOrder()).replace('"order_id"', '"__proto__":{"order_id":"ORD9"},"order_idx"');
    expect(judgeBody(body)).toMatchObject({ reasons: ['missing_order_id'], orderId: null });
    expect(judgeText('"product_id":"P1"', '"__proto__":{"product_id":"P1"}').reasons).toEqual(['missing_product_id']);
    expect(judgeText('"ORD1"', '{"__proto__":null}').reasons).toEqual(['invalid_order_id']);
  });

  it('may hold lone surrogates and escaped NULs', () => {
    for (const text of ['"\\ud800"', '"a\\u0000b"', '"\\udfff\\ud800"']) {
      expect(judgeText('"ORD1"', text).reasons).toEqual(['invalid_order_id']);
      expect(judgeText('"order_value"', `"shipping_address":${text},"order_value"`).outcome).toBe('accepted');
    }
    expect(judgeBody('\ud800').contentHash).toHaveLength(64);
  });

  it('may hold numbers beyond any bound', () => {
    expect(judgeText('"quantity":2', '"quantity":1e999').reasons).toEqual(['invalid_quantity']);
    expect(judgeText('"quantity":2', `"quantity":${'9'.repeat(300)}`).reasons).toEqual(['quantity_too_large']);
    expect(judgeText('2.5', '-1e999').reasons).toEqual(['invalid_price_per_unit']);
    expect(judgeText('2.5', '1e308').reasons).toEqual(['price_per_unit_too_large']);
    expect(judgeText('2.5', '"1e-9999999999"').reasons).toEqual(['non_positive_total']);
    expect(judgeText('2.5', '"1e9999999999"').reasons).toEqual(['invalid_price_per_unit']);
  });

  it('counts by its last field where a name is given twice', () => {
    expect(judgeText('"user_id":"U1"', '"user_id":"U1","user_id":"U2"').userId).toBe('U2');
  });
});

describe('any body', () => {
  const junk = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom('', ' 2 ', '2.50', -1, 0, 2.5, 1e308, '2024-03-01', 'ORD1', 'u1'),
  );
  const junkItem = fc.oneof(
    fc.record({ product_id: junk, quantity: junk, price_per_unit: junk }, { requiredKeys: [] }),
    junk,
  );
  const junkOrder = fc.record(
    {
      order_id: junk,
      user_id: junk,
      order_timestamp: junk,
      order_value: junk,
      items: fc.oneof(fc.array(junkItem), junk),
      currency: junk,
      shipping_address: junk,
      payment_method: junk,
    },
    { requiredKeys: [] },
  );
  const price = fc.oneof(
    fc.integer({ min: 0, max: 100_000 }).map((cents) => cents / 100),
    fc.double({ min: 0, max: 1e6, noNaN: true }),
    fc.stringMatching(/^[0-9]{1,6}\.[0-9]{1,20}$/),
  );
  const goodItem = fc.record({
    product_id: fc.stringMatching(/^[ -~]{0,5}P$/),
    quantity: fc.integer({ min: 1, max: 10_000 }),
    price_per_unit: price,
  });
  const goodOrder = fc
    .record({ items: fc.array(goodItem, { minLength: 1 }), order_value: fc.oneof(price, fc.constant(undefined)) })
    .map((changes) => anOrder(changes));
  const body = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.json(),
    junkOrder.map((order) => JSON.stringify(order)),
    goodOrder.map((order) => JSON.stringify(order)),
  );
  const policy = fc.constantFrom(correcting, rejecting);

  it('is judged without throwing, with a verdict that holds together', () => {
    fc.assert(
      fc.property(body, policy, (text, given) => {
        const judged = judgeBody(text, given);
        expect(judged.contentHash).toMatch(/^[0-9a-f]{64}$/);
        expect(judged.outcome === 'failed').toBe(judged.reasons.length > 0);
        expect(judged.reasons).toEqual(Object.keys(REASONS).filter((code) => judged.reasons.includes(code as Reason)));
        if (judged.outcome === 'failed') {
          expect(judged).toMatchObject({ value: null, lines: [] });
        } else {
          expect(judged.value).toBeGreaterThan(0);
          expect(judged.claimed === judged.value).toBe(judged.outcome === 'accepted');
          expect(judged.lines.reduce((sum, line) => sum + line.cents, 0)).toBe(judged.value);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('is judged the same every time', () => {
    fc.assert(
      fc.property(body, policy, (text, given) => {
        expect(judgeBody(text, given)).toEqual(judgeBody(text, given));
      }),
    );
  });
});
