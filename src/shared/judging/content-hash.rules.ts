import { hash } from 'node:crypto';
import type { ExactNumber } from './exact-number.rules.js';
import { isJsonObject } from './message-body.rules.js';
import { type Cleaned, type CleanedItem, type CleanedOrder, Unreadable } from './order-cleaning.rules.js';
import type { CleanedRefund } from './refund-cleaning.rules.js';

/**
 * How deep a value that can't be read may be nested and still be hashed by content. A fixed bound, because where
 * the stack ends differs from call to call, and the hash must not.
 */
const DEEPEST = 100;

/**
 * Tells order events with the same content from others: SHA-256, lower-case hex, over the canonical JSON (as RFC 8785:
 * sorted keys, shortest numbers) of the cleaned known fields without the claimed value. The order of the items is
 * content; how a number or a time is written, white space, letter case of ids and unknown fields are not. Where no
 * known field is there, or one holds nesting deeper than 100 levels, it is over the body as received.
 */
export function contentHash(order: CleanedOrder, body: string): string {
  return hashOf(order, orderText, body);
}

/** The same of a refund, of which the amount is content. Its type is a part of it, so that it is never an order's. */
export function refundHash(refund: CleanedRefund, body: string): string {
  return hashOf(refund, refundText, body);
}

/** SHA-256 of a text's UTF-8, lower-case hex; what stands for the content of a body that can't be read. */
export function rawHash(text: string): string {
  return hash('sha256', text, 'hex');
}

class TooDeep extends Error {}

function hashOf<Event extends object>(event: Event, textOfEvent: (event: Event) => string, body: string): string {
  if (Object.values(event).every((value) => value === undefined)) return rawHash(body);
  try {
    return rawHash(textOfEvent(event));
  } catch (error) {
    if (error instanceof TooDeep) return rawHash(body);
    throw error;
  }
}

function orderText(order: CleanedOrder): string {
  return objectText({
    currency: textOf(order.currency, JSON.stringify),
    items: textOf(order.items, (items) => `[${items.map(itemText).join(',')}]`),
    order_id: textOf(order.order_id, JSON.stringify),
    // As text: a number would be what an order event with ms instead of a time hashes to.
    order_timestamp: textOf(order.order_timestamp, timeText),
    payment_method: textOf(order.payment_method, JSON.stringify),
    shipping_address: textOf(order.shipping_address, JSON.stringify),
    user_id: textOf(order.user_id, JSON.stringify),
  });
}

function refundText(refund: CleanedRefund): string {
  return objectText({
    amount: textOf(refund.amount, numberText),
    currency: textOf(refund.currency, JSON.stringify),
    order_id: textOf(refund.order_id, JSON.stringify),
    refund_id: textOf(refund.refund_id, JSON.stringify),
    refund_timestamp: textOf(refund.refund_timestamp, timeText),
    type: '"refund"',
  });
}

function itemText(item: CleanedItem | Unreadable): string {
  if (item instanceof Unreadable) return canonicalJson(item.given);
  return objectText({
    price_per_unit: textOf(item.price_per_unit, numberText),
    product_id: textOf(item.product_id, JSON.stringify),
    quantity: textOf(item.quantity, numberText),
  });
}

/** The members are named in sorted order where this is called. */
function objectText(members: Record<string, string | undefined>): string {
  let text = '';
  for (const name in members) {
    if (members[name] !== undefined) text += `${text && ','}"${name}":${members[name]}`;
  }
  return `{${text}}`;
}

function textOf<T>(value: Cleaned<T>, write: (readable: T) => string): string | undefined {
  if (value === undefined) return undefined;
  return value instanceof Unreadable ? canonicalJson(value.given) : write(value);
}

function timeText(ms: number): string {
  return `"${new Date(ms).toISOString()}"`;
}

/** One text a number: a Decimal is never equal to a JS number. */
function numberText(number: ExactNumber): string {
  return number.toString();
}

function canonicalJson(value: unknown, depth = 0): string {
  if (depth > DEEPEST) throw new TooDeep();
  if (typeof value === 'string') return JSON.stringify(value.trim());
  // JSON has numbers beyond a double, and JSON.stringify writes what they became as null.
  if (value === Infinity) return '1e999';
  if (value === -Infinity) return '-1e999';
  if (Array.isArray(value)) return `[${value.map((inner) => canonicalJson(inner, depth + 1)).join(',')}]`;
  if (isJsonObject(value)) {
    const members = Object.keys(value).sort();
    return `{${members.map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name], depth + 1)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
