import type { OrderStatus } from './order-states.rules.js';
import type { StepTask } from '../messaging/step-messages.js';

/** The step that an order of each status waits for; an order that is on its way waits for the carrier. */
const TASK_OF: Partial<Record<OrderStatus, StepTask>> = {
  pending: 'reserve',
  reserved: 'charge',
  payment_unknown: 'ask',
  paid: 'ship',
};

/** The step that an order waits for; null where it waits for none. */
export function taskOf(status: OrderStatus): StepTask | null {
  return TASK_OF[status] ?? null;
}
