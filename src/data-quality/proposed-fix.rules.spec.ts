import { fixedOrder } from './proposed-fix.rules.js';

const NOTHING = new Set<string>();
const ORDER = { order_value: 10, items: [{ product_id: 'P1', quantity: 2, price_per_unit: 5 }] };

describe('fixedOrder', () => {
  it('changes nothing where nothing is wrong', () => {
    expect(fixedOrder(ORDER, [], NOTHING)).toEqual({ order: ORDER, changes: [], refused: [] });
  });

  it('leaves the order that it is given as it is', () => {
    const given = structuredClone(ORDER);
    const { order } = fixedOrder(given, [{ pointer: '/items/0/quantity', value: 3, why: '' }], NOTHING);
    expect([given, order]).toEqual([
      ORDER,
      { order_value: 15, items: [{ product_id: 'P1', quantity: 3, price_per_unit: 5 }] },
    ]);
  });

  it('sets the value to the sum, to the cent', () => {
    const items = [{ product_id: 'P1', quantity: 3, price_per_unit: '0.335' }];
    expect(fixedOrder({ items }, [], NOTHING)).toMatchObject({
      order: { order_value: 1.01, items },
      changes: [{ field: 'order_value', before: undefined, after: 1.01, by: 'rules' }],
    });
  });

  it('says so where the model wants another value than the sum', () => {
    const proposed = [{ pointer: '/order_value', value: 11, why: '' }];
    expect(fixedOrder(ORDER, proposed, NOTHING)).toEqual({
      order: ORDER,
      changes: [],
      refused: [{ about: 'fix of order_value', rules: 10, model: 11 }],
    });
    expect(fixedOrder(ORDER, [{ ...proposed[0]!, value: 10 }], NOTHING).refused).toEqual([]);
  });

  it('keeps fields that nobody knows, whatever they are called', () => {
    const order = JSON.parse('{"__proto__":{"a":1},"note":"kept","items":[{"__proto__":2,"quantity":1}]}') as object;
    const { order: fixed } = fixedOrder({ ...order }, [{ pointer: '/currency', value: 'USD', why: '' }], NOTHING);
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
    const { changes, refused } = fixedOrder(ORDER, [{ pointer, value: 'x', why: '' }], NOTHING);
    expect([changes, refused]).toEqual([[], [{ about: 'proposed fix', rules: expect.any(String), model: pointer }]]);
  });

  it('changes nothing that the model was not shown', () => {
    const { changes, refused } = fixedOrder(
      ORDER,
      [{ pointer: '/user_id', value: 'U2', why: '' }],
      new Set(['/user_id']),
    );
    expect([changes, refused]).toEqual([
      [],
      [{ about: 'fix of user_id', rules: 'was not shown to the model', model: 'U2' }],
    ]);
  });
});
