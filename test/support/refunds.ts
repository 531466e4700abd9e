import { randomBytes } from 'node:crypto';

/** A refund as a sender writes it. */
export interface SentRefund {
  type: string;
  refund_id: string;
  order_id: string;
  amount: unknown;
  refund_timestamp: string;
  [field: string]: unknown;
}

/** A refund of 4.00 in the month after the orders of `anOrderEvent`, with an id of its own; say only what matters. */
export function aRefund(given: Partial<SentRefund> & { order_id: string }): SentRefund {
  return {
    type: 'refund',
    refund_id: `R${randomBytes(6).toString('hex').toUpperCase()}`,
    amount: 4,
    refund_timestamp: '2026-02-03T09:30:00Z',
    ...given,
  };
}
