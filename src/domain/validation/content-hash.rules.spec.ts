import fc from 'fast-check';
import { isDeepStrictEqual } from 'node:util';
import type { ValidatedMessage } from '../order-event.js';
import { rawHash } from './content-hash.rules.js';
import { judge } from './order-event.rules.js';
import { MAX_CENTS } from '../money.js';

const item = { product_id: 'P1', quantity: 2, price_per_unit: 2.5 };
const order = {
  order_id: 'ORD1',
  user_id: 'U1',
  order_timestamp: '2024-03-01T10:00:00Z',
  order_value: 5,
  items: [item],
  shipping_address: 'Main Street 5, Zürich',
  payment_method: 'CARD',
  currency: 'USD',
};
const refund = {
  type: 'refund',
  refund_id: 'R1',
  order_id: 'ORD1',
  refund_timestamp: '2024-03-02T10:00:00Z',
  amount: 2.5,
};

function judged(event: object | string): ValidatedMessage {
  const body = typeof event === 'string' ? event : JSON.stringify(event);
  const at = Date.UTC(2024, 4, 1);
  return judge(
    { messageId: 'm', body, sentAt: at, receivedAt: at },
    { currency: 'USD', orderValueMismatch: 'correct', maxOrderCents: MAX_CENTS },
  );
}

const contentOf = (event: object | string): string => judged(event).contentHash;
const failureOf = (event: object | string): string => judged(event).failureHash;
const orderWith = (changes: object): string => contentOf({ ...order, ...changes });
const itemWith = (changes: object): string => orderWith({ items: [{ ...item, ...changes }] });

describe('The content of an order that counts', () => {
  it.each([
    ['the claimed value', { order_value: 4.99 }],
    ['a missing claimed value', { order_value: undefined }],
    ['unknown fields', { note: 'fragile', type: 'order' }],
    ['letter case of ids', { order_id: 'ord1', user_id: 'u1', currency: 'usd', payment_method: 'Card' }],
    ['white space around', { order_id: ' ORD1 ', shipping_address: 'Main Street 5, Zürich\n' }],
    ['runs of white space', { shipping_address: 'Main  Street\t5,\n Zürich' }],
    ['how letters are composed', { shipping_address: 'Main Street 5, Zu\u0308rich' }],
    ['a currency left out', { currency: undefined }],
    ['the notation of a time', { order_timestamp: '2024-03-01 11:00:00.000+0100' }],
    ['numbers as text', { items: [{ product_id: 'P1', quantity: '2', price_per_unit: '2.50' }] }],
    ['the notation of a number', { items: [{ product_id: 'P1', quantity: '2.0', price_per_unit: '25e-1' }] }],
    ['unknown fields of an item', { items: [{ ...item, name: 'Mug' }] }],
    ['a product at one price on two lines', { items: [1, 1].map((quantity) => ({ ...item, quantity })) }],
  ])('does not depend on %s', (_what, changes) => {
    expect(orderWith(changes)).toBe(contentOf(order));
  });

  it('does not depend on the order of fields or of lines', () => {
    expect(contentOf(Object.fromEntries(Object.entries(order).reverse()))).toBe(contentOf(order));
    const items = [item, { ...item, product_id: 'P2' }, { ...item, price_per_unit: 3 }];
    expect(orderWith({ items })).toBe(orderWith({ items: items.toReversed() }));
  });

  it('depends on all else', () => {
    const hashes = [
      contentOf(order),
      orderWith({ order_id: 'ORD2' }),
      orderWith({ user_id: 'U2' }),
      orderWith({ order_timestamp: '2024-03-01T10:00:00.001Z' }),
      orderWith({ shipping_address: 'main street 5, Zürich' }),
      orderWith({ shipping_address: undefined }),
      orderWith({ shipping_address: undefined, payment_method: 'Main Street 5, Zürich' }),
      orderWith({ payment_method: 'CASH' }),
      orderWith({ items: [item, item] }),
      itemWith({ product_id: 'P2' }),
      itemWith({ quantity: 3 }),
      itemWith({ price_per_unit: 2.51 }),
      itemWith({ price_per_unit: '2.50000000000000000001' }),
      itemWith({ price_per_unit: '2.50000000000000000002' }),
      contentOf(refund),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it('is none where the order can not count: all that the body says stands for it', () => {
    for (const changes of [{ items: [] }, { user_id: 5 }, { currency: 'EUR' }, { order_value: -5 }]) {
      const { contentHash, failureHash } = judged({ ...order, ...changes });
      expect(contentHash).toBe(failureHash);
    }
  });
});

describe('The content of a refund that counts', () => {
  const refundWith = (changes: object): string => contentOf({ ...refund, ...changes });

  it('does not depend on notation, a currency left out and unknown fields', () => {
    const changes = { amount: '2.50', note: 'x', refund_timestamp: '2024-03-02T10:00Z', currency: 'usd' };
    expect(refundWith(changes)).toBe(contentOf(refund));
  });

  it('depends on all else', () => {
    const hashes = [
      contentOf(refund),
      refundWith({ refund_id: 'R2' }),
      refundWith({ order_id: 'ORD2' }),
      refundWith({ amount: 2.51 }),
      refundWith({ refund_timestamp: '2024-03-02T10:00:00.001Z' }),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });
});

describe('What a body says', () => {
  it('does not depend on the order of fields, white space and notation', () => {
    const hash = failureOf('{"a":1,"b":{"c":[1.5,"x"],"d":null}}');
    expect(failureOf(' {"b" : {"d":null, "c":[1.50,"\\u0078"]}, "a":1.0}\n')).toBe(hash);
  });

  it('is told apart to the last field, digit and white space', () => {
    const bodies = [
      '{"a":1}',
      '{"a":2}',
      '{"a":"1"}',
      '{"a":[1]}',
      '{"a":{"b":1}}',
      '{"a":" 1"}',
      '{"a":1,"b":null}',
      '{"A":1}',
      '{"a":2,"a":1}',
      '{"a":3,"a":1}',
      '{"a":[{"b":2,"b":1}]}',
      '{"a":[{"b":1}]}',
      '{"a":1.0000000000000000000001}',
      '{"a":1.0000000000000000000002}',
      '{"a":1e-400}',
      '{"a":2e-400}',
      '{"a":0}',
      '{"a":1e999}',
      '{"a":-1e999}',
      '{"a":"\\ud800"}',
      '{"a":"\\ud801"}',
      JSON.stringify('{"a":1}'),
      '[{"a":1}]',
      'a',
      ' a',
    ];
    expect(new Set(bodies.map(failureOf)).size).toBe(bodies.length);
  });

  it('does not take what stands within a text for a name', () => {
    expect(failureOf('{"a":"\\"b\\":1","b":"\\\\"}')).toBe(failureOf('{"b" : "\\\\", "a" : "\\"b\\":1"}'));
  });

  it('does not take digits within a text for a number', () => {
    expect(failureOf('{"a":"4e1 12345678901234567890","b":1}')).toBe(
      failureOf('{"b":1,"a":"4e1 12345678901234567890"}'),
    );
  });

  it.each([
    ['is longer than 64 KiB', `{"a":"${'x'.repeat(65_536)}"}`],
    ['is nested deeper than 100 levels', `{"a":${'['.repeat(101)}${']'.repeat(101)}}`],
    ['is nested very deeply', `{"a":${'['.repeat(500_000)}${']'.repeat(500_000)}}`],
    ['has a name twice in one object', '{"a":[{"b":"x","b" :"\\""}]}'],
    ['stands within a text', JSON.stringify('{"a":1}')],
    ['is no object', '[1]'],
    ['is no JSON', '{'],
  ])('is the body as received where it %s', (_what, body) => {
    expect(failureOf(body)).toBe(rawHash(body));
  });

  it('is the same of two bodies only where their JSON values are equal', () => {
    const names = fc.constantFrom('order_id', 'user_id', 'items', 'type', 'orderId', 'total', 'meta');
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 3 },
        fc.constantFrom('ORD1', 'ORD2', 'refund', ' ', '', 0, 1, 1.5, null, true),
        fc.array(tie('any'), { maxLength: 2 }),
        fc.dictionary(names, tie('any'), { maxKeys: 3, noNullPrototype: true }),
      ),
    })).any;
    fc.assert(
      fc.property(
        fc.array(fc.dictionary(names, value, { maxKeys: 4, noNullPrototype: true }), { minLength: 2, maxLength: 12 }),
        (events) => {
          for (const one of events) {
            for (const other of events) expect(failureOf(one) === failureOf(other)).toBe(isDeepStrictEqual(one, other));
          }
        },
      ),
    );
  });
});
