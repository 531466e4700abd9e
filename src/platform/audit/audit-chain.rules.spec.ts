import { createHash } from 'node:crypto';
import {
  type AuditRow,
  CHAIN_START,
  follow,
  type Link,
  linkAfter,
  mismatchAtEnd,
  type SealedRow,
} from './audit-chain.rules.js';

function aRow(given: Partial<AuditRow> = {}): AuditRow {
  return {
    id: 7,
    at: Date.UTC(2026, 0, 31, 12),
    actor: 'local-operator',
    action: 'rebuild.requested',
    target: 'rebuild:1',
    before: null,
    after: '{"from_beginning":true}',
    requestId: 'a-1',
    ...given,
  };
}

/** Rows 1 to 5, sealed in the order of their ids. */
function aChain(): SealedRow[] {
  let previous: Link = CHAIN_START;
  return [1, 2, 3, 4, 5].map((id) => {
    const row = aRow({ id });
    previous = linkAfter(previous, row);
    return { ...row, ...previous };
  });
}

const linkOf = ({ sequence, hash }: SealedRow): Link => ({ sequence, hash });

describe('A link', () => {
  it('is the SHA-256 of the hash before, the sequence and all that the row says, as a JSON list', () => {
    const start = createHash('sha256').update('').digest('hex');
    const text =
      `["${start}",1,7,1769860800000,"local-operator","rebuild.requested","rebuild:1",null,` +
      '"{\\"from_beginning\\":true}","a-1"]';
    expect(linkAfter(CHAIN_START, aRow())).toEqual({
      sequence: 1,
      hash: createHash('sha256').update(text).digest('hex'),
    });
  });

  it.each<Partial<AuditRow>>([
    { id: 8 },
    { at: Date.UTC(2026, 0, 31, 12) + 1 },
    { actor: 'local-operator ' },
    { action: 'rebuild.request' },
    { target: 'rebuild:2' },
    { before: '{}' },
    { before: '{"from_beginning":true}', after: null },
    { after: '{"from_beginning": true}' },
    { requestId: null },
    { actor: 'local-operator","rebuild.requested', action: 'rebuild:1' },
  ])('is another one with %j', (change) => {
    expect(linkAfter(CHAIN_START, aRow(change)).hash).not.toBe(linkAfter(CHAIN_START, aRow()).hash);
  });

  it('is another one at another place and after another row', () => {
    const { hash } = linkAfter(CHAIN_START, aRow());
    expect(linkAfter({ ...CHAIN_START, sequence: 1 }, aRow()).hash).not.toBe(hash);
    expect(linkAfter({ sequence: 0, hash }, aRow()).hash).not.toBe(hash);
  });
});

describe('A chain', () => {
  it('is right from any of its links on', () => {
    const chain = aChain();
    const end = linkOf(chain[4]!);
    expect(follow(CHAIN_START, chain)).toEqual({ reached: end, mismatch: null });
    expect(follow(linkOf(chain[1]!), chain.slice(2))).toEqual({ reached: end, mismatch: null });
    expect(follow(CHAIN_START, [])).toEqual({ reached: CHAIN_START, mismatch: null });
  });

  it('shows the first row that was changed', () => {
    const chain = aChain();
    chain[2]!.actor = 'somebody';
    chain[4]!.actor = 'somebody';
    const mismatch = { sequence: 3, id: 3, problem: 'changed' };
    expect(follow(CHAIN_START, chain)).toEqual({ reached: linkOf(chain[1]!), mismatch });
  });

  it('shows a row that was changed and sealed anew by the one after it', () => {
    const chain = aChain();
    const row = { ...chain[2]!, actor: 'somebody' };
    chain[2] = { ...row, ...linkAfter(linkOf(chain[1]!), row) };
    expect(follow(CHAIN_START, chain).mismatch).toEqual({ sequence: 4, id: 4, problem: 'changed' });
  });

  it('shows a row that is missing', () => {
    const chain = aChain();
    chain.splice(2, 1);
    expect(follow(CHAIN_START, chain).mismatch).toEqual({ sequence: 3, id: null, problem: 'missing' });
    expect(follow(CHAIN_START, aChain().slice(1)).mismatch).toMatchObject({ sequence: 1, problem: 'missing' });
  });

  it('shows rows that changed places', () => {
    const [one, two, three, four, five] = aChain() as [SealedRow, SealedRow, SealedRow, SealedRow, SealedRow];
    const swapped = [one, two, { ...four, ...linkOf(three) }, { ...three, ...linkOf(four) }, five];
    expect(follow(CHAIN_START, swapped).mismatch).toEqual({ sequence: 3, id: 4, problem: 'changed' });
  });
});

describe('The end of a chain', () => {
  const [third, fourth, fifth] = aChain().slice(2).map(linkOf) as [Link, Link, Link];

  it('is where the head says', () => {
    expect(mismatchAtEnd(fifth, fifth, 5)).toBeNull();
    expect(mismatchAtEnd(CHAIN_START, CHAIN_START, 0)).toBeNull();
  });

  it('shows rows that are missing there', () => {
    expect(mismatchAtEnd(third, fifth, 3)).toEqual({ sequence: 4, id: null, problem: 'missing' });
  });

  it('shows a head that was put back or changed', () => {
    expect(mismatchAtEnd(fourth, fourth, 5)).toEqual({ sequence: 4, id: null, problem: 'head' });
    expect(mismatchAtEnd(fifth, { ...fifth, hash: fourth.hash }, 5)).toEqual({
      sequence: 5,
      id: null,
      problem: 'head',
    });
  });
});
