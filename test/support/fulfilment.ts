import { randomUUID } from 'node:crypto';
import { FulfilmentSchedule } from '../../src/fulfilment/workflow/fulfilment-schedule.worker.js';
import type { Answer, RunningService } from './app.js';
import { eventually } from './eventually.js';

/** So that nothing takes longer than it must, and no payment is declined by chance. */
export const QUICK = { SHIPMENT_DELAY_SECONDS: '0', SHIPMENT_STEP_SECONDS: '0', PAYMENT_FAILURE_RATE: '0' };

/** What a request can be made to: a service in this process or in one of its own. */
type Called = Pick<RunningService, 'call'>;

/** Puts a product on sale; of `stock` each warehouse that is named is made. */
export async function aProduct(
  service: Called,
  {
    sku = 'A123',
    price = 12.5,
    stock = { EAST: 100 },
  }: { sku?: string; price?: number; stock?: Record<string, number> } = {},
  headers: Record<string, string> = {},
): Promise<void> {
  for (const code of Object.keys(stock)) {
    await service.call('PUT', `/api/v1/warehouses/${code}`, { name: `Warehouse ${code}` }, headers);
  }
  const places = Object.entries(stock).map(([warehouse, quantity]) => ({ warehouse, quantity }));
  const body = { sku, name: `Product ${sku}`, price, stock: places.filter(({ quantity }) => quantity > 0) };
  const { status, body: answer } = await service.call('POST', '/api/v1/inventory', body, headers);
  if (status !== 201) throw new Error(`${sku} was not added: ${JSON.stringify(answer)}`);
}

/** What is ordered, and how. */
export interface GivenOrder {
  items?: { sku: string; quantity: number }[];
  paymentMethod?: string;
  key?: string;
  headers?: Record<string, string>;
  body?: object;
}

/** Asks for an order, of one A123 unless something else is given. */
export function requestOrder(
  service: Called,
  { items = [{ sku: 'A123', quantity: 1 }], paymentMethod = 'CARD', key, headers, body }: GivenOrder = {},
): Promise<Answer> {
  const order = {
    currency: 'USD',
    items,
    shipping_address: '1 Fixture Street',
    payment_method: paymentMethod,
    ...body,
  };
  return service.call('POST', '/api/v1/orders', order, { 'idempotency-key': key ?? randomUUID(), ...headers });
}

/** Places an order, and says what it is called. */
export async function placeOrder(service: RunningService, given: GivenOrder = {}): Promise<string> {
  const { status, body } = await requestOrder(service, given);
  if (status !== 202) throw new Error(`The order was not taken: ${JSON.stringify(body)}`);
  return body.order_id as string;
}

/** Waits until an order is of a status, and returns it. A shipment goes on at once instead of once a second. */
export function orderIs(service: RunningService, id: string, status: string): Promise<Answer['body']> {
  return eventually(async () => {
    if (status === 'completed') await service.app.get(FulfilmentSchedule).progressShipments();
    const { body } = await service.get(`/api/v1/orders/${id}`);
    if (body.order_status !== status) throw new Error(`${id} is ${body.order_status}, not ${status}`);
    return body;
  }, 30_000);
}

/** The names of what happened to an order, in order. */
export async function eventsOf(service: RunningService, id: string): Promise<string[]> {
  const { body } = await service.get(`/api/v1/orders/${id}/timeline`);
  return body.items.map(({ event }: { event: string }) => event);
}

/** What there is of a product. */
export async function stockOf(
  service: RunningService,
  sku = 'A123',
): Promise<{ on_hand: number; reserved: number; available: number }> {
  const { body } = await service.get(`/api/v1/inventory/${sku}`);
  return { on_hand: body.on_hand, reserved: body.reserved, available: body.available };
}
