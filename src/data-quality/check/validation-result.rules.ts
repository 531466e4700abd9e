import type { Cents } from '../../domain/money.js';
import type { ValidatedMessage, Reason } from '../../domain/order-event.js';
import { type ExactNumber, isWhole, roundedCents } from '../../domain/validation/exact-number.rules.js';
import type { JsonObject } from '../../domain/validation/message-body.rules.js';
import {
  type Cleaned,
  type CleanedItem,
  cleanOrder,
  Unreadable,
} from '../../domain/validation/order-cleaning.rules.js';
import { sumOfItems } from '../../domain/validation/order-event.rules.js';

/** The fields of an order that a check speaks of, and the reasons for which one may be wrong. */
export const REASONS_OF = {
  order_id: ['missing_order_id', 'invalid_order_id', 'conflicting_duplicate'],
  user_id: ['missing_user_id', 'invalid_user_id'],
  order_timestamp: [
    'missing_order_timestamp',
    'invalid_order_timestamp',
    'order_timestamp_out_of_range',
    'order_timestamp_in_future',
  ],
  order_value: ['non_positive_order_value', 'missing_order_value', 'invalid_order_value', 'order_value_mismatch'],
  items: ['order_value_too_large', 'non_positive_total', 'missing_items', 'invalid_items', 'too_many_items'],
  'items.product_id': ['missing_product_id', 'invalid_product_id'],
  'items.quantity': ['missing_quantity', 'invalid_quantity', 'non_positive_quantity', 'quantity_too_large'],
  'items.price_per_unit': [
    'missing_price_per_unit',
    'invalid_price_per_unit',
    'negative_price_per_unit',
    'price_per_unit_too_large',
  ],
  currency: ['unsupported_currency'],
  shipping_address: ['invalid_shipping_address'],
  payment_method: ['invalid_payment_method'],
} as const satisfies Record<string, Reason[]>;

/** A field that a check speaks of; one of items stands for that of every item. */
export type CheckedField = keyof typeof REASONS_OF;

/** Every {@link CheckedField}. */
export const CHECKED_FIELDS = Object.keys(REASONS_OF) as CheckedField[];

/** What the rules say of a field. */
export interface FieldVerdict {
  field: CheckedField;
  /** Of items: whether every item has it. */
  present: boolean;
  /** Whether it can be read as what it is for; null where it is not there at all. */
  correctType: boolean | null;
  reasons: Reason[];
}

/** What the rules say of an order. */
export interface RulesVerdict {
  outcome: ValidatedMessage['outcome'];
  reasons: Reason[];
  /** Cleaned; null where it can't be read or is no user's. */
  userId: string | null;
  /** ms UTC; null where it can't be read. */
  orderedAt: number | null;
  /** What counts; null where it failed. */
  orderValue: Cents | null;
  /** What the items add up to; null where that can't be computed. */
  computedValue: Cents | null;
  /** What the sender claims; null where it is missing, unreadable or beyond ±10^13 cents. */
  claimedValue: Cents | null;
  /** Null where there is no claim, or no sum, to compare. */
  valueEqualsSum: boolean | null;
  fields: FieldVerdict[];
}

/**
 * The verdict of the rules in full.
 * @param judged what judging said, now or when the order was stored
 * @param order as received, unwrapped; null where the body holds none
 */
export function rulesVerdict(
  judged: Pick<ValidatedMessage, 'outcome' | 'reasons' | 'userId' | 'orderedAt' | 'value' | 'claimed'>,
  order: JsonObject | null,
): RulesVerdict {
  const cleaned = cleanOrder(order ?? {});
  const sum = sumOfItems(cleaned);
  const claim = cleaned.order_value;
  const isClaim = claim !== undefined && !(claim instanceof Unreadable);
  const items = Array.isArray(cleaned.items) ? cleaned.items : [];
  const field = (name: CheckedField, values: Cleaned<unknown>[]): FieldVerdict => ({
    field: name,
    present: values.length > 0 && values.every((value) => value !== undefined),
    correctType: values.every((value) => value === undefined)
      ? null
      : values.every((value) => !(value instanceof Unreadable)),
    reasons: judged.reasons.filter((reason) => (REASONS_OF[name] as readonly Reason[]).includes(reason)),
  });
  return {
    outcome: judged.outcome,
    reasons: judged.reasons,
    userId: judged.userId,
    orderedAt: judged.orderedAt,
    orderValue: judged.value,
    computedValue: sum,
    claimedValue: judged.claimed,
    valueEqualsSum: isClaim && sum !== null ? roundedCents(claim) === sum : null,
    fields: [
      field('order_id', [cleaned.order_id]),
      field('user_id', [cleaned.user_id]),
      field('order_timestamp', [cleaned.order_timestamp]),
      field('order_value', [cleaned.order_value]),
      field('items', [itemsAsOne(cleaned.items)]),
      field('items.product_id', ofItems(items, 'product_id')),
      field('items.quantity', ofItems(items, 'quantity').map(wholeOrUnreadable)),
      field('items.price_per_unit', ofItems(items, 'price_per_unit')),
      field('currency', [cleaned.currency]),
      field('shipping_address', [cleaned.shipping_address]),
      field('payment_method', [cleaned.payment_method]),
    ],
  };
}

/** A list of which one is no object is not a list of objects. */
function itemsAsOne(items: Cleaned<(CleanedItem | Unreadable)[]>): Cleaned<unknown> {
  return Array.isArray(items) ? (items.find((item) => item instanceof Unreadable) ?? items) : items;
}

function ofItems<Name extends keyof CleanedItem>(
  items: (CleanedItem | Unreadable)[],
  name: Name,
): (CleanedItem[Name] | undefined)[] {
  return items.map((item) => (item instanceof Unreadable ? undefined : item[name]));
}

function wholeOrUnreadable(quantity: Cleaned<ExactNumber>): Cleaned<ExactNumber> {
  if (quantity === undefined || quantity instanceof Unreadable || isWhole(quantity)) return quantity;
  return new Unreadable(quantity);
}
