import { accountFaults, type Doings, type StoredEntry } from './expected-ledger.js';
import type { Content } from './traffic.js';

const CONTENTS = new Map<number, Content>([
  [1, { kind: 'order', orderId: 'ORD-1', userId: 'U-1', outcome: 'accepted', cents: 100 }],
  [2, { kind: 'order', orderId: 'ORD-1', userId: 'U-1', outcome: 'corrected', cents: 300 }],
  [3, { kind: 'failed', reasons: ['missing_user_id'] }],
  [4, { kind: 'order', orderId: 'ORD-4', userId: 'U-2', outcome: 'accepted', cents: 50 }],
  [5, { kind: 'refund', orderId: 'ORD-4', cents: 20, fate: 'counts' }],
  [6, { kind: 'refund', orderId: 'ORD-4', cents: 51, fate: 'refund_exceeds_order' }],
  [7, { kind: 'refund', orderId: 'ORD-7', cents: 1, fate: 'counts' }],
  [8, { kind: 'order', orderId: 'ORD-3', userId: 'U-3', outcome: 'accepted', cents: 70 }],
  [9, { kind: 'refund', orderId: 'ORD-9', cents: 60, fate: 'refund_exceeds_order', rival: true }],
  [10, { kind: 'refund', orderId: 'ORD-9', cents: 70, fate: 'refund_exceeds_order', rival: true }],
  [11, { kind: 'order', orderId: 'ORD-9', userId: 'U-9', outcome: 'accepted', cents: 100 }],
]);

/** All that was done, and a ledger that is right. The eighth content is the third one mended. */
const DOINGS: Doings = {
  contents: CONTENTS,
  sent: new Set([1, 2, 3, 4, 5, 6, 7, 9, 10, 11]),
  retries: [{ of: 3, mark: 8, promised: true }],
  ended: true,
};
const WAITING = ['{"mark":"chaos-mark-7"}'];

function anEntry(mark: number, given: Partial<StoredEntry>): StoredEntry {
  const body = `{"mark":"chaos-mark-${mark}"}`;
  const usual = { position: mark, kind: 'order', userId: null, value: null, reasons: [], refPosition: null } as const;
  return { ...usual, outcome: 'accepted', body, ...given, reasons: [...(given.reasons ?? [])] };
}

const LEDGER = [
  anEntry(1, { userId: 'U-1', value: 100 }),
  anEntry(2, { outcome: 'failed', reasons: ['conflicting_duplicate'] }),
  anEntry(3, { outcome: 'failed', reasons: ['missing_user_id'] }),
  anEntry(4, { userId: 'U-2', value: 50 }),
  anEntry(5, { kind: 'refund', value: 20 }),
  anEntry(6, { kind: 'refund', outcome: 'failed', reasons: ['refund_exceeds_order'] }),
  anEntry(8, { userId: 'U-3', value: 70 }),
  anEntry(8, { position: 20, kind: 'repair', refPosition: 3 }),
  anEntry(9, { kind: 'refund', outcome: 'failed', reasons: ['refund_exceeds_order'] }),
  anEntry(10, { kind: 'refund', value: 70 }),
  anEntry(11, { userId: 'U-9', value: 100 }),
];

/** The ledger with the entries of a mark, but for repairs, replaced by others. */
const withInstead = (mark: number, ...others: StoredEntry[]): StoredEntry[] => [
  ...LEDGER.filter(({ body, kind }) => kind === 'repair' || !body.includes(`chaos-mark-${mark}"`)),
  ...others,
];

describe('An account of messages', () => {
  it('finds nothing wrong with a ledger in which everything is what it is to be', () => {
    expect(accountFaults(DOINGS, LEDGER, WAITING)).toEqual([]);
  });

  it('finds nothing wrong where the other one of two rivals counts', () => {
    const other = [
      anEntry(1, { outcome: 'failed', reasons: ['conflicting_duplicate'] }),
      anEntry(2, { outcome: 'corrected', userId: 'U-1', value: 300 }),
    ];
    expect(
      accountFaults(
        DOINGS,
        LEDGER.map((entry) => other.find(({ position }) => position === entry.position) ?? entry),
        WAITING,
      ),
    ).toEqual([]);
  });

  it.each<[string, StoredEntry[], RegExp]>([
    ['an order that is not there', withInstead(4), /^Message 4 is stored 0 times/],
    ['one that is there twice', [...LEDGER, anEntry(4, { userId: 'U-2', value: 50 })], /^Message 4 is stored 2 times/],
    [
      'two rivals that both count',
      withInstead(2, anEntry(2, { outcome: 'corrected', userId: 'U-1', value: 300 })),
      /^Message 1 of 2 contents of which one counts 2 do/,
    ],
    [
      'a wrong outcome',
      withInstead(11, anEntry(11, { outcome: 'corrected', userId: 'U-9', value: 100 })),
      /^Message 11 of 1 contents of which one counts 0 do/,
    ],
    [
      'a wrong value',
      withInstead(5, anEntry(5, { kind: 'refund', value: 21 })),
      /^Message 5 refund at position 5: accepted 21 instead of/,
    ],
    [
      'another reason',
      withInstead(3, anEntry(3, { outcome: 'failed', reasons: ['missing_items'] })),
      /^Message 3 .* instead of failed for missing_user_id/,
    ],
    [
      'a refund that counts although it is too much',
      withInstead(6, anEntry(6, { kind: 'refund', value: 51 })),
      /^Message 6 .* instead of failed/,
    ],
    [
      'a refund that did not wait',
      [...LEDGER, anEntry(7, { kind: 'refund', value: 1 })],
      /^Message 7 .* its order has not come$/,
    ],
    [
      'a mended order without its repair',
      LEDGER.filter(({ kind }) => kind !== 'repair'),
      /^Message 8 .* what it was to mend is not mended$/,
    ],
    [
      'a promise that was not kept',
      LEDGER.filter(({ kind, position }) => kind !== 'repair' && position !== 8),
      /^Message 3 was to be mended, and never was$/,
    ],
    ['what nobody sent', [...LEDGER, anEntry(99, { userId: 'U-1', value: 1 })], /^Nobody sent what is at position 99/],
  ])('finds %s', (_what, ledger, says) => {
    expect(accountFaults(DOINGS, ledger, WAITING)).toContainEqual(expect.stringMatching(says));
  });

  it('finds a refund that does not wait', () => {
    expect(accountFaults(DOINGS, LEDGER, [])).toEqual(['Message 7 does not wait for its order']);
  });
});
