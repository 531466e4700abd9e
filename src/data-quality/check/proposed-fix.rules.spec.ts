import { fixedOrder } from './proposed-fix.rules.js';
import type { CheckedField, RulesVerdict } from './validation-result.rules.js';

const NOTHING = new Set<string>();
/** The rules find nothing wrong with the order, so anything may be proposed. */
const PASSED = { outcome: 'accepted' as const, fields: [] };
/** They find something wrong with these fields, and with nothing else. */
function failedBy(...faulted: CheckedField[]): Pick<RulesVerdict, 'outcome' | 'fields'> {
  const reasons = ['not_an_object' as const];
  return { outcome: 'failed', fields: faulted.map((field) => ({ field, present: true, correctType: false, reasons })) };
}
const ORDER = { order_value: 10, items: [{ product_id: 'P1', quantity: 2, price_per_unit: 5 }] };

describe('fixedOrder', () => {
  it('changes nothing where nothing is wrong', () => {
    expect(fixedOrder(ORDER, [], NOTHING, PASSED)).toEqual({ order: ORDER, changes: [], refused: [] });
  });

  it('leaves the order that it is given as it is', () => {
    const given = structuredClone(ORDER);
    const { order } = fixedOrder(given, [{ pointer: '/items/0/quantity', value: 3, why: '' }], NOTHING, PASSED);
    expect([given, order]).toEqual([
      ORDER,
      { order_value: 15, items: [{ product_id: 'P1', quantity: 3, price_per_unit: 5 }] },
    ]);
  });

  it('sets the value to the sum, to the cent', () => {
    const items = [{ product_id: 'P1', quantity: 3, price_per_unit: '0.335' }];
    expect(fixedOrder({ items }, [], NOTHING, PASSED)).toMatchObject({
      order: { order_value: 1.01, items },
      changes: [{ field: 'order_value', before: undefined, after: 1.01, by: 'rules' }],
    });
  });

  it('says so where the model wants another value than the sum', () => {
    const proposed = [{ pointer: '/order_value', value: 11, why: '' }];
    expect(fixedOrder(ORDER, proposed, NOTHING, PASSED)).toEqual({
      order: ORDER,
      changes: [],
      refused: [{ about: 'fix of order_value', rules: 10, model: 11 }],
    });
    expect(fixedOrder(ORDER, [{ ...proposed[0]!, value: 10 }], NOTHING, PASSED).refused).toEqual([]);
  });

  it('keeps fields that nobody knows, whatever they are called', () => {
    const order = JSON.parse('{"__proto__":{"a":1},"note":"kept","items":[{"__proto__":2,"quantity":1}]}') as object;
    const { order: fixed } = fixedOrder(
      { ...order },
      [{ pointer: '/currency', value: 'USD', why: '' }],
      NOTHING,
      PASSED,
    );
    expect(JSON.stringify(fixed)).toBe(
      '{"__proto__":{"a":1},"note":"kept","items":[{"__proto__":2,"quantity":1}],"currency":"USD"}',
    );
  });

  it.each([
    '/__proto__',
    '/__proto__/x',
    '/constructor',
    '/items/__proto__',
    '/items/-/quantity',
    '/items/00/quantity',
    '/items/1/quantity',
    '/items/0/toString',
    'order_id',
    '/order_id/0',
    '/order_id\n',
  ])('does not follow %s', (pointer) => {
    const { changes, refused } = fixedOrder(ORDER, [{ pointer, value: 'x', why: '' }], NOTHING, PASSED);
    expect([changes, refused]).toEqual([[], [{ about: 'proposed fix', rules: expect.any(String), model: pointer }]]);
  });

  it('changes nothing that the model was not shown', () => {
    const { changes, refused } = fixedOrder(
      ORDER,
      [{ pointer: '/user_id', value: 'U2', why: '' }],
      new Set(['/user_id']),
      PASSED,
    );
    expect([changes, refused]).toEqual([
      [],
      [{ about: 'fix of user_id', rules: 'was not shown to the model', model: 'U2' }],
    ]);
  });

  it('takes the sum as text for the sum', () => {
    const proposed = [{ pointer: '/order_value', value: '10.00', why: '' }];
    expect(fixedOrder(ORDER, proposed, NOTHING, PASSED)).toEqual({ order: ORDER, changes: [], refused: [] });
  });

  it('changes of an order that failed what the rules find wrong, and nothing else', () => {
    const proposed = [
      { pointer: '/order_timestamp', value: '2026-01-31T12:00:00Z', why: '' },
      { pointer: '/order_id', value: 'ORD2', why: '' },
      { pointer: '/items/0/price_per_unit', value: 0.01, why: '' },
    ];
    const { changes, refused } = fixedOrder(ORDER, proposed, NOTHING, failedBy('order_timestamp'));
    expect(changes.map(({ field }) => field)).toEqual(['order_timestamp']);
    expect(refused).toEqual([
      { about: 'fix of order_id', rules: 'is right as it is', model: 'ORD2' },
      { about: 'fix of items.0.price_per_unit', rules: 'is right as it is', model: 0.01 },
    ]);
  });

  it('may change any quantity or price where it is the sum that is wrong', () => {
    const proposed = [{ pointer: '/items/0/quantity', value: 3, why: '' }];
    expect(fixedOrder(ORDER, proposed, NOTHING, failedBy('items')).changes).toHaveLength(2);
    expect(fixedOrder(ORDER, proposed, NOTHING, failedBy('items.quantity')).changes).toHaveLength(2);
  });

  it.each(['1 Main Street\u202e', 'x'.repeat(301)])('takes no text that would not be shown as it is: %j', (value) => {
    const { changes, refused } = fixedOrder(ORDER, [{ pointer: '/shipping_address', value, why: '' }], NOTHING, PASSED);
    expect([changes, refused]).toEqual([
      [],
      [expect.objectContaining({ rules: 'is too long, or has characters that are not for the eye' })],
    ]);
  });
});
