/** How deep a body may be nested, on the queue and over HTTP. No contract of an order event comes near it. */
export const MAX_LEVELS = 200;

const [QUOTE, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = Buffer.from('"\\[]{}');

/**
 * Whether JSON is nested deeper than so many levels. Nothing is built of it, and it is read up to the first level too many
 * only. Of a text that is not JSON the answer may be either.
 * @param json in UTF-8
 */
export function isJsonDeeper(json: Uint8Array, levels: number): boolean {
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    const byte = json[at];
    if (byte === QUOTE) at = closingQuote(json, at);
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++;
    else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth--;
    if (depth > levels) return true;
  }
  return false;
}

/** Where a string ends. */
function closingQuote(json: Uint8Array, start: number): number {
  let at = start + 1;
  while (at < json.length && json[at] !== QUOTE) at += json[at] === BACKSLASH ? 2 : 1;
  return at;
}

/**
 * Whether a parsed JSON value is nested deeper than so many levels. What walks through such a value calls itself once a
 * level, so this is to be asked first; it does not.
 */
export function isDeeper(value: unknown, levels: number): boolean {
  let level = [value].filter(isObject);
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === levels) return true;
    level = level.flatMap((each) => valuesOf(each).filter(isObject));
  }
  return false;
}

/** Whether a parsed JSON value has an object, however deep inside, with more than so many fields. */
export function isWider(value: unknown, fields: number): boolean {
  const waiting = [value].filter(isObject);
  for (let each = waiting.pop(); each; each = waiting.pop()) {
    const inside = valuesOf(each);
    if (!Array.isArray(each) && inside.length > fields) return true;
    for (const inner of inside) if (isObject(inner)) waiting.push(inner);
  }
  return false;
}

/** Of a list, itself: to copy hundreds of thousands of small ones takes 100 ms. */
function valuesOf(value: object): unknown[] {
  return Array.isArray(value) ? value : Object.values(value);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
