import { Inject, Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { randomBytes } from 'node:crypto';
import { Database, type Executor } from '../../platform/database/database.js';
import type { Caller } from '../../shared/access.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { NotFound } from '../../shared/errors.js';
import { isNew } from '../messaging/inbox.repository.js';
import { type LockedOrder, OrderWorkflow, WORKFLOW } from '../workflow/order-workflow.service.js';
import { mayBeSeenBy } from '../orders/orders.service.js';
import { fulfilReservation } from '../inventory/reservations.repository.js';
import { nextShipmentStatus, type ShipmentStatus } from './shipment-progress.rules.js';
import type { StepMessage } from '../messaging/step-messages.js';
import { trackingNumberOf } from './tracking-number.rules.js';

/** The only carrier there is; it exists in this service alone. */
const CARRIER = 'Simulated Carrier';
const RANDOM_BYTES = 6;
/** Of so many numbers in a row one is free, however many parcels there are. */
const MAX_NUMBERS_TRIED = 100;

/** What is on its way to a customer. Times are ms UTC. */
export interface Shipment {
  trackingNumber: string;
  orderId: string;
  carrier: string;
  status: ShipmentStatus;
  events: { event: ShipmentStatus; at: number }[];
}

/** Hands paid orders to the carrier, and follows them. */
@Injectable()
export class Shipments {
  constructor(
    private readonly database: Database,
    private readonly workflow: OrderWorkflow,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** The step that takes a paid order's goods off the shelves and hands them over. @throws DatabaseUnavailable */
  async ship({ orderId, messageId }: StepMessage): Promise<void> {
    await this.workflow.transaction(async (tx) => {
      if (!(await isNew(tx, 'shipment', messageId))) return;
      const order = await this.workflow.lock(tx, orderId);
      if (order?.status !== 'paid') return;
      await fulfilReservation(tx, order.id, WORKFLOW.name);
      const trackingNumber = await this.handOver(tx, order.id);
      const detail = { tracking_number: trackingNumber, carrier: CARRIER };
      await this.workflow.record(tx, order, { event: 'shipment.created', to: 'shipped', detail }, WORKFLOW);
    });
  }

  /** The orders whose carrier is to be asked again, most overdue first. @throws DatabaseUnavailable */
  async overdue(most: number): Promise<string[]> {
    const rows = await this.database.query<{ orderId: string }>(
      sql`select order_id as "orderId" from shipments
          where status <> 'delivered' and next_at <= clock_timestamp() order by next_at limit ${most}`,
    );
    return rows.map(({ orderId }) => orderId);
  }

  /** Has the carrier do the next thing with locked orders' shipments, where it is time for it; delivered, an order is complete. */
  async progress(tx: Executor, orders: LockedOrder[]): Promise<void> {
    const ids = orders.filter(({ status }) => status === 'shipped').map(({ id }) => id);
    const due = await tx.query<{ orderId: string; trackingNumber: string; status: ShipmentStatus }>(
      sql`select order_id as "orderId", tracking_number as "trackingNumber", status from shipments
          where order_id = any(array(select json_array_elements_text(${JSON.stringify(ids)}::json)))
            and status <> 'delivered' and next_at <= clock_timestamp()`,
    );
    const dueOf = new Map(due.map((shipment) => [shipment.orderId, shipment]));
    for (const order of orders) {
      const shipment = dueOf.get(order.id);
      if (shipment) await this.tick(tx, order, shipment);
    }
  }

  /** A shipment by its tracking number. @throws NotFound also where it is somebody else's @throws DatabaseUnavailable */
  async one(trackingNumber: string, caller: Caller): Promise<Shipment> {
    const [shipment] = await this.database.query<Omit<Shipment, 'events'>>(
      sql`select tracking_number as "trackingNumber", order_id as "orderId", carrier, shipments.status
          from shipments join orders on orders.id = order_id
          where tracking_number = ${trackingNumber} and ${mayBeSeenBy(caller)}`,
    );
    if (!shipment) throw new NotFound(`There is no shipment ${trackingNumber}, or it is not yours.`);
    const events = await this.database.query<Shipment['events'][number]>(
      sql`select event, at from shipment_events
          where tracking_number = ${trackingNumber} order by sequence`,
    );
    return { ...shipment, events };
  }

  /** The tracking number of an order, where it has one. @throws DatabaseUnavailable */
  async trackingNumberOf(orderId: string): Promise<string | null> {
    const [shipment] = await this.database.query<{ trackingNumber: string }>(
      sql`select tracking_number as "trackingNumber" from shipments where order_id = ${orderId}`,
    );
    return shipment?.trackingNumber ?? null;
  }

  /** Numbers are few enough that some are given out already. */
  private async handOver(tx: Executor, orderId: string): Promise<string> {
    for (let tried = 0; tried < MAX_NUMBERS_TRIED; tried++) {
      const trackingNumber = trackingNumberOf(randomBytes(RANDOM_BYTES));
      const added = await tx.query(
        sql`with created as (
              insert into shipments (tracking_number, order_id, carrier, next_at)
              values (${trackingNumber}, ${orderId}, ${CARRIER}, ${this.inOneStep()})
              on conflict (tracking_number) do nothing returning tracking_number
            )
            insert into shipment_events (tracking_number, sequence, event)
            select tracking_number, 1, 'created' from created returning 1`,
      );
      if (added.length > 0) return trackingNumber;
    }
    throw new Error('There are hardly any tracking numbers left');
  }

  private async tick(
    tx: Executor,
    order: LockedOrder,
    { trackingNumber, status }: Pick<Shipment, 'trackingNumber' | 'status'>,
  ): Promise<void> {
    const next = nextShipmentStatus(status, trackingNumber);
    await tx.query(
      sql`with moved as (
            update shipments set status = ${next}, next_at = ${this.inOneStep()} where tracking_number = ${trackingNumber}
          )
          insert into shipment_events (tracking_number, sequence, event)
          select ${trackingNumber}, coalesce(max(sequence), 0) + 1, ${next} from shipment_events
          where tracking_number = ${trackingNumber}`,
    );
    const detail = { tracking_number: trackingNumber };
    await this.workflow.record(tx, order, { event: `shipment.${next}`, detail }, WORKFLOW);
    if (next === 'delivered') {
      await this.workflow.record(tx, order, { event: 'order.completed', to: 'completed' }, WORKFLOW);
    }
  }

  private inOneStep(): ReturnType<typeof sql> {
    return sql`clock_timestamp() + make_interval(secs => ${this.config.shipmentStepSeconds})`;
  }
}
