import { isUUID } from 'class-validator';
import { InvalidInput } from '../../shared/errors.js';

/** Packs the place where a page ended into a text that callers hand back unread. */
export function encodeCursor(place: object): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

/**
 * Unpacks a cursor.
 * @param isPlace whether what was packed is a place in this very list
 * @throws InvalidInput on the field `cursor` where it is not one of ours
 */
export function decodeCursor<Place extends object>(
  cursor: string,
  isPlace: (value: Record<string, unknown>) => value is Record<string, unknown> & Place,
): Place {
  const place = parsed(Buffer.from(cursor, 'base64url').toString());
  const isObject = typeof place === 'object' && place !== null && !Array.isArray(place);
  if (!isObject || !isPlace(place as Record<string, unknown>)) {
    throw new InvalidInput([{ field: 'cursor', message: 'must be a next_cursor of this list' }]);
  }
  return place as Place;
}

/**
 * The place in a list by falling numbers at which a page begins: before this one. The cursor of such a list is made of
 * `{before}`. @throws InvalidInput
 */
export function placeBefore(cursor: string | undefined): number | undefined {
  return cursor === undefined ? undefined : decodeCursor(cursor, isBefore).before;
}

/** The same of a list whose entries are told apart by UUIDs. @throws InvalidInput */
export function entryBefore(cursor: string | undefined): string | undefined {
  return cursor === undefined ? undefined : decodeCursor(cursor, isBeforeEntry).before;
}

function isBeforeEntry(value: Record<string, unknown>): value is { before: string } {
  return isUUID(value.before);
}

function isBefore(value: Record<string, unknown>): value is { before: number } {
  return Number.isSafeInteger(value.before);
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}
