import { changesBetween, fieldsOf } from './repair-changes.rules.js';

const received = { order_id: 'ORD1', user_id: 'U1', items: [{ product_id: 'P1', quantity: 0 }], note: null };

describe('what a corrected order changes', () => {
  it('is each field with another value, before and after', () => {
    const corrected = { ...received, items: [{ product_id: 'P1', quantity: 2 }] };
    expect(changesBetween(JSON.stringify(received), corrected)).toEqual([
      { field: 'items', before: [{ product_id: 'P1', quantity: 0 }], after: [{ product_id: 'P1', quantity: 2 }] },
    ]);
  });

  it('names what was added and what was left out', () => {
    const { note: _, ...rest } = received;
    expect(changesBetween(JSON.stringify(received), { ...rest, currency: 'USD' })).toEqual([
      { field: 'note', before: null },
      { field: 'currency', after: 'USD' },
    ]);
  });

  it('is nothing where only the order of fields or the white space differs', () => {
    const reordered = { items: [{ quantity: 0, product_id: 'P1' }], note: null, user_id: 'U1', order_id: 'ORD1' };
    expect(changesBetween(JSON.stringify(received, null, 2), reordered)).toEqual([]);
  });

  it('tells a list from an object and a number from its text', () => {
    const body = '{"a": [["x", 1]], "b": 1}';
    expect(changesBetween(body, { a: { x: 1 }, b: '1' }).map(({ field }) => field)).toEqual(['a', 'b']);
  });

  it('is everything where what was received can not be read', () => {
    const deep = `{"order_id":"X","note":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    for (const body of ['{"order_id": ', '[1]', '', deep]) {
      expect(changesBetween(body, { order_id: 'ORD1' })).toEqual([{ field: 'order_id', after: 'ORD1' }]);
    }
  });

  it('looks into an envelope', () => {
    const envelope = { Type: 'Notification', TopicArn: 'arn', Message: JSON.stringify(received) };
    expect(changesBetween(JSON.stringify(envelope), { ...received, user_id: 'U2' })).toEqual([
      { field: 'user_id', before: 'U1', after: 'U2' },
    ]);
  });
});

describe('fieldsOf', () => {
  it('names the fields of an order event, and counts the others, whose names a sender chose', () => {
    const corrected = { ...received, user_id: 'U2', shipping_address: 'Main Street 5', 'Jane Doe': 1, toString: 2 };
    expect(fieldsOf(changesBetween(JSON.stringify(received), corrected))).toEqual({
      changed: ['user_id', 'shipping_address'],
      others: 2,
    });
    expect(fieldsOf([])).toEqual({ changed: [], others: 0 });
  });
});
