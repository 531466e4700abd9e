import { BOUNDS } from './order-event.js';

const PRINTABLE_ASCII = /^[\x20-\x7e]+$/;

/**
 * Cleans an id as every order event's ids are cleaned: trimmed and upper-cased. Null where a text can't be an id: empty,
 * longer than 128 characters or not printable ASCII (looked at before upper-casing, which turns some letters beyond
 * ASCII into ASCII ones: ſ into S).
 */
export function cleanId(text: string): string | null {
  const trimmed = text.trim();
  return trimmed.length <= BOUNDS.idLength && PRINTABLE_ASCII.test(trimmed) ? trimmed.toUpperCase() : null;
}
