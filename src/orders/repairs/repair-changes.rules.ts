import { isDeeper } from '../../shared/nesting.js';
import { readBody } from '../../domain/validation/message-body.rules.js';
import { ORDER_FIELDS } from '../../domain/order-event.js';

/** No order needs more; what is nested deeper is not compared. */
const MAX_LEVELS = 100;

/** What else a sender puts into an order has whatever name they gave it. */
const KNOWN_FIELDS = new Set<string>(ORDER_FIELDS);

/** A top-level field of an order that a repair gives another value. What is absent on a side has no value there. */
export interface FieldChange {
  field: string;
  before?: unknown;
  after?: unknown;
}

/**
 * Which fields a corrected order changes, for the record of who changed what. Where what was received can't be read, or
 * is nested deeper than any order, every field of the correction is a change.
 * @param received the body as received
 * @param corrected the order that is to be judged instead
 */
export function changesBetween(received: string, corrected: Record<string, unknown>): FieldChange[] {
  const read = readBody(received);
  const before = new Map(typeof read === 'string' || isDeeper(read, MAX_LEVELS) ? [] : Object.entries(read));
  const after = new Map(Object.entries(corrected));
  const changes: FieldChange[] = [];
  for (const field of new Set([...before.keys(), ...after.keys()])) {
    if (sameJson(before.get(field), after.get(field)) && before.has(field) === after.has(field)) continue;
    changes.push({
      field,
      ...(before.has(field) && { before: before.get(field) }),
      ...(after.has(field) && { after: after.get(field) }),
    });
  }
  return changes;
}

/** Which fields these are, without what is in them; of fields that no order event has, only how many. */
export function fieldsOf(changes: FieldChange[]): { changed: string[]; others: number } {
  const changed = changes.map(({ field }) => field).filter((field) => KNOWN_FIELDS.has(field));
  return { changed, others: changes.length - changed.length };
}

/** Equal as JSON, whatever the order of an object's fields. */
function sameJson(one: unknown, other: unknown): boolean {
  return JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  // Pairs, because a field may have a name that means something to an object.
  return { fields: fields.map(([name, inner]) => [name, sorted(inner)]) };
}
