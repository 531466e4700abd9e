import { ERASED } from '../shared/erased.js';
import type { FieldChange } from './repair-changes.rules.js';

/**
 * How often text within text is opened: a body that is a string, the message of an SNS envelope, and JSON in a field of
 * the order. A hostile body has hundreds.
 */
const MOST_OPENINGS = 4;

const WHOSE =
  '(?:ship(?:ping|to)?|bill(?:ing|to)?|deliver(?:y|to)|invoice|home|work|mobile|customer|client|buyer|purchaser|user|account|' +
  'payer|recipient|receiver|consignee|sender|contact|person|company|guest|gift|to|from)';

/** Names of fields, without case, signs between words and a number at the end, that are a person's wherever they stand. */
const OF_PERSONS = [
  /address|email|birth|coordinates/,
  /^(?:mail|dob|surname|attn|attention|careof)$/,
  /^street|^house(?:number|no)$|holder$/,
  new RegExp(
    `^${WHOSE}?(?:apartment|apt|suite|suburb|district|county|city|town|zip|zipcode|postal|postalcode|postcode|latitude|longitude|lat|lng|lon|ip)$`,
  ),
  new RegExp(`^${WHOSE}?(?:(?:tele|mobile|cell)?phones?|mobile|cell|tel|fax)(?:number|no)?$`),
  new RegExp(`^${WHOSE}?(?:customer|user|full|first|last|middle|given|family|maiden|nick|display|holder)names?$`),
  new RegExp(`^${WHOSE}names?$`),
  /^(?:customer|client|buyer|purchaser|payer|recipient|receiver|consignee|guest|contact|contactperson|shipto|billto|deliverto)s?$/,
  new RegExp(`^${WHOSE}?(?:notes?|comments?|instructions?|remarks?)$`),
  /^(?:gift|personal)message$/,
];

/** Outside the items these are a person's too, unless it is a thing's name. */
const NAME = /names?$/;
const NAME_OF_THING =
  /^(?:product|item|article|sku|variant|brand|category|collection|store|shop|country|region|currency|carrier|payment|method|coupon|campaign|event|file)/;

/** What stands within one of these is about products. */
const PRODUCTS = /^(?:(?:order|line|cart|basket)?(?:items?|lines?)|products?|articles?)$/;

const BETWEEN_TOKENS = /[\s,:]/;
const AFTER_SCALAR = /[\s,\]}]/g;
const MAY_BE_JSON = /^\s*["[{]/;
const NOTHING = ['null', '""', JSON.stringify(ERASED)];

/**
 * A body of an order event with the mark in place of what names, locates or reaches a person: the values of fields for
 * names, addresses, cities, postal codes, coordinates, e-mail addresses, phone numbers, dates of birth and notes (which
 * tend to have names in them), at any depth, whole where they are objects or lists; and of fields that are a person as
 * such, as `customer` or `recipient`. Within items a product's name stays. Ids, prices, country and state stay, and so
 * does personal data under a field whose name does not say so. JSON within text is looked through as well.
 *
 * Everything else is the text as received, byte for byte, but for text that holds JSON, which is written anew where
 * something in it was erased. A body that is not JSON is replaced as a whole, because nobody knows what it holds.
 * @returns null where nothing changes
 */
export function withoutPersonalData(body: string): string | null {
  if (body === '' || body === ERASED) return null;
  const erased = isJson(body) ? erasedJson(body) : ERASED;
  return erased === body ? null : erased;
}

/** What a repair changes, without personal data, see {@link withoutPersonalData}. @returns null where nothing changes */
export function changesWithoutPersonalData(changes: FieldChange[]): FieldChange[] | null {
  const erased = changes.map((change) => ({
    ...change,
    ...('before' in change && { before: erasedField(change.field, change.before) }),
    ...('after' in change && { after: erasedField(change.field, change.after) }),
  }));
  return JSON.stringify(erased) === JSON.stringify(changes) ? null : erased;
}

function erasedField(name: string, value: unknown): unknown {
  const erased = erasedJson(JSON.stringify({ [name]: value }));
  return Object.values(JSON.parse(erased) as object)[0];
}

/** An object or a list that is being read. */
interface Level {
  isObject: boolean;
  ofProducts: boolean;
}

/**
 * Goes through the tokens of well-formed JSON, keeping the levels in a list of its own: nesting may be deeper than a
 * stack, a name may be there twice, and no number is ever read.
 */
function erasedJson(json: string, ofProducts = false, openings = 0): string {
  const pieces: string[] = [];
  const levels: Level[] = [];
  let kept = 0;
  /** Of the value that comes next, where it is an object's. */
  let name: string | null = null;
  for (let at = 0; at < json.length;) {
    const level = levels.at(-1) ?? { isObject: false, ofProducts };
    const first = json[at]!;
    if (first === '}' || first === ']') levels.pop();
    if (first === '}' || first === ']' || BETWEEN_TOKENS.test(first)) {
      at++;
      continue;
    }
    if (level.isObject && name === null) {
      const end = endOfText(json, at);
      name = plainName(JSON.parse(json.slice(at, end)) as string);
      at = end;
      continue;
    }
    const aboutProducts = level.ofProducts || (name !== null && PRODUCTS.test(name));
    const personal = name !== null && isPersonal(name, level.ofProducts);
    name = null;
    if (!personal && (first === '{' || first === '[')) {
      levels.push({ isObject: first === '{', ofProducts: aboutProducts });
      at++;
      continue;
    }
    const end = endOfValue(json, at);
    const value = json.slice(at, end);
    const erased = personal ? erasedValue(value) : first === '"' ? erasedText(value, aboutProducts, openings) : value;
    if (erased !== value) {
      pieces.push(json.slice(kept, at), erased);
      kept = end;
    }
    at = end;
  }
  return pieces.join('') + json.slice(kept);
}

function erasedValue(value: string): string {
  return NOTHING.includes(value) ? value : JSON.stringify(ERASED);
}

/** @param text as it stands in JSON; it may hold JSON itself, as a wrapped body does and the message of SNS */
function erasedText(text: string, ofProducts: boolean, openings: number): string {
  if (openings === MOST_OPENINGS) return text;
  const inner = JSON.parse(text) as string;
  if (!MAY_BE_JSON.test(inner) || !isJson(inner)) return text;
  const erased = erasedJson(inner, ofProducts, openings + 1);
  return erased === inner ? text : JSON.stringify(erased);
}

function isPersonal(name: string, ofProduct: boolean): boolean {
  if (OF_PERSONS.some((pattern) => pattern.test(name))) return true;
  return !ofProduct && NAME.test(name) && !NAME_OF_THING.test(name);
}

/** `shipping_address`, `Shipping-Address`, `shippingAddress` and `shippingAddress2` are one name. */
function plainName(name: string): string {
  return name
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]/gu, '')
    .replace(/(?<!\p{N})\p{N}+$/u, ''); // looked for where a number begins, or a long one takes for ever
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

function endOfValue(json: string, start: number): number {
  const first = json[start];
  if (first === '"') return endOfText(json, start);
  if (first === '{' || first === '[') return endOfNesting(json, start);
  AFTER_SCALAR.lastIndex = start;
  return AFTER_SCALAR.exec(json)?.index ?? json.length;
}

function endOfNesting(json: string, start: number): number {
  let depth = 0;
  for (let at = start; ;) {
    const character = json[at];
    if (character === '"') {
      at = endOfText(json, at);
      continue;
    }
    at++;
    if (character === '{' || character === '[') depth++;
    if ((character === '}' || character === ']') && --depth === 0) return at;
  }
}

function endOfText(json: string, start: number): number {
  for (let at = start + 1; ; at++) {
    if (json[at] === '\\') at++;
    else if (json[at] === '"') return at + 1;
  }
}
