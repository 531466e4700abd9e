import { cleanOrder, Unreadable } from './order-cleaning.rules.js';

function cleaned(event: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(cleanOrder(event)).filter(([, value]) => value !== undefined));
}

function cleanedItem(item: unknown): unknown {
  return cleaned({ items: [item] })['items'];
}

describe('cleanOrder', () => {
  it('trims text and upper-cases ids, currency and payment method', () => {
    expect(
      cleaned({
        order_id: ' ord1\t',
        user_id: '\u00a0u7 ',
        currency: 'usd ',
        payment_method: ' credit card ',
        shipping_address: '\n Main Street 5 ',
        items: [{ product_id: ' p-1 ' }],
      }),
    ).toEqual({
      order_id: 'ORD1',
      user_id: 'U7',
      currency: 'USD',
      payment_method: 'CREDIT CARD',
      shipping_address: 'Main Street 5',
      items: [{ product_id: 'P-1' }],
    });
  });

  it('reads numbers and times, also with blanks around them', () => {
    expect(cleaned({ order_value: ' 2.50 ', order_timestamp: ' 2024-03-01T10:00:00Z ' })).toEqual({
      order_value: 2.5,
      order_timestamp: Date.parse('2024-03-01T10:00:00Z'),
    });
    expect(cleanedItem({ quantity: ' 2 ', price_per_unit: '1e1' })).toEqual([{ quantity: 2, price_per_unit: 10 }]);
  });

  it.each([[undefined], [null], [''], [' \t\n ']])('takes %p for missing', (nothing) => {
    const fields = ['order_id', 'user_id', 'order_timestamp', 'order_value', 'items', 'currency', 'shipping_address'];
    expect(cleaned(Object.fromEntries(fields.map((field) => [field, nothing])))).toEqual({});
    expect(cleanedItem({ product_id: nothing, quantity: nothing, price_per_unit: nothing })).toEqual([{}]);
  });

  it('takes an empty list of items for a missing one, and no other empty value', () => {
    expect(cleaned({ items: [] })).toEqual({});
    expect(cleaned({ shipping_address: [] })).toEqual({ shipping_address: new Unreadable([]) });
    expect(cleaned({ order_value: 0 })).toEqual({ order_value: 0 });
  });

  it('keeps what it cannot read as it was given', () => {
    expect(cleaned({ order_id: 5, user_id: ' ü1 ', order_timestamp: 0, order_value: true, items: {} })).toEqual({
      order_id: new Unreadable(5),
      user_id: new Unreadable('ü1'),
      order_timestamp: new Unreadable(0),
      order_value: new Unreadable(true),
      items: new Unreadable({}),
    });
    expect(cleanedItem(null)).toEqual([new Unreadable(null)]);
    expect(cleanedItem(['P1'])).toEqual([new Unreadable(['P1'])]);
  });

  it('does not let a letter beyond ASCII become an ASCII one by upper-casing', () => {
    expect(cleaned({ currency: 'uſd' })).toEqual({ currency: new Unreadable('uſd') });
  });

  it('reads own properties only', () => {
    const heir = Object.create({ order_id: 'ORD1', items: [] }) as Record<string, unknown>;
    expect(cleaned(heir)).toEqual({});
    expect(cleaned(JSON.parse('{"__proto__":{"order_id":"ORD1"}}') as Record<string, unknown>)).toEqual({});
  });
});
