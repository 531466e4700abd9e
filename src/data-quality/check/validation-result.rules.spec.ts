import { type Reason, REASONS } from '../../domain/order-event.js';
import { REASONS_OF, rulesVerdict } from './validation-result.rules.js';

const JUDGED = {
  outcome: 'failed' as const,
  reasons: [] as Reason[],
  userId: null,
  orderedAt: null,
  value: null,
  claimed: null,
};

describe('REASONS_OF', () => {
  it('has every reason of an order under one field, and none of what no field is to blame for', () => {
    const ofNoField = (reason: string): boolean => /json|object|refund|amount/.test(reason);
    const reasons = Object.keys(REASONS).filter((reason) => !ofNoField(reason));
    expect(Object.values(REASONS_OF).flat().sort()).toEqual(reasons.sort());
  });
});

describe('rulesVerdict', () => {
  it('knows of no field where there is no order', () => {
    const { fields, computedValue, valueEqualsSum } = rulesVerdict(JUDGED, null);
    expect(fields.every(({ present, correctType }) => !present && correctType === null)).toBe(true);
    expect([computedValue, valueEqualsSum]).toEqual([null, null]);
  });

  it('puts each reason under its field', () => {
    const reasons: Reason[] = ['missing_user_id', 'non_positive_quantity', 'conflicting_duplicate'];
    const { fields } = rulesVerdict({ ...JUDGED, reasons }, {});
    const blamed = fields.filter(({ reasons }) => reasons.length > 0).map(({ field, reasons }) => [field, ...reasons]);
    expect(blamed).toEqual([
      ['order_id', 'conflicting_duplicate'],
      ['user_id', 'missing_user_id'],
      ['items.quantity', 'non_positive_quantity'],
    ]);
  });

  it('says of a list with something else than objects that it is of the wrong type', () => {
    const { fields } = rulesVerdict(JUDGED, { items: [{ product_id: 'P1' }, 'P2'] });
    const ofItems = fields
      .filter(({ field }) => field.startsWith('items'))
      .map((field) => [field.present, field.correctType]);
    expect(ofItems).toEqual([
      [true, false],
      [false, true],
      [false, null],
      [false, null],
    ]);
  });

  it('compares no sum that exceeds what an order may be worth, and a claim that does is not the sum', () => {
    const item = { product_id: 'P1', quantity: 1_000_000, price_per_unit: 1_000_000_000 };
    expect(rulesVerdict(JUDGED, { order_value: 1e15, items: [item] })).toMatchObject({
      computedValue: null,
      valueEqualsSum: null,
    });
    const small = { ...item, quantity: 1, price_per_unit: 1 };
    expect(rulesVerdict(JUDGED, { order_value: 1e15, items: [small] })).toMatchObject({
      computedValue: 100,
      valueEqualsSum: false,
    });
  });
});
