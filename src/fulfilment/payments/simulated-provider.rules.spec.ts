import { treatmentOf } from './simulated-provider.rules.js';

const ORDERS = Array.from({ length: 10_000 }, (_, i) => `ORD-${i}`);

function declined(failureRate: number, orders = ORDERS): string[] {
  return orders.filter((orderId) => treatmentOf({ method: 'CARD', orderId }, failureRate).ends === 'declined');
}

describe('treatmentOf', () => {
  it('declines no order at the rate 0, and every one at 1', () => {
    expect(declined(0)).toEqual([]);
    expect(declined(1)).toEqual(ORDERS);
  });

  it('declines about the share of orders that the rate says', () => {
    for (const rate of [0.1, 0.5, 0.9]) {
      expect(Math.abs(declined(rate).length / ORDERS.length - rate)).toBeLessThan(0.02);
    }
  });

  it('ends the same for the same order, and declines it at any higher rate, too', () => {
    expect(declined(0.1)).toEqual(declined(0.1));
    expect(declined(0.2, declined(0.1))).toEqual(declined(0.1));
  });

  it('captures the others at once, with nothing lost', () => {
    expect(treatmentOf({ method: 'CARD', orderId: 'ORD-1' }, 0)).toEqual({
      refusals: 0,
      refusedBy: 'unavailable',
      ends: 'captured',
      reason: null,
      isAnswerLost: false,
      capturedAfterSeconds: null,
      refundRefusals: 0,
    });
  });

  it.each([
    ['TEST-DECLINE', { ends: 'declined', reason: 'declined_by_issuer' }],
    ['TEST-TIMEOUT-BEFORE', { ends: 'captured', refusals: 1, refusedBy: 'timeout' }],
    ['TEST-TIMEOUT-AFTER', { ends: 'captured', refusals: 0, isAnswerLost: true }],
    ['TEST-UNAVAILABLE', { ends: 'captured', refusals: 2, refusedBy: 'unavailable' }],
    ['TEST-LATE-WEBHOOK', { ends: 'processing', capturedAfterSeconds: 2 }],
    ['TEST-LOST', { ends: 'processing', capturedAfterSeconds: null }],
    ['TEST-REFUND-FLAKY', { ends: 'captured', refundRefusals: 2 }],
    ['TEST-REFUND-FAILS', { ends: 'captured', refundRefusals: null }],
  ])('does what %s asks for, whatever the rate', (method, expected) => {
    for (const rate of [0, 1]) expect(treatmentOf({ method, orderId: 'ORD-1' }, rate)).toMatchObject(expected);
  });
});
