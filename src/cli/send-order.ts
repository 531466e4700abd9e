import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { Decimal } from 'decimal.js';
import { sampleOrders } from '../producer/sample-orders.rules.js';
import { sampleRun } from '../producer/sample-run.rules.js';
import { command, runAsProcess, WrongUsage } from './command.js';
import { readText } from './order-files.js';
import { connectToQueue } from './queue-connection.js';

const USAGE = `Sends one order to the orders queue: a valid sample, unless told otherwise.

Usage: npm run send-order -- [options]

  --file FILE              send this file's content, as it is
  --json TEXT              send this text, as it is

  --id ORDER_ID            change the sample: its id,
  --user USER_ID           its user,
  --value AMOUNT           its value (and one item of that price, unless --item is given),
  --item PRODUCT:QTY:PRICE its items, such as P001:2:12.99; may be given several times,
  --time TIME              its time,
  --address TEXT           its shipping address,
  --payment METHOD         its payment method
  --help                   this text

What is wrong is sent all the same: judging is the pipeline's. A value below 0 is written --value=-5.
The queue is the running service's own one; set SQS_ENDPOINT for another.
`;

const DECIMAL = /^-?\d{1,300}(\.\d+)?$/;
const ITEM = /^(.*):(-?\d{1,300}(?:\.\d+)?):(-?\d{1,300}(?:\.\d+)?)$/;

interface Wishes {
  id?: string;
  user?: string;
  value?: string;
  item?: string[];
  time?: string;
  address?: string;
  payment?: string;
}

/** `npm run send-order`: one order. Exit code 1 if it could not be sent. */
export const run = command(USAGE, async (argv, io) => {
  const { values } = parseArgs({
    args: argv,
    options: {
      file: { type: 'string' },
      json: { type: 'string' },
      id: { type: 'string' },
      user: { type: 'string' },
      value: { type: 'string' },
      item: { type: 'string', multiple: true },
      time: { type: 'string' },
      address: { type: 'string' },
      payment: { type: 'string' },
    },
  });
  const { file, json, ...wishes } = values;
  if (Object.keys(values).length > 1 && (file ?? json) !== undefined) {
    throw new WrongUsage('--file and --json stand alone: they are sent as they are');
  }
  const body = file === undefined ? (json ?? JSON.stringify(orderOf(wishes))) : await readText(file);
  const connection = await connectToQueue(io.environment);
  try {
    const { messageIds, failed } = await connection.sender.sendAll([body]);
    if (failed[0]) {
      io.err.write(`The order was not sent, ${failed[0].code}: ${failed[0].message}\n`);
      return 1;
    }
    const orderId = orderIdIn(body);
    io.out.write(`Sent ${orderId ?? 'an order without a readable id'} as message ${messageIds[0]}\n`);
    const query = orderId === null ? '' : `?order_id=${encodeURIComponent(orderId)}`;
    io.out.write(`See ${connection.serviceUrl}/order-events${query}\n`);
    return 0;
  } finally {
    connection.close();
  }
});

function orderOf(wishes: Wishes): Record<string, unknown> {
  const [sample] = sampleOrders(sampleRun({ count: 1, invalidRate: 0 }, randomBytes(8), Date.now()));
  const order = JSON.parse(sample!.body) as Record<string, unknown>;
  if (wishes.item) {
    const items = wishes.item.map(itemOf);
    const sum = Decimal.sum(...items.map((item) => new Decimal(item.quantity).times(item.price_per_unit)));
    Object.assign(order, { items, order_value: sum.toNumber() });
  }
  if (wishes.value !== undefined) {
    const value = DECIMAL.test(wishes.value) ? Number(wishes.value) : wishes.value;
    order.order_value = value;
    if (!wishes.item && Number(value) > 0) order.items = [{ product_id: 'P001', quantity: 1, price_per_unit: value }];
  }
  const changes = {
    order_id: wishes.id,
    user_id: wishes.user,
    order_timestamp: wishes.time,
    shipping_address: wishes.address,
    payment_method: wishes.payment,
  };
  for (const [field, value] of Object.entries(changes)) if (value !== undefined) order[field] = value;
  return order;
}

function itemOf(text: string): { product_id: string; quantity: number; price_per_unit: number } {
  const [, product, quantity, price] = ITEM.exec(text) ?? [];
  if (product === undefined)
    throw new WrongUsage(`--item must be PRODUCT:QTY:PRICE such as P001:2:12.99, not "${text}"`);
  return { product_id: product, quantity: Number(quantity), price_per_unit: Number(price) };
}

function orderIdIn(body: string): string | null {
  try {
    const { order_id: orderId } = JSON.parse(body) as { order_id?: unknown };
    return typeof orderId === 'string' ? orderId : null;
  } catch {
    return null;
  }
}

if (require.main === module) void runAsProcess(run);
