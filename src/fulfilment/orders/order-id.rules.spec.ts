import { isOrderId, orderIdFrom } from './order-id.rules.js';

describe('the id of an order', () => {
  it('is made of all of its random bytes', () => {
    expect(orderIdFrom(new Uint8Array(10))).toBe('ORD-0000000000000000');
    expect(orderIdFrom(new Uint8Array(10).fill(255))).toBe('ORD-ZZZZZZZZZZZZZZZZ');
    const ids = Array.from({ length: 10 }, (_, place) => orderIdFrom(new Uint8Array(10).with(place, 1)));
    expect(new Set(ids).size).toBe(10);
    expect(ids.every(isOrderId)).toBe(true);
  });

  it('is not made of fewer', () => {
    expect(() => orderIdFrom(new Uint8Array(9))).toThrow('An order id is made of 10 bytes, not 9');
  });

  it('is told from other texts', () => {
    expect(isOrderId('ORD-5F3C6F0E2A4F7B1C')).toBe(true);
    for (const text of ['ORD-1', 'ord-5f3c6f0e2a4f7b1c', 'ORD-5F3C6F0E2A4F7B1C ', '5F3C6F0E2A4F7B1C']) {
      expect(isOrderId(text)).toBe(false);
    }
  });
});
