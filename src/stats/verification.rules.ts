import type { Change } from './figure-store.js';

const MONEY_FIELD = 'revenue';
const MOST_CHARACTERS_SHOWN = 64;
/** What a mismatch of a whole key says. */
const ANOTHER_TYPE = 'another type';
const LASTS = 'no expiry';
const EXPIRES = 'an expiry';

/** A stored value: a whole number (cents where it is money), a text where it is none, null where there is nothing. */
export type StoredValue = number | string | null;

/** A place where Redis holds something else than it should. */
export interface Mismatch {
  /** Without prefix and generation, e.g. `user:U1`. */
  key: string;
  /** Of a hash the field, of a sorted set the member; null where it is about the whole key. */
  field: string | null;
  expected: StoredValue;
  found: StoredValue;
  isMoney: boolean;
  /** By how many cents the money stored there is wrong; all of it where it is missing or no number. */
  driftCents: number;
}

/** What every key must hold: the same changes as Redis was told, made of figures that came another way. */
export class ExpectedFigures {
  readonly hashes = new Map<string, Record<string, number>>();
  readonly rankings = new Map<string, Map<string, number>>();

  /** Adds what a later run of entries changes. */
  add(changes: Iterable<Change>): void {
    for (const { key, action, pairs } of changes) {
      if (action === 'rank') this.addTo(this.ranking(key), pairs);
      else this.change(this.hash(key), action, pairs);
    }
  }

  has(key: string): boolean {
    return this.hashes.has(key) || this.rankings.has(key);
  }

  private addTo(ranking: Map<string, number>, pairs: string[]): void {
    for (let i = 0; i < pairs.length; i += 2) {
      ranking.set(pairs[i]!, (ranking.get(pairs[i]!) ?? 0) + Number(pairs[i + 1]));
    }
  }

  private change(hash: Record<string, number>, action: 'add' | 'max', pairs: string[]): void {
    for (let i = 0; i < pairs.length; i += 2) {
      const [field, before, amount] = [pairs[i]!, hash[pairs[i]!] ?? 0, Number(pairs[i + 1])];
      hash[field] = action === 'max' ? Math.max(before, amount) : before + amount;
    }
  }

  private hash(key: string): Record<string, number> {
    let found = this.hashes.get(key);
    if (!found) this.hashes.set(key, (found = {}));
    return found;
  }

  private ranking(key: string): Map<string, number> {
    let found = this.rankings.get(key);
    if (!found) this.rankings.set(key, (found = new Map<string, number>()));
    return found;
  }
}

/** All that was found wrong, of which only the first are kept. */
export class Mismatches {
  readonly first: Mismatch[] = [];
  count = 0;
  driftCents = 0;

  /** @param most how many are kept */
  constructor(private readonly most: number) {}

  add(mismatches: Iterable<Mismatch>): void {
    for (const mismatch of mismatches) {
      this.count++;
      this.driftCents = Math.min(this.driftCents + mismatch.driftCents, Number.MAX_SAFE_INTEGER);
      if (this.first.length < this.most) this.first.push(mismatch);
    }
  }
}

/**
 * Compares a hash with what it must hold, field by field: none wrong, none missing, none too many.
 * @param expected null where a field must not be there
 */
export function compareHash(
  key: string,
  expected: Record<string, StoredValue>,
  found: Record<string, string>,
): Mismatch[] {
  const fields = new Set([...Object.keys(expected), ...Object.keys(found)]);
  return [...fields].flatMap((field) =>
    compareValue({ key, field, isMoney: field === MONEY_FIELD }, expected[field] ?? null, valueOf(found[field])),
  );
}

/** Compares a hash that holds texts. @param expected field and text in turn */
export function compareTexts(key: string, expected: string[], found: Record<string, string>): Mismatch[] {
  const values: Record<string, StoredValue> = {};
  for (let i = 0; i < expected.length; i += 2) values[expected[i]!] = valueOf(expected[i + 1]);
  return compareHash(key, values, found);
}

/**
 * Compares the score of one member of a sorted set.
 * @param expected null where it must not be a member
 */
export function compareScore(
  place: Pick<Mismatch, 'key' | 'isMoney'> & { field: string },
  expected: number | null,
  found: string | null,
): Mismatch[] {
  // Redis writes large scores with an exponent.
  const score = found === null ? null : Number(found);
  return compareValue(place, expected, Number.isSafeInteger(score) ? score : valueOf(found ?? undefined));
}

/** A key that is of another type than it should; all money that it should hold is missing. */
export function anotherType(key: string, expected: 'hash' | 'sorted set', money: Iterable<number>): Mismatch {
  let driftCents = 0;
  for (const amount of money) driftCents += Math.abs(amount);
  return { ...ofWholeKey(key, expected, ANOTHER_TYPE), driftCents };
}

/** A key that would vanish by itself. */
export function expires(key: string): Mismatch {
  return ofWholeKey(key, LASTS, EXPIRES);
}

/** A key that should not be there and that is neither a hash nor a sorted set. */
export function strayKey(key: string, type: string): Mismatch {
  return ofWholeKey(key, null, type);
}

/** The money that a hash holds, cents. */
export function moneyIn(hash: Record<string, number>): number[] {
  return [hash[MONEY_FIELD] ?? 0];
}

function ofWholeKey(key: string, expected: StoredValue, found: StoredValue): Mismatch {
  return { key, field: null, expected, found, isMoney: false, driftCents: 0 };
}

function compareValue(
  place: Pick<Mismatch, 'key' | 'field' | 'isMoney'>,
  expected: StoredValue,
  found: StoredValue,
): Mismatch[] {
  if (expected === found) return [];
  const driftCents = place.isMoney ? Math.abs(amountOf(found) - amountOf(expected)) : 0;
  const shown = typeof found === 'string' ? found.slice(0, MOST_CHARACTERS_SHOWN) : found;
  return [{ ...place, expected, found: shown, driftCents }];
}

/** Numbers are stored in one form only; what is written otherwise was not written by a fold. */
function valueOf(stored: string | undefined): StoredValue {
  if (stored === undefined) return null;
  const amount = Number(stored);
  return Number.isSafeInteger(amount) && String(amount) === stored ? amount : stored;
}

function amountOf(value: StoredValue): number {
  return typeof value === 'number' ? value : 0;
}
