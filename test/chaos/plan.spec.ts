import { hash } from 'node:crypto';
import { FAULT_KINDS, FAULTS } from './faults.js';
import { plan, roundText, type Plan } from './plan.js';
import { markIn } from './traffic.js';

const EVERYTHING = [
  'accepted',
  'clear',
  'corrected',
  'failed: invalid_items',
  'failed: invalid_order_id',
  'failed: invalid_order_timestamp',
  'failed: invalid_user_id',
  'failed: malformed_json',
  'failed: missing_items',
  'failed: missing_order_id',
  'failed: missing_order_timestamp',
  'failed: missing_refund_id,non_positive_amount',
  'failed: missing_user_id',
  'failed: missing_user_id,invalid_quantity,negative_price_per_unit',
  'failed: non_positive_order_value',
  'failed: not_an_object',
  'failed: order_timestamp_in_future',
  'failed: order_timestamp_out_of_range',
  'failed: unsupported_currency',
  'in conflict',
  'rebuild',
  'rebuild-from-beginning',
  'refund after its order',
  'refund before its order',
  'refund that conflicting_duplicate in rivalry',
  'refund that counts',
  'refund that refund_exceeds_order',
  'refund that refund_exceeds_order in rivalry',
  'refund without an order',
  'repeated',
  'retry',
];

function digestOf(plan: Plan): string {
  return hash('sha256', JSON.stringify([plan.seed, plan.rounds, [...plan.contents]]));
}

describe('A plan of chaos', () => {
  const long = plan(7, 200);

  it('is the same for the same seed, and another one for another seed', () => {
    expect(digestOf(plan(7, 200))).toBe(digestOf(long));
    expect(plan(8, 200).rounds.map(roundText)).not.toEqual(long.rounds.map(roundText));
  });

  it('begins as a shorter one of the same seed does', () => {
    expect(digestOf({ ...long, rounds: plan(7, 12).rounds })).toBe(
      digestOf({ ...long, rounds: long.rounds.slice(0, 12) }),
    );
  });

  it('has every kind of fault in 200 rounds, whatever the seed', () => {
    for (const { rounds } of [long, plan(8, 200), plan(4_000_000_000, 200)]) {
      const kinds = new Set(rounds.flatMap(({ faults }) => faults.map(({ kind }) => kind)));
      expect([...kinds].sort()).toEqual([...FAULT_KINDS].sort());
    }
  });

  it('has one or two faults a round, in different parts, in the order of their moments', () => {
    const numbers = new Set<number>();
    for (const { faults, messages } of long.rounds) {
      numbers.add(faults.length);
      expect(new Set(faults.map(({ kind }) => FAULTS[kind].part)).size).toBe(faults.length);
      expect(faults.map(({ after }) => after)).toEqual(faults.map(({ after }) => after).sort((a, b) => a - b));
      for (const { after } of faults) expect(after).toBeLessThan(messages.length);
    }
    expect([...numbers].sort()).toEqual([1, 2]);
  });

  it('has messages of every outcome, repeated, refunded before and after their order, mended and in conflict', () => {
    const { contents, rounds } = long;
    const sent = new Map<number, number>();
    for (const { mark } of rounds.flatMap(({ messages }) => messages)) sent.set(mark, (sent.get(mark) ?? 0) + 1);
    const kinds = new Map<string, number>();
    const roundOf = new Map(
      rounds.flatMap(({ number, messages }) => messages.map(({ mark }) => [mark, number] as const)).reverse(),
    );
    const count = (kind: string): void => void kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    const orders = new Map<string, number>();
    for (const [mark, times] of sent) {
      if (times > 1) count('repeated');
      const content = contents.get(mark)!;
      if (content.kind !== 'order') continue;
      count(content.outcome);
      if (orders.has(content.orderId)) count('in conflict');
      else orders.set(content.orderId, roundOf.get(mark)!);
    }
    for (const mark of sent.keys()) {
      const content = contents.get(mark)!;
      if (content.kind === 'failed') count(`failed: ${content.reasons.join()}`);
      if (content.kind !== 'refund') continue;
      const ordered = orders.get(content.orderId);
      if (ordered === undefined) count('refund without an order');
      else count(ordered > roundOf.get(mark)! ? 'refund before its order' : 'refund after its order');
      count(`refund that ${content.fate}${content.rival ? ' in rivalry' : ''}`);
    }
    for (const { kind } of rounds.flatMap(({ requests }) => requests)) count(kind);
    expect(Object.fromEntries([...kinds].filter(([, times]) => times < 5))).toEqual({});
    expect([...kinds.keys()].sort()).toEqual(EVERYTHING);
  });

  it('marks every body with the content that it is', () => {
    const messages = long.rounds.flatMap((round) => round.messages);
    expect(messages.filter(({ mark, body }) => markIn(body) !== mark)).toEqual([]);
  });
});
