import { hash } from 'node:crypto';
import type { Cents } from '../money.js';
import { plainDecimal, readNumber } from './exact-number.rules.js';
import { isJsonObject, type JsonObject } from './message-body.rules.js';
import { namesIn } from './shallow-json.rules.js';
import type { PricedLine } from './order-value.rules.js';

/** A fixed bound, because where the stack ends differs from call to call, and a hash must not. */
const DEEPEST = 100;
/** Longer bodies are compared as they are: sorting the fields of the largest would take as long as judging a hundred orders. */
const LONGEST = 65_536;

/** Finds whatever a number could be that a double does not hold to its last digit, and more. */
const MAY_BE_FINER = /\d[\d.]{15}|\d[eE]/;
/** The texts and the numbers of a JSON text. */
const TEXT_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;

/** What an order says that the ledger counts: two with the same content are the same order. Texts are trimmed. */
export interface OrderContent {
  orderId: string;
  userId: string;
  /** ms UTC */
  orderedAt: number;
  lines: readonly PricedLine[];
  currency: string;
  shippingAddress?: string;
  /** Upper case. */
  paymentMethod?: string;
}

/** What a refund says that the ledger counts. */
export interface RefundContent {
  refundId: string;
  orderId: string;
  /** ms UTC */
  refundedAt: number;
  amount: Cents;
  currency: string;
}

/**
 * Tells orders that a person would call the same from others: SHA-256, lower-case hex. The order of the lines does not matter,
 * nor whether a product at one price stands on one line or on several, runs of white space, how letters are composed
 * (Unicode NFC), the claimed value, and fields that mean nothing.
 */
export function orderHash({ shippingAddress, paymentMethod, ...order }: OrderContent): string {
  const { orderId, userId, orderedAt, lines, currency } = order;
  const content = [orderId, userId, orderedAt, folded(shippingAddress), folded(paymentMethod), currency, merged(lines)];
  return rawHash(`order${JSON.stringify(content)}`);
}

/** The same of refunds. It is never an order's. */
export function refundHash({ refundId, orderId, refundedAt, amount, currency }: RefundContent): string {
  return rawHash(`refund${JSON.stringify([refundId, orderId, refundedAt, amount, currency])}`);
}

/**
 * Tells bodies that say the same to the last field from others: SHA-256, lower-case hex, over the JSON value with its fields
 * sorted; over the body as received where that is longer than 64 KiB, is nested deeper than 100 levels, or says what
 * JSON.parse does not keep: a number that a double does not hold exactly, or a name twice in one object.
 * @param event the body as JSON.parse reads it; null where it is no JSON object, or one within a string or an envelope
 */
export function bodyHash(body: string, event: JsonObject | null): string {
  if (event === null || body.length > LONGEST || mayLoseDigits(body)) return rawHash(body);
  const text = canonicalJson(event, 0);
  return rawHash(text !== undefined && namesIn(text) === namesIn(body) ? text : body);
}

/** SHA-256 of a text's UTF-8, lower-case hex. */
export function rawHash(text: string): string {
  return hash('sha256', text, 'hex');
}

function folded(text: string | undefined): string | undefined {
  return text?.normalize('NFC').replace(/\s+/g, ' ');
}

/** Each product at each price once, with its quantity, in one order. */
function merged(lines: readonly PricedLine[]): [line: string, quantity: number][] {
  const quantities = new Map<string, number>();
  for (const { product_id, price, quantity } of lines) {
    const line = `${product_id}\n${plainDecimal(price)}`; // an id has no line break
    quantities.set(line, (quantities.get(line) ?? 0) + quantity);
  }
  return [...quantities].sort(([one], [other]) => (one < other ? -1 : 1));
}

/** Whether JSON.parse may have made a number of a body another one. */
function mayLoseDigits(body: string): boolean {
  if (!MAY_BE_FINER.test(body)) return false;
  for (const [token] of body.matchAll(TEXT_OR_NUMBER)) {
    if (!token.startsWith('"') && !isHeldExactly(token)) return true;
  }
  return false;
}

function isHeldExactly(literal: string): boolean {
  const read = readNumber(literal);
  return typeof read === 'number' && (read !== 0 || !/^[^eE]*[1-9]/.test(literal));
}

/** As RFC 8785: sorted names, shortest numbers. @returns undefined where it is nested too deeply */
function canonicalJson(value: unknown, depth: number): string | undefined {
  if (depth > DEEPEST) return undefined;
  if (Array.isArray(value)) {
    const texts: string[] = [];
    for (const element of value) {
      const text = canonicalJson(element, depth + 1);
      if (text === undefined) return undefined;
      texts.push(text);
    }
    return `[${texts.join(',')}]`;
  }
  if (!isJsonObject(value)) return JSON.stringify(value);
  const members: string[] = [];
  for (const name of Object.keys(value).sort()) {
    const text = canonicalJson(value[name], depth + 1);
    if (text === undefined) return undefined;
    members.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${members.join(',')}}`;
}
