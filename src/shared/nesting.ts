/**
 * Whether a parsed JSON value is nested deeper than so many levels. What walks through such a value calls itself once a
 * level, so this is to be asked first; it does not.
 */
export function isDeeper(value: unknown, levels: number): boolean {
  let level = [value].filter(isObject);
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === levels) return true;
    level = level.flatMap((each) => Object.values(each).filter(isObject));
  }
  return false;
}

/** Whether a parsed JSON value has an object, however deep inside, with more than so many fields. */
export function isWider(value: unknown, fields: number): boolean {
  const waiting = [value].filter(isObject);
  for (let each = waiting.pop(); each; each = waiting.pop()) {
    const inside = Object.values(each);
    if (!Array.isArray(each) && inside.length > fields) return true;
    for (const inner of inside) if (isObject(inner)) waiting.push(inner);
  }
  return false;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
