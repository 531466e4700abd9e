import {
  anotherType,
  compareHash,
  compareScore,
  compareTexts,
  ExpectedFigures,
  type Mismatch,
  Mismatches,
} from './verification.rules.js';

const RANKED_BY_SPEND = { key: 'users-by-spend', field: 'U1', isMoney: true };

describe('what every key must hold', () => {
  it('adds up, keeps the highest, and ranks as Redis is told to', () => {
    const expected = new ExpectedFigures();
    expected.add([
      { key: 'user:U1', action: 'add', pairs: ['orders', '1', 'failed', '1'] },
      { key: 'user:U1', action: 'max', pairs: ['last_order_at', '50'] },
      { key: 'users-by-spend', action: 'rank', pairs: ['U1', '1000', 'U2', '0'] },
    ]);
    expected.add([
      { key: 'user:U1', action: 'add', pairs: ['orders', '2', 'failed', '-1'] },
      { key: 'user:U1', action: 'max', pairs: ['last_order_at', '40'] },
      { key: 'users-by-spend', action: 'rank', pairs: ['U1', '5'] },
    ]);
    expect(expected.hashes.get('user:U1')).toEqual({ orders: 3, failed: 0, last_order_at: 50 });
    expect([...expected.rankings.get('users-by-spend')!]).toEqual([
      ['U1', 1005],
      ['U2', 0],
    ]);
    expect(['user:U1', 'users-by-spend', 'user:U2'].map((key) => expected.has(key))).toEqual([true, true, false]);
  });
});

describe('a hash', () => {
  it('fits where every field is there with its value, and no other', () => {
    expect(compareHash('user:U1', { orders: 3, failed: 0 }, { failed: '0', orders: '3' })).toEqual([]);
  });

  it('does not fit where a field is wrong, missing or too many, zeros too', () => {
    const found = compareHash(
      'user:U1',
      { orders: 3, failed: 0, revenue: 100 },
      { orders: '4', revenue: '90', x: '0' },
    );
    expect(found).toEqual([
      { key: 'user:U1', field: 'orders', expected: 3, found: 4, isMoney: false, driftCents: 0 },
      { key: 'user:U1', field: 'failed', expected: 0, found: null, isMoney: false, driftCents: 0 },
      { key: 'user:U1', field: 'revenue', expected: 100, found: 90, isMoney: true, driftCents: 10 },
      { key: 'user:U1', field: 'x', expected: null, found: 0, isMoney: false, driftCents: 0 },
    ]);
  });

  it.each(['', '1e2', '0100', '100.0', ' 100', '-0', 'Infinity', '9007199254740993'])(
    'counts money that is stored as "%s" as missing',
    (stored) => {
      expect(compareHash('global', { revenue: 100 }, { revenue: stored })).toMatchObject([
        { found: stored, driftCents: 100 },
      ]);
    },
  );

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
    expect(compareScore(RANKED_BY_SPEND, 100, found)).toEqual([]);
  });

  it.each([
    [null, 100, null],
    ['90', 10, 90],
    ['100.5', 100, '100.5'],
    ['inf', 100, 'inf'],
  ])('does not fit where it is %s', (stored, driftCents, found) => {
    expect(compareScore(RANKED_BY_SPEND, 100, stored)).toEqual([
      { ...RANKED_BY_SPEND, expected: 100, found, driftCents },
    ]);
  });

  it('of nobody expected does not fit', () => {
    expect(compareScore(RANKED_BY_SPEND, null, '30')).toMatchObject([{ expected: null, found: 30, driftCents: 30 }]);
    expect(compareScore(RANKED_BY_SPEND, null, null)).toEqual([]);
  });
});

describe('mismatches', () => {
  const mismatch = (driftCents: number): Mismatch => ({ ...anotherType('global', 'hash', []), driftCents });

  it('are all counted, and the first of them kept', () => {
    const mismatches = new Mismatches(2);
    mismatches.add([mismatch(1), mismatch(2)]);
    mismatches.add([mismatch(3)]);
    expect(mismatches).toMatchObject({ count: 3, driftCents: 6, first: [mismatch(1), mismatch(2)] });
  });

  it('add up no further than whole numbers are exact', () => {
    const mismatches = new Mismatches(2);
    mismatches.add([mismatch(Number.MAX_SAFE_INTEGER), mismatch(Number.MAX_SAFE_INTEGER)]);
    expect(mismatches.driftCents).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('of a key of another type are all the money it should hold', () => {
    expect(anotherType('month-users:2026-01', 'sorted set', [100, 50])).toMatchObject({ field: null, driftCents: 150 });
  });
});
