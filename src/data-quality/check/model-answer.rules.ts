import type { Cents } from '../../domain/money.js';
import { cleanId } from '../../domain/ids.js';
import { isoOf } from '../../shared/iso-time.js';
import { decimalOf } from '../../domain/money.js';
import { roundedCents } from '../../domain/validation/exact-number.rules.js';
import { readTimestamp } from '../../domain/validation/timestamp.rules.js';
import { CHECKED_FIELDS, type CheckedField, type RulesVerdict } from './validation-result.rules.js';

/** Of each list and each text of an answer; whoever sends an order may have made the model write more. */
const MAX_LISTED = 50;
const MAX_CHARACTERS = 300;

/** What the language model says of an order; the form is {@link ANSWER_SCHEMA}. */
export interface ModelAnswer {
  valid: boolean;
  fields: { field: CheckedField; present: boolean; correct_type: boolean | null; note: string | null }[];
  value_equals_sum: boolean | null;
  extracted: { user_id: string | null; order_value: number | null; order_timestamp: string | null };
  inconsistencies: { field: string; problem: string }[];
  fixes: ModelFix[];
}

/** A change that the model proposes. */
export interface ModelFix {
  /** As RFC 6901 lays it out. */
  pointer: string;
  value: string | number;
  why: string;
}

/** Something in which the model does not say what the rules say. */
export interface Disagreement {
  about: string;
  rules: string | number | boolean | null;
  model: string | number | boolean | null;
}

const object = (properties: Record<string, object>): object => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
const listOf = (items: object): object => ({ type: 'array', items });

/**
 * The JSON schema that the model is held to, and its answer checked by. Only of what strict structured output knows: every
 * property is required, and nothing says how long a text may be.
 */
export const ANSWER_SCHEMA = object({
  valid: { type: 'boolean' },
  fields: listOf(
    object({
      field: { type: 'string', enum: CHECKED_FIELDS },
      present: { type: 'boolean' },
      correct_type: { type: ['boolean', 'null'] },
      note: { type: ['string', 'null'] },
    }),
  ),
  value_equals_sum: { type: ['boolean', 'null'] },
  extracted: object({
    user_id: { type: ['string', 'null'] },
    order_value: { type: ['number', 'null'] },
    order_timestamp: { type: ['string', 'null'] },
  }),
  inconsistencies: listOf(object({ field: { type: 'string' }, problem: { type: 'string' } })),
  fixes: listOf(
    object({ pointer: { type: 'string' }, value: { type: ['string', 'number'] }, why: { type: 'string' } }),
  ),
});

/**
 * The answer within bounds, as text that is only shown: without control characters, cut where it is too long. The values of
 * fixes are left alone: what would have to be cut must not be taken over.
 * @param userId what stood for the order's user id, to be put back where that was asked for, and nowhere else: it may be
 *   as short as a digit
 */
export function presentable(answer: ModelAnswer, userId: { shown: string; real: string } | null): ModelAnswer {
  const { extracted } = answer;
  const found = extracted.user_id?.trim();
  return {
    valid: answer.valid,
    fields: firstOfEach(answer.fields).map((field) => ({
      ...field,
      note: field.note === null ? null : shownText(field.note),
    })),
    value_equals_sum: answer.value_equals_sum,
    extracted: {
      user_id: found === undefined ? null : shownText(found === userId?.shown ? userId.real : found),
      order_value: extracted.order_value,
      order_timestamp: extracted.order_timestamp === null ? null : shownText(extracted.order_timestamp),
    },
    inconsistencies: answer.inconsistencies
      .slice(0, MAX_LISTED)
      .map(({ field, problem }) => ({ field: shownText(field), problem: shownText(problem) })),
    fixes: answer.fixes
      .slice(0, MAX_LISTED)
      .map(({ pointer, value, why }) => ({ pointer: shownText(pointer), value, why: shownText(why) })),
  };
}

/** As it stands in a page or a terminal without doing anything there. */
export function shownText(text: string): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu, ' ').trim();
  return plain.length > MAX_CHARACTERS ? `${plain.slice(0, MAX_CHARACTERS - 1).toWellFormed()}…` : plain;
}

/** In what the two differ. Nothing is said where the rules have nothing to compare with. */
export function disagreementsOf(rules: RulesVerdict, answer: ModelAnswer): Disagreement[] {
  const found: Disagreement[] = [];
  const compare = (about: string, ofRules: Disagreement['rules'], ofModel: Disagreement['model']): void => {
    if (ofRules !== ofModel) found.push({ about, rules: ofRules, model: ofModel });
  };
  // An order that was corrected is neither right as it was sent nor wrong as it counts.
  if (rules.outcome !== 'corrected') compare('valid', rules.outcome === 'accepted', answer.valid);
  if (rules.valueEqualsSum !== null) compare('value_equals_sum', rules.valueEqualsSum, answer.value_equals_sum);
  const { user_id, order_value, order_timestamp } = answer.extracted;
  if (!sameAmount(rules.claimedValue, order_value)) {
    compare('order_value', rules.claimedValue === null ? null : decimalOf(rules.claimedValue), order_value);
  }
  // What is there and can't be read may be told in whatever way.
  const isThere = (name: CheckedField): boolean => rules.fields.some(({ field, present }) => field === name && present);
  if (rules.userId !== null || !isThere('user_id')) {
    compare('user_id', rules.userId, user_id === null ? null : (cleanId(user_id) ?? user_id));
  }
  const time = order_timestamp === null ? null : (readTimestamp(order_timestamp) ?? null);
  if (time !== rules.orderedAt && (rules.orderedAt !== null || !isThere('order_timestamp'))) {
    compare('order_timestamp', isoOf(rules.orderedAt), order_timestamp);
  }
  for (const { field, present, correct_type } of answer.fields) {
    const ofRules = rules.fields.find((verdict) => verdict.field === field)!;
    compare(`${field} present`, ofRules.present, present);
    if (ofRules.correctType !== null && correct_type !== null) {
      compare(`${field} of the correct type`, ofRules.correctType, correct_type);
    }
  }
  return found;
}

function sameAmount(amount: Cents | null, number: number | null): boolean {
  return number === null ? amount === null : amount !== null && roundedCents(number) === amount;
}

function firstOfEach(fields: ModelAnswer['fields']): ModelAnswer['fields'] {
  return CHECKED_FIELDS.flatMap((name) => fields.find(({ field }) => field === name) ?? []);
}
