import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import type { Actor, Caller } from '../../shared/access.js';
import { ClientError } from '../../shared/errors.js';
import { isCancellable, TRANSITIONS, type OrderStatus } from './order-states.rules.js';
import { mayBeSeenBy, unknownOrder } from '../orders/orders.service.js';
import { OrderWorkflow } from './order-workflow.service.js';
import { Payments } from '../payments/payments.service.js';
import { release } from '../inventory/reservations.repository.js';

/** The order is too far on its way, or at its end. */
export class TooLateToCancel extends ClientError {
  readonly code = 'too_late_to_cancel';
  readonly kind = 'conflict';
  constructor(id: string, status: OrderStatus) {
    const next = TRANSITIONS[status].join(', ');
    super(`${id} is ${status} and can't be cancelled any more${next && `; it can only become ${next}`}.`);
  }
}

/** Cancels orders: what was promised to them is free again, and their money goes back. */
@Injectable()
export class Cancellation {
  constructor(
    private readonly workflow: OrderWorkflow,
    private readonly payments: Payments,
  ) {}

  /** One that is cancelled already stays so. @throws NotFound @throws TooLateToCancel @throws DatabaseUnavailable */
  async cancel(id: string, caller: Caller, actor: Actor): Promise<void> {
    await this.workflow.transaction(async (tx) => {
      const [theirs] = await tx.query(sql`select 1 from orders where id = ${id} and ${mayBeSeenBy(caller)}`);
      const order = theirs ? await this.workflow.lock(tx, id) : null;
      if (!order) throw unknownOrder(id);
      if (order.status === 'cancelled') return;
      if (!isCancellable(order.status)) throw new TooLateToCancel(id, order.status);
      const send = await this.payments.compensateAll(tx, id);
      const pieces = await release(tx, id);
      const detail = { pieces_released: pieces, payments_to_undo: send.length };
      await this.workflow.record(tx, order, { event: 'order.cancelled', to: 'cancelled', detail, send }, actor);
    });
  }
}
