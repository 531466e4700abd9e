import { decimalOf } from '../../domain/money.js';
import { roundedCents } from '../../domain/validation/exact-number.rules.js';
import { isJsonObject, type JsonObject } from '../../domain/validation/message-body.rules.js';
import { cleanOrder, Unreadable } from '../../domain/validation/order-cleaning.rules.js';
import { sumOfItems } from '../../domain/validation/order-event.rules.js';
import { type Disagreement, type ModelFix, shownText } from './model-answer.rules.js';
import type { RulesVerdict } from './validation-result.rules.js';

/** Nothing else of an order can be changed, so that no other name of an object is ever looked up. */
const FIELD = /^\/(order_id|user_id|order_timestamp|order_value|currency|shipping_address|payment_method)$/;
const ITEM_FIELD = /^\/items\/(0|[1-9]\d{0,3})\/(product_id|quantity|price_per_unit)$/;

/** A change of an order. */
export interface FixChange {
  /** `order_value`, or `items.2.quantity`. */
  field: string;
  /** Undefined where the field was not there. */
  before: unknown;
  after: string | number;
  why: string;
  by: 'rules' | 'model';
}

/** An order with changes. Whether it would pass now, the rules have to say. */
export interface FixedOrder {
  order: JsonObject;
  /** Empty where there is nothing to change. */
  changes: FixChange[];
  /** What the model proposed and is not done. */
  refused: Disagreement[];
}

/**
 * Makes the changes that a model proposes, in a copy of the order, and sets order_value to the sum of the items where it is
 * anything else: arithmetic is the rules'.
 * @param order as received, unwrapped
 * @param hidden pointers of what the model was not shown, and so can't change
 * @param rules of an order that failed: in it the model can change only what they find wrong
 */
export function fixedOrder(
  order: JsonObject,
  proposed: ModelFix[],
  hidden: ReadonlySet<string>,
  rules: Pick<RulesVerdict, 'outcome' | 'fields'>,
): FixedOrder {
  const fixed: JsonObject = { ...order };
  if (Array.isArray(order['items'])) {
    fixed['items'] = order['items'].map((item: unknown) => (isJsonObject(item) ? { ...item } : item));
  }
  const changes: FixChange[] = [];
  const refused: Disagreement[] = [];
  let proposedValue: number | string | null = null;
  for (const { pointer, value, why } of proposed) {
    const target = targetOf(fixed, pointer);
    const field = pointer.slice(1).replaceAll('/', '.');
    const refuse = (because: string): void => {
      const model = typeof value === 'string' ? shownText(value) : value;
      refused.push({ about: `fix of ${field}`, rules: because, model });
    };
    if (target === null) {
      refused.push({ about: 'proposed fix', rules: 'there is no such field to change', model: pointer });
    } else if (hidden.has(pointer)) {
      refuse('was not shown to the model');
    } else if (typeof value === 'string' && shownText(value) !== value) {
      refuse('is too long, or has characters that are not for the eye');
    } else if (pointer === '/order_value') {
      proposedValue = value;
    } else if (rules.outcome === 'failed' && !isFaulted(rules, field)) {
      refuse('is right as it is');
    } else if (target.object[target.name] !== value) {
      const before = Object.hasOwn(target.object, target.name) ? target.object[target.name] : undefined;
      target.object[target.name] = value;
      changes.push({ field, before, after: value, why, by: 'model' });
    }
  }
  const { sum, change } = valueChange(fixed);
  if (change) {
    fixed['order_value'] = change.after;
    changes.push(change);
  }
  if (proposedValue !== null && (sum === null || Number(proposedValue) !== sum)) {
    refused.push({ about: 'fix of order_value', rules: sum, model: proposedValue });
  }
  return { order: fixed, changes, refused };
}

function valueChange(order: JsonObject): { sum: number | null; change: FixChange | null } {
  const cleaned = cleanOrder(order);
  const sum = sumOfItems(cleaned);
  if (sum === null || sum <= 0) return { sum: null, change: null };
  const claim = cleaned.order_value;
  const isRight = claim !== undefined && !(claim instanceof Unreadable) && roundedCents(claim) === sum;
  const after = decimalOf(sum);
  if (isRight) return { sum: after, change: null };
  const before = Object.hasOwn(order, 'order_value') ? order['order_value'] : undefined;
  const why = 'The sum of quantity times price_per_unit.';
  return { sum: after, change: { field: 'order_value', before, after, why, by: 'rules' } };
}

/** What makes a sum impossible may be any quantity or price. */
function isFaulted({ fields }: Pick<RulesVerdict, 'fields'>, field: string): boolean {
  const name = field.replace(/\.\d+/, '');
  const faulted = fields.filter(({ reasons }) => reasons.length > 0).map((verdict) => verdict.field as string);
  return faulted.includes(name) || (name.startsWith('items.') && faulted.includes('items'));
}

function targetOf(order: JsonObject, pointer: string): { object: JsonObject; name: string } | null {
  const field = FIELD.exec(pointer)?.[1];
  if (field !== undefined) return { object: order, name: field };
  const [, index, name] = ITEM_FIELD.exec(pointer) ?? [];
  const items = order['items'];
  const item: unknown = Array.isArray(items) ? items[Number(index)] : undefined;
  return name !== undefined && isJsonObject(item) ? { object: item, name } : null;
}
