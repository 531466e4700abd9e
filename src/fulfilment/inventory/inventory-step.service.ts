import { Injectable } from '@nestjs/common';
import { isNew } from '../messaging/inbox.repository.js';
import { OrderWorkflow, WORKFLOW } from '../workflow/order-workflow.service.js';
import { stepMessage } from '../messaging/outbox.repository.js';
import { reserve } from './reservations.repository.js';
import type { StepMessage } from '../messaging/step-messages.js';

/** The first step of an order: its stock is promised to it, or it ends for want of it. */
@Injectable()
export class InventoryStep {
  constructor(private readonly workflow: OrderWorkflow) {}

  /** @throws DatabaseUnavailable */
  async reserve({ orderId, messageId }: StepMessage): Promise<void> {
    await this.workflow.transaction(async (tx) => {
      if (!(await isNew(tx, 'inventory', messageId))) return;
      const order = await this.workflow.lock(tx, orderId);
      if (order?.status !== 'pending') return;
      const shortages = await reserve(tx, order.id);
      if (shortages.length > 0) {
        const detail = { lines: shortages };
        await this.workflow.record(tx, order, { event: 'stock.missing', to: 'failed_no_stock', detail }, WORKFLOW);
        return;
      }
      const send = [stepMessage('charge', order.id)];
      await this.workflow.record(tx, order, { event: 'stock.reserved', to: 'reserved', send }, WORKFLOW);
    });
  }
}
