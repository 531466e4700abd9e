import { allocate } from './allocation.rules.js';

const places = [
  { sku: 'A', warehouse: 'EAST', available: 3 },
  { sku: 'A', warehouse: 'WEST', available: 5 },
  { sku: 'B', warehouse: 'EAST', available: 1 },
];

describe('where an order is taken from', () => {
  it('is one place where that has enough', () => {
    expect(allocate([{ sku: 'A', quantity: 4 }], places)).toEqual({
      allocations: [{ sku: 'A', warehouse: 'WEST', quantity: 4 }],
      shortages: [],
    });
  });

  it('is several places where no single one has enough', () => {
    expect(allocate([{ sku: 'A', quantity: 8 }], places).allocations).toEqual([
      { sku: 'A', warehouse: 'WEST', quantity: 5 },
      { sku: 'A', warehouse: 'EAST', quantity: 3 },
    ]);
  });

  it('is nowhere where a line is short, and every short line says what there is', () => {
    const lines = [
      { sku: 'A', quantity: 1 },
      { sku: 'B', quantity: 2 },
      { sku: 'C', quantity: 1 },
    ];
    expect(allocate(lines, places)).toEqual({
      allocations: [],
      shortages: [
        { sku: 'B', requested: 2, available: 1 },
        { sku: 'C', requested: 1, available: 0 },
      ],
    });
  });
});
