import { type DeadLetterFilter, matches } from './dead-letter-filter.rules.js';

const letter = { messageId: 'm1', body: '{"order_id":"ORD1"}', sentAt: 1_000 };

function meant(filter: DeadLetterFilter, given: Partial<typeof letter> = {}, lastError: string | null = 'it broke') {
  return matches({ ...letter, ...given }, lastError, filter);
}

describe('A dead letter', () => {
  it('is meant where nothing is asked for', () => {
    expect(meant({})).toBe(true);
  });

  it.each<[string, DeadLetterFilter, DeadLetterFilter]>([
    ['its id', { messageIds: ['m0', 'm1'] }, { messageIds: ['m0'] }],
    ['a part of its body', { bodyContains: 'ORD1"' }, { bodyContains: 'ord1' }],
    ['a part of its last error', { errorContains: 'broke' }, { errorContains: 'broken' }],
    ['when it was sent, from then on', { sentAfter: 1_000 }, { sentAfter: 1_001 }],
    ['when it was sent, until before then', { sentBefore: 1_001 }, { sentBefore: 1_000 }],
  ])('is known by %s', (_what, fits, doesNot) => {
    expect([meant(fits), meant(doesNot)]).toEqual([true, false]);
  });

  it('is meant only where all that is asked for holds', () => {
    expect(meant({ messageIds: ['m1'], bodyContains: 'ORD1', errorContains: 'broke' })).toBe(true);
    expect(meant({ messageIds: ['m1'], bodyContains: 'ORD1', errorContains: 'else' })).toBe(false);
  });

  it('is not meant by what is not known of it', () => {
    expect(meant({ errorContains: 'b' }, {}, null)).toBe(false);
    const unknown = { ...letter, sentAt: null };
    expect([matches(unknown, null, { sentAfter: 0 }), matches(unknown, null, { sentBefore: 9e15 })]).toEqual([
      false,
      false,
    ]);
  });
});
