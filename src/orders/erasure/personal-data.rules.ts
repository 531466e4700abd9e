import { ERASED } from '../../shared/erased.js';
import type { FieldChange } from '../repairs/repair-changes.rules.js';

/** Fields that validation reads of an order, a refund and an SNS envelope, without free text. */
const READ_FIELDS = [
  ...['order_id', 'user_id', 'order_timestamp', 'order_value', 'currency'],
  ...['items', 'product_id', 'sku', 'quantity', 'price_per_unit'],
  ...['type', 'refund_id', 'refund_timestamp', 'amount'],
  ...['MessageId', 'TopicArn', 'Timestamp'],
];

/**
 * How often text within text is opened: a body that is a string, the message of an SNS envelope, and JSON in a field of
 * the order. A hostile body has hundreds.
 */
const MAX_OPENINGS = 4;

const BETWEEN_TOKENS = /[\s,:]/;
const AFTER_SCALAR = /[\s,\]}]/g;
const MAY_BE_JSON = /^\s*["[{]/;
const MARK = JSON.stringify(ERASED);
const NOTHING = ['null', 'true', 'false', '""', MARK];

/** Names of fields that an erasure keeps, as {@link keptFields} makes them. */
export type KeptFields = ReadonlySet<string>;

/** What an erasure keeps. @param more names of fields that an operator has kept besides those that the service reads */
export function keptFields(more: readonly string[]): KeptFields {
  return new Set([...READ_FIELDS, ...more].map(plainName));
}

/**
 * A body of an order event without what may be personal: every text and number, at any depth, whose field is not among
 * `kept`. An object or a list in which nothing is kept is replaced as a whole, so that neither its shape nor the names in
 * it remain. Of a list, the elements belong to the list's field. Truth values and null stay, and so do the names of fields
 * beside kept ones. JSON within text is looked through as well.
 *
 * Everything else is the text as received, byte for byte, but for text that holds JSON, which is written anew where
 * something in it was erased. A body that is not JSON is replaced as a whole, because nobody knows what it holds.
 * @returns null where nothing changes
 */
export function withoutPersonalData(body: string, kept: KeptFields): string | null {
  if (body === '' || body === ERASED) return null;
  const erased = isJson(body) ? erasedJson(body, kept).text : ERASED;
  return erased === body ? null : erased;
}

/** What a repair changes, without personal data, see {@link withoutPersonalData}. @returns null where nothing changes */
export function changesWithoutPersonalData(changes: FieldChange[], kept: KeptFields): FieldChange[] | null {
  const erased = changes.map((change) => ({
    ...change,
    ...('before' in change && { before: erasedField(change.field, change.before, kept) }),
    ...('after' in change && { after: erasedField(change.field, change.after, kept) }),
  }));
  return JSON.stringify(erased) === JSON.stringify(changes) ? null : erased;
}

function erasedField(name: string, value: unknown, kept: KeptFields): unknown {
  const erased = erasedJson(JSON.stringify({ [name]: value }), kept);
  return Object.values(JSON.parse(erased.text) as object)[0];
}

/** JSON in which nothing personal is left. */
interface ErasedJson {
  text: string;
  /** Whether anything was kept in it. */
  keeps: boolean;
}

/** An object or a list that is being read. */
interface Level {
  isObject: boolean;
  /** Whether it stays whatever is in it, and as a list keeps what is directly in it. */
  isKept: boolean;
  keeps: boolean;
  /** Where it begins, and what was written until then: to be gone back to where it is replaced as a whole. */
  start: number;
  pieces: number;
  copied: number;
}

/**
 * Goes through the tokens of well-formed JSON, keeping the levels in a list of its own: nesting may be deeper than a
 * stack, a name may be there twice, and no number is ever read.
 * @param isKept whether the text that holds it stands in a kept field
 */
function erasedJson(json: string, kept: KeptFields, isKept = false, openings = 0): ErasedJson {
  const pieces: string[] = [];
  const root = { isObject: false, isKept, keeps: false, start: 0, pieces: 0, copied: 0 };
  const levels: Level[] = [root];
  let copied = 0;
  const replace = (start: number, end: number, text: string): void => {
    pieces.push(json.slice(copied, start), text);
    copied = end;
  };
  /** Of the value that comes next, where it is an object's. */
  let name: string | null = null;
  for (let at = 0; at < json.length;) {
    const level = levels.at(-1)!;
    const first = json[at]!;
    if (first === '}' || first === ']') {
      at++;
      levels.pop();
      if (level.keeps) {
        levels.at(-1)!.keeps = true;
      } else if (!level.isKept && levels.length > 1) {
        pieces.length = level.pieces;
        copied = level.copied;
        replace(level.start, at, MARK);
      }
      continue;
    }
    if (BETWEEN_TOKENS.test(first)) {
      at++;
      continue;
    }
    if (level.isObject && name === null) {
      const end = endOfText(json, at);
      name = plainName(JSON.parse(json.slice(at, end)) as string);
      at = end;
      continue;
    }
    const isValueKept = name === null ? level.isKept : kept.has(name);
    name = null;
    if (first === '{' || first === '[') {
      levels.push({
        isObject: first === '{',
        isKept: isValueKept,
        keeps: false,
        start: at,
        pieces: pieces.length,
        copied,
      });
      at++;
      continue;
    }
    const end = endOfScalar(json, at);
    const value = json.slice(at, end);
    const erased = erasedScalar(value, kept, isValueKept, openings);
    if (erased.keeps) level.keeps = true;
    if (erased.text !== value) replace(at, end, erased.text);
    at = end;
  }
  return { text: pieces.join('') + json.slice(copied), keeps: root.keeps };
}

function erasedScalar(value: string, kept: KeptFields, isKept: boolean, openings: number): ErasedJson {
  if (NOTHING.includes(value)) return { text: value, keeps: false };
  const whole = isKept ? { text: value, keeps: true } : { text: MARK, keeps: false };
  if (!value.startsWith('"')) return whole;
  const inner = JSON.parse(value) as string;
  if (!MAY_BE_JSON.test(inner) || !isJson(inner)) return whole;
  // It may be a wrapped body, the message of an SNS envelope, or what a sender wrote as text by mistake.
  if (openings === MAX_OPENINGS) return { text: MARK, keeps: false };
  const erased = erasedJson(inner, kept, isKept, openings + 1);
  if (!erased.keeps) return { text: MARK, keeps: false };
  return { text: erased.text === inner ? value : JSON.stringify(erased.text), keeps: true };
}

/** `shipping_address`, `Shipping-Address` and `shippingAddress` are one name. */
function plainName(name: string): string {
  return name
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]/gu, '');
}

/** As the judging rules read a body. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text.trim());
    return true;
  } catch {
    return false;
  }
}

function endOfScalar(json: string, start: number): number {
  if (json[start] === '"') return endOfText(json, start);
  AFTER_SCALAR.lastIndex = start;
  return AFTER_SCALAR.exec(json)?.index ?? json.length;
}

function endOfText(json: string, start: number): number {
  for (let at = start + 1; ; at++) {
    if (json[at] === '\\') at++;
    else if (json[at] === '"') return at + 1;
  }
}
