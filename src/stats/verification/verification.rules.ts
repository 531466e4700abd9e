import type { Change } from '../projection/statistics.repository.js';

const MAX_CHARACTERS_SHOWN = 64;
/** What a mismatch of a whole key says. */
const ANOTHER_TYPE = 'another type';
const LASTS = 'no expiry';
const EXPIRES = 'an expiry';

/** A stored value: a whole number (cents where it is money), a text where it is none, null where there is nothing. */
export type StoredValue = bigint | string | null;

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
  driftCents: bigint;
}

/** What every key must hold: the same changes as Redis was told, made of figures that came another way. */
export class ExpectedStatistics {
  readonly hashes = new Map<string, Record<string, bigint>>();
  /** Hashes that may have very many fields. */
  readonly largeHashes = new Map<string, Map<string, bigint>>();
  readonly rankings = new Map<string, Map<string, bigint>>();

  /** @param large keys of {@link largeHashes} */
  constructor(private readonly large: string[] = []) {}

  /** Adds what a later run of entries changes. */
  add(changes: Iterable<Change>): void {
    for (const { key, action, pairs } of changes) {
      if (action === 'rank') addTo(membersOf(this.rankings, key), pairs);
      else if (this.large.includes(key)) addTo(membersOf(this.largeHashes, key), pairs);
      else this.change(this.hash(key), action, pairs);
    }
  }

  has(key: string): boolean {
    return this.hashes.has(key) || this.largeHashes.has(key) || this.rankings.has(key);
  }

  private change(hash: Record<string, bigint>, action: 'add' | 'max', pairs: string[]): void {
    for (let i = 0; i < pairs.length; i += 2) {
      const [field, before, amount] = [pairs[i]!, hash[pairs[i]!] ?? 0n, BigInt(pairs[i + 1]!)];
      if (action === 'add') hash[field] = before + amount;
      else hash[field] = amount > before ? amount : before;
    }
  }

  private hash(key: string): Record<string, bigint> {
    let found = this.hashes.get(key);
    // Fields are names that senders chose, such as `constructor`.
    if (!found) this.hashes.set(key, (found = Object.create(null) as Record<string, bigint>));
    return found;
  }
}

function membersOf(keys: Map<string, Map<string, bigint>>, key: string): Map<string, bigint> {
  let found = keys.get(key);
  if (!found) keys.set(key, (found = new Map<string, bigint>()));
  return found;
}

function addTo(members: Map<string, bigint>, pairs: string[]): void {
  for (let i = 0; i < pairs.length; i += 2) {
    members.set(pairs[i]!, (members.get(pairs[i]!) ?? 0n) + BigInt(pairs[i + 1]!));
  }
}

/** All that was found wrong, of which only the first are kept. */
export class Mismatches {
  readonly first: Mismatch[] = [];
  count = 0;
  driftCents = 0n;

  /** @param most how many are kept */
  constructor(private readonly most: number) {}

  add(mismatches: Iterable<Mismatch>): void {
    for (const mismatch of mismatches) {
      this.count++;
      this.driftCents += mismatch.driftCents;
      if (this.first.length < this.most) this.first.push(mismatch);
    }
  }
}

/**
 * Compares a hash with what it must hold, field by field: none wrong, none missing, none too many.
 * @param expected null where a field must not be there
 * @param isMoney whether a field is cents
 */
export function compareHash(
  key: string,
  expected: Record<string, StoredValue>,
  found: Record<string, string>,
  isMoney: (field: string) => boolean,
): Mismatch[] {
  const fields = new Set([...Object.keys(expected), ...Object.keys(found)]);
  return [...fields].flatMap((field) =>
    compareValue(
      { key, field, isMoney: isMoney(field) },
      Object.hasOwn(expected, field) ? expected[field]! : null,
      valueOf(found[field]),
    ),
  );
}

/** Compares a hash that holds texts. @param expected field and text in turn */
export function compareTexts(key: string, expected: string[], found: Record<string, string>): Mismatch[] {
  const values: Record<string, StoredValue> = {};
  for (let i = 0; i < expected.length; i += 2) values[expected[i]!] = valueOf(expected[i + 1]);
  return compareHash(key, values, found, () => false);
}

/** Compares one field of a hash. @param expected null where it must not be there */
export function compareField(
  place: Pick<Mismatch, 'key' | 'isMoney'> & { field: string },
  expected: bigint | null,
  found: string | null,
): Mismatch[] {
  return compareValue(place, expected, valueOf(found ?? undefined));
}

/**
 * Compares the score of one member of a sorted set: it must be the double nearest to what is ranked by.
 * @param expected null where it must not be a member
 */
export function compareScore(
  place: Pick<Mismatch, 'key' | 'isMoney'> & { field: string },
  expected: bigint | null,
  found: string | null,
): Mismatch[] {
  if (expected !== null && found !== null && Number(found) === Number(expected)) return [];
  // Redis writes large scores with an exponent.
  const score = Number(found);
  return compareValue(place, expected, found !== null && Number.isInteger(score) ? BigInt(score) : found);
}

/** A key that is of another type than it should; all money that it should hold is missing. */
export function anotherType(key: string, expected: 'hash' | 'sorted set', money: Iterable<bigint>): Mismatch {
  let driftCents = 0n;
  for (const amount of money) driftCents += absolute(amount);
  return { ...ofWholeKey(key, expected, ANOTHER_TYPE), driftCents };
}

/** The figures do not go up to the entry that the ledger has. */
export function behind(checkpoint: string, expected: number, found: number): Mismatch {
  const positions = { expected: BigInt(expected), found: BigInt(found) };
  return { key: checkpoint, field: 'position', ...positions, isMoney: false, driftCents: 0n };
}

/** A key that would vanish by itself. */
export function expires(key: string): Mismatch {
  return ofWholeKey(key, LASTS, EXPIRES);
}

/** A key that should not be there and that is neither a hash nor a sorted set. */
export function strayKey(key: string, type: string): Mismatch {
  return ofWholeKey(key, null, type);
}

function ofWholeKey(key: string, expected: StoredValue, found: StoredValue): Mismatch {
  return { key, field: null, expected, found, isMoney: false, driftCents: 0n };
}

function compareValue(
  place: Pick<Mismatch, 'key' | 'field' | 'isMoney'>,
  expected: StoredValue,
  found: StoredValue,
): Mismatch[] {
  if (expected === found) return [];
  const driftCents = place.isMoney ? absolute(amountOf(found) - amountOf(expected)) : 0n;
  const shown = typeof found === 'string' ? found.slice(0, MAX_CHARACTERS_SHOWN) : found;
  return [{ ...place, expected, found: shown, driftCents }];
}

/** Numbers are stored in one form only; what is written otherwise was not written by a fold. */
function valueOf(stored: string | undefined): StoredValue {
  if (stored === undefined) return null;
  return /^(0|-?[1-9]\d*)$/.test(stored) ? BigInt(stored) : stored;
}

function amountOf(value: StoredValue): bigint {
  return typeof value === 'bigint' ? value : 0n;
}

function absolute(amount: bigint): bigint {
  return amount < 0n ? -amount : amount;
}
