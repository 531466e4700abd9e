import { randomBytes } from 'node:crypto';

/** An order event as a sender writes it. */
export interface SentOrderEvent {
  order_id: string;
  user_id: string;
  order_timestamp: string;
  order_value: unknown;
  items: unknown;
  [field: string]: unknown;
}

/** A valid order event of 10.00 with an id of its own; say only what matters. */
export function anOrderEvent(given: Partial<SentOrderEvent> = {}): SentOrderEvent {
  return {
    order_id: `ORD${randomBytes(6).toString('hex').toUpperCase()}`,
    user_id: 'U1',
    order_timestamp: '2026-01-15T12:00:00Z',
    order_value: 10,
    items: [{ product_id: 'P1', quantity: 2, price_per_unit: 5 }],
    ...given,
  };
}
