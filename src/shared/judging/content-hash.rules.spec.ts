import { createHash } from 'node:crypto';
import { contentHash, rawHash } from './content-hash.rules.js';
import { type JsonObject, readBody } from './message-body.rules.js';
import { cleanOrder } from './order-cleaning.rules.js';

const item = { product_id: 'P1', quantity: 2, price_per_unit: 2.5 };
const order = {
  order_id: 'ORD1',
  user_id: 'U1',
  order_timestamp: '2024-03-01T10:00:00Z',
  order_value: 5,
  items: [item],
  shipping_address: 'Main Street 5',
  payment_method: 'CARD',
  currency: 'USD',
};

function hashOf(event: object | string): string {
  const body = typeof event === 'string' ? event : JSON.stringify(event);
  return contentHash(cleanOrder(readBody(body) as JsonObject), body);
}

function hashWith(changes: object): string {
  return hashOf({ ...order, ...changes });
}

function hashWithItem(changes: object): string {
  return hashWith({ items: [{ ...item, ...changes }] });
}

function nested(levels: number): string {
  return `{"order_id":"ORD1","shipping_address":${'['.repeat(levels)}${']'.repeat(levels)}}`;
}

describe('contentHash', () => {
  it('is the SHA-256 of the canonical JSON without the claimed value', () => {
    const canonical =
      '{"currency":"USD","items":[{"price_per_unit":2.5,"product_id":"P1","quantity":2}],"order_id":"ORD1",' +
      '"order_timestamp":"2024-03-01T10:00:00.000Z","payment_method":"CARD","shipping_address":"Main Street 5",' +
      '"user_id":"U1"}';
    expect(hashOf(order)).toBe(createHash('sha256').update(canonical).digest('hex'));
  });

  it('omits what is missing', () => {
    expect(hashOf({ order_id: 'ORD1', user_id: null, items: [{}] })).toBe(rawHash('{"items":[{}],"order_id":"ORD1"}'));
  });

  it.each([
    ['the claimed value', { order_value: 4.99 }],
    ['a missing claimed value', { order_value: undefined }],
    ['an unreadable claimed value', { order_value: {} }],
    ['unknown fields', { note: 'fragile', type: 'order' }],
    ['letter case of ids', { order_id: 'ord1', user_id: 'u1', currency: 'usd', payment_method: 'Card' }],
    ['white space around', { order_id: ' ORD1 ', shipping_address: 'Main Street 5\n' }],
    ['the notation of a time', { order_timestamp: '2024-03-01 11:00:00.000+0100' }],
    ['numbers as text', { items: [{ product_id: 'P1', quantity: '2', price_per_unit: '2.50' }] }],
    ['the notation of a number', { items: [{ product_id: 'P1', quantity: '2.0', price_per_unit: '25e-1' }] }],
    ['unknown fields of an item', { items: [{ ...item, name: 'Mug' }] }],
  ])('does not depend on %s', (_what, changes) => {
    expect(hashWith(changes)).toBe(hashOf(order));
  });

  it('does not depend on the order of fields', () => {
    expect(hashOf(Object.fromEntries(Object.entries(order).reverse()))).toBe(hashOf(order));
  });

  it.each([
    ['order_id', { order_id: 'ORD2' }],
    ['user_id', { user_id: 'U2' }],
    ['time', { order_timestamp: '2024-03-01T10:00:00.001Z' }],
    ['shipping address', { shipping_address: 'main street 5' }],
    ['payment method', { payment_method: 'CASH' }],
    ['currency', { currency: undefined }],
    ['number of items', { items: [item, item] }],
    ['no items', { items: [] }],
  ])('depends on %s', (_what, changes) => {
    expect(hashWith(changes)).not.toBe(hashOf(order));
  });

  it('depends on every field of an item, to the last digit', () => {
    const hashes = [
      hashOf(order),
      hashWithItem({ product_id: 'P2' }),
      hashWithItem({ quantity: 3 }),
      hashWithItem({ price_per_unit: 2.51 }),
      hashWithItem({ price_per_unit: '2.50000000000000000001' }),
      hashWithItem({ price_per_unit: '2.50000000000000000002' }),
      hashWithItem({ price_per_unit: undefined }),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it('depends on the order of the items', () => {
    const other = { ...item, product_id: 'P2' };
    expect(hashWith({ items: [item, other] })).not.toBe(hashWith({ items: [other, item] }));
  });

  it('tells values it cannot read apart, and from those it can', () => {
    const hashes = [
      hashWithItem({ product_id: '5' }),
      hashWithItem({ product_id: 5 }),
      hashWithItem({ quantity: 'two' }),
      hashWithItem({ quantity: [2] }),
      hashWithItem({ quantity: { a: 1, b: 2 } }),
      hashWith({ order_timestamp: Date.parse(order.order_timestamp) }),
      hashWith({ order_timestamp: 'yesterday' }),
      hashWith({ items: [null] }),
      hashWith({ items: 'none' }),
      hashOf(JSON.stringify(order).replace('"quantity":2', '"quantity":1e999')),
      hashOf(JSON.stringify(order).replace('"quantity":2', '"quantity":-1e999')),
      hashWithItem({ quantity: [null] }),
      hashOf(JSON.stringify(order).replace('"quantity":2', '"quantity":[1e999]')),
      hashOf(JSON.stringify(order).replace('"quantity":2', '"quantity":[-1e999]')),
      hashOf(JSON.stringify(order).replace('"ORD1"', '"\\ud800"')),
      hashOf(JSON.stringify(order).replace('"ORD1"', '"\\ud801"')),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it('does not depend on key order and white space inside values it cannot read', () => {
    expect(hashWith({ shipping_address: { street: 'Main Street', no: [5] } })).toBe(
      hashWith({ shipping_address: { no: [5], street: ' Main Street ' } }),
    );
  });

  it('is over the raw body where there is no known field', () => {
    expect(hashOf('{ "note": 1 }')).toBe(rawHash('{ "note": 1 }'));
    expect(hashOf('{"order_id":null,"items":[],"note":1}')).not.toBe(hashOf('{"order_id":null,"items":[],"note":2}'));
    expect(hashOf('{"order_value":5}')).toBe(hashOf('{"order_value":6}'));
  });

  it('is over the raw body where a value is nested deeper than 100 levels', () => {
    expect(hashOf(nested(101))).toBe(hashOf(` ${nested(101)}`));
    expect(hashOf(nested(102))).toBe(rawHash(nested(102)));
    expect(hashOf(nested(500_000))).toBe(rawHash(nested(500_000)));
  });
});
