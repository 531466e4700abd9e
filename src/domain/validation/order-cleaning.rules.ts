import { cleanId } from '../ids.js';
import { BOUNDS } from '../order-event.js';
import { type ExactNumber, readNumber } from './exact-number.rules.js';
import { isJsonObject, type JsonObject } from './message-body.rules.js';
import { readTimestamp } from './timestamp.rules.js';

/** A value that is there and can't be read as what its field is for. */
export class Unreadable {
  /** As the sender gave it; trimmed where it is text. */
  constructor(readonly given: unknown) {}
}

/** A field after cleaning; undefined where it is missing. */
export type Cleaned<T> = T | Unreadable | undefined;

/** The known fields of an item after cleaning. */
export interface CleanedItem {
  product_id: Cleaned<string>;
  quantity: Cleaned<ExactNumber>;
  /** In currency units. */
  price_per_unit: Cleaned<ExactNumber>;
}

/** The known fields of an order event after cleaning. */
export interface CleanedOrder {
  order_id: Cleaned<string>;
  user_id: Cleaned<string>;
  /** ms UTC, of any year. */
  order_timestamp: Cleaned<number>;
  /** In currency units. */
  order_value: Cleaned<ExactNumber>;
  /** Never empty: an empty list is a missing one. A list that is too long is unreadable. */
  items: Cleaned<(CleanedItem | Unreadable)[]>;
  currency: Cleaned<string>;
  shipping_address: Cleaned<string>;
  payment_method: Cleaned<string>;
}

/**
 * Cleans the known fields of an order event: text is trimmed, ids, currency and payment method are upper-cased,
 * numbers and times are read. null and empty text are missing. Says nothing of whether the values are allowed.
 */
export function cleanOrder(event: JsonObject): CleanedOrder {
  const items = clean(event, 'items', readItems);
  return {
    order_id: clean(event, 'order_id', readCode),
    user_id: clean(event, 'user_id', readCode),
    order_timestamp: clean(event, 'order_timestamp', readTimestamp),
    order_value: clean(event, 'order_value', readNumber),
    items: Array.isArray(items) && items.length === 0 ? undefined : items,
    currency: clean(event, 'currency', readCode),
    shipping_address: clean(event, 'shipping_address', readText),
    payment_method: clean(event, 'payment_method', readUpperCaseText),
  };
}

/** Cleans one field: text is trimmed, null and empty text are missing, what `read` gives nothing for is unreadable. */
export function clean<T>(object: JsonObject, field: string, read: (given: unknown) => T | undefined): Cleaned<T> {
  const raw = Object.hasOwn(object, field) ? object[field] : undefined;
  const given = typeof raw === 'string' ? raw.trim() : raw;
  if (given === undefined || given === null || given === '') return undefined;
  return read(given) ?? new Unreadable(given);
}

/**
 * Reads an id or another code, upper-cased. Looked at before upper-casing, which turns some letters beyond ASCII into
 * ASCII ones (ſ into S).
 */
export function readCode(given: unknown): string | undefined {
  return typeof given === 'string' ? (cleanId(given) ?? undefined) : undefined;
}

function readText(given: unknown): string | undefined {
  return typeof given === 'string' ? given : undefined;
}

function readUpperCaseText(given: unknown): string | undefined {
  return typeof given === 'string' ? given.toUpperCase() : undefined;
}

function readItems(given: unknown): (CleanedItem | Unreadable)[] | undefined {
  return Array.isArray(given) && given.length <= BOUNDS.items ? given.map(cleanItem) : undefined;
}

function cleanItem(item: unknown): CleanedItem | Unreadable {
  if (!isJsonObject(item)) return new Unreadable(item);
  return {
    product_id: clean(item, 'product_id', readCode),
    quantity: clean(item, 'quantity', readNumber),
    price_per_unit: clean(item, 'price_per_unit', readNumber),
  };
}
