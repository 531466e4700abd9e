import type { Change } from '../projection/statistics.repository.js';
import {
  anotherType,
  compareHash,
  compareScore,
  compareTexts,
  ExpectedStatistics,
  type Mismatch,
  Mismatches,
} from './verification.rules.js';

const RANKED_BY_SPEND = { key: 'users-by-spend', field: 'U1', isMoney: true };

const isMoney = (field: string): boolean => field === 'revenue';

function ranked(...pairs: string[]): Change {
  return { key: 'users-by-spend', action: 'rank', pairs, scoreOf: (id) => ({ key: `user:${id}`, field: 'revenue' }) };
}

describe('what every key must hold', () => {
  it('adds up, keeps the highest, and ranks as Redis is told to', () => {
    const expected = new ExpectedStatistics();
    expected.add([
      { key: 'user:U1', action: 'add', pairs: ['orders', '1', 'failed', '1'] },
      { key: 'user:U1', action: 'max', pairs: ['last_order_at', '50'] },
      ranked('U1', '1000', 'U2', '0'),
    ]);
    expected.add([
      { key: 'user:U1', action: 'add', pairs: ['orders', '2', 'failed', '-1'] },
      { key: 'user:U1', action: 'max', pairs: ['last_order_at', '40'] },
      ranked('U1', '5'),
    ]);
    expect(expected.hashes.get('user:U1')).toEqual({ orders: 3n, failed: 0n, last_order_at: 50n });
    expect([...expected.rankings.get('users-by-spend')!]).toEqual([
      ['U1', 1005n],
      ['U2', 0n],
    ]);
    expect(['user:U1', 'users-by-spend', 'user:U2'].map((key) => expected.has(key))).toEqual([true, true, false]);
  });

  it('has fields by names that every object has', () => {
    const expected = new ExpectedStatistics();
    expected.add([{ key: 'product-revenue', action: 'add', pairs: ['constructor', '5', '__proto__', '7'] }]);
    expect(Object.entries(expected.hashes.get('product-revenue')!)).toEqual([
      ['constructor', 5n],
      ['__proto__', 7n],
    ]);
  });
});

describe('a hash', () => {
  it('fits where every field is there with its value, and no other', () => {
    expect(compareHash('user:U1', { orders: 3n, failed: 0n }, { failed: '0', orders: '3' }, isMoney)).toEqual([]);
  });

  it('does not fit where a field is wrong, missing or too many, zeros too', () => {
    const found = compareHash(
      'user:U1',
      { orders: 3n, failed: 0n, revenue: 100n },
      { orders: '4', revenue: '90', x: '0' },
      isMoney,
    );
    expect(found).toEqual([
      { key: 'user:U1', field: 'orders', expected: 3n, found: 4n, isMoney: false, driftCents: 0n },
      { key: 'user:U1', field: 'failed', expected: 0n, found: null, isMoney: false, driftCents: 0n },
      { key: 'user:U1', field: 'revenue', expected: 100n, found: 90n, isMoney: true, driftCents: 10n },
      { key: 'user:U1', field: 'x', expected: null, found: 0n, isMoney: false, driftCents: 0n },
    ]);
  });

  it.each(['', '1e2', '0100', '100.0', ' 100', '-0', 'Infinity'])(
    'counts money that is stored as "%s" as missing',
    (stored) => {
      expect(compareHash('global', { revenue: 100n }, { revenue: stored }, isMoney)).toMatchObject([
        { found: stored, driftCents: 100n },
      ]);
    },
  );

  it('holds sums that no double does', () => {
    const [expected, found] = [9_007_199_254_740_993n, '9007199254740992'];
    expect(compareHash('global', { revenue: expected }, { revenue: String(expected) }, isMoney)).toEqual([]);
    expect(compareHash('global', { revenue: expected }, { revenue: found }, isMoney)).toMatchObject([
      { driftCents: 1n },
    ]);
  });

  it('of texts fits where they are the same', () => {
    const found = { ledger_id: 'l', position: '7', entry_hash: '12ab' };
    expect(compareTexts('checkpoint', ['ledger_id', 'l', 'position', '7', 'entry_hash', '12ab'], found)).toEqual([]);
    expect(compareTexts('checkpoint', ['ledger_id', 'l', 'position', '7', 'entry_hash', '12ac'], found)).toMatchObject([
      { field: 'entry_hash', expected: '12ac', found: '12ab' },
    ]);
  });
});

describe('a score', () => {
  it.each(['100', '1e2', '100.0'])('fits however Redis writes it: %s', (found) => {
    expect(compareScore(RANKED_BY_SPEND, 100n, found)).toEqual([]);
  });

  it.each([
    [null, 100n, null],
    ['90', 10n, 90n],
    ['100.5', 100n, '100.5'],
    ['inf', 100n, 'inf'],
  ])('does not fit where it is %s', (stored, driftCents, found) => {
    expect(compareScore(RANKED_BY_SPEND, 100n, stored)).toEqual([
      { ...RANKED_BY_SPEND, expected: 100n, found, driftCents },
    ]);
  });

  it('fits where it is the double nearest to a sum that no double holds', () => {
    expect(compareScore(RANKED_BY_SPEND, 9_007_199_254_740_993n, '9007199254740992')).toEqual([]);
    expect(compareScore(RANKED_BY_SPEND, 9_007_199_254_740_993n, '9007199254740994')).toHaveLength(1);
  });

  it('of nobody expected does not fit', () => {
    expect(compareScore(RANKED_BY_SPEND, null, '30')).toMatchObject([{ expected: null, found: 30n, driftCents: 30n }]);
    expect(compareScore(RANKED_BY_SPEND, null, null)).toEqual([]);
  });
});

describe('mismatches', () => {
  const mismatch = (driftCents: bigint): Mismatch => ({ ...anotherType('global', 'hash', []), driftCents });

  it('are all counted, and the first of them kept', () => {
    const mismatches = new Mismatches(2);
    mismatches.add([mismatch(1n), mismatch(2n)]);
    mismatches.add([mismatch(3n)]);
    expect(mismatches).toMatchObject({ count: 3, driftCents: 6n, first: [mismatch(1n), mismatch(2n)] });
  });

  it('of a key of another type are all the money it should hold', () => {
    expect(anotherType('month-users:2026-01', 'sorted set', [100n, 50n])).toMatchObject({
      field: null,
      driftCents: 150n,
    });
  });
});
