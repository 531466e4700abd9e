import {
  assertMove,
  assertValidTransitions,
  IllegalMove,
  isCancellable,
  TRANSITIONS,
  ORDER_STATUSES,
} from './order-states.rules.js';

describe('the moves of an order', () => {
  it('reach every status, and from each an end', () => {
    expect(() => assertValidTransitions(TRANSITIONS)).not.toThrow();
    expect(Object.keys(TRANSITIONS).sort()).toEqual([...ORDER_STATUSES].sort());
  });

  it.each([
    ['a status that nothing leads to', { ...TRANSITIONS, forgotten: [] }, "forgotten can't be reached"],
    ['a status without a row', { ...TRANSITIONS, paid: ['shipped', 'lost'] }, 'lost is not in the table'],
    [
      'a way without an end',
      { ...TRANSITIONS, shipped: ['in_circles'], in_circles: ['shipped'] },
      'shipped leads to no end',
    ],
  ])('are found out with %s', (_, moves, message) => {
    expect(() => assertValidTransitions(moves)).toThrow(message);
  });

  it('end where an order failed, was cancelled or completed', () => {
    expect(ORDER_STATUSES.filter((status) => TRANSITIONS[status].length === 0)).toEqual([
      'completed',
      'failed_no_stock',
      'payment_failed',
      'cancelled',
    ]);
  });

  it('let an order be cancelled until it is shipped', () => {
    expect(ORDER_STATUSES.filter(isCancellable)).toEqual(['pending', 'reserved', 'paid', 'payment_unknown']);
  });

  it('name the current status and the allowed ones where a move is not among them', () => {
    expect(() => assertMove('pending', 'reserved')).not.toThrow();
    expect(() => assertMove('shipped', 'cancelled')).toThrow(new IllegalMove('shipped', 'cancelled'));
    expect(new IllegalMove('shipped', 'cancelled').message).toBe(
      "An order that is shipped can't become cancelled, only completed",
    );
  });
});
