import fc from 'fast-check';
import { isDeepStrictEqual } from 'node:util';
import { judge } from '../../src/domain/validation/order-event.rules.js';
import type { ValidatedMessage } from '../../src/domain/order-event.js';
import { ModelLedger } from '../support/simulation/model-ledger.js';
import { MAX_CENTS } from '../../src/domain/money.js';

const SENT_AT = Date.UTC(2024, 4, 1);
const POLICY = { currency: 'USD', orderValueMismatch: 'correct', maxOrderCents: MAX_CENTS } as const;

/** Few different values, so that bodies often say almost the same. */
const anOrder = fc.record(
  {
    order_id: fc.constantFrom('ORD1', 'ord1', 'ORD2', 7),
    user_id: fc.constantFrom('U1', 'u1 '),
    order_timestamp: fc.constantFrom('2024-03-01T10:00:00Z', '2024-03-01 11:00+01:00', '2024-03-02T10:00:00Z'),
    items: fc.array(
      fc.record({
        product_id: fc.constantFrom('P1', 'P2'),
        quantity: fc.constantFrom(1, '1.0', 2),
        price_per_unit: fc.constantFrom(5, '5.00', 5.005),
      }),
      { maxLength: 3 },
    ),
    currency: fc.constantFrom('USD', 'usd', 'EUR'),
    shipping_address: fc.constantFrom('Zürich', 'Zu\u0308rich', ' Zürich  1', 'Zürich 1'),
    note: fc.constantFrom('a', 'b'),
  },
  { requiredKeys: ['order_timestamp', 'items', 'user_id'], noNullPrototype: true },
);
const aRefund = fc.record(
  {
    type: fc.constant('refund'),
    refund_id: fc.constantFrom('R1', 'R2'),
    order_id: fc.constantFrom('ORD1', 'ORD2'),
    refund_timestamp: fc.constant('2024-03-03T10:00:00Z'),
    amount: fc.constantFrom(1, '1.00', 4, 100, -1),
    note: fc.constantFrom('a', 'b'),
  },
  { requiredKeys: ['type', 'refund_id', 'order_id', 'refund_timestamp', 'amount'], noNullPrototype: true },
);
const ofAnotherShape = fc.record(
  {
    orderId: fc.constantFrom(1, 2),
    total: fc.constantFrom('5.00', 5),
    billing: fc.record({ city: fc.constant('Bern') }),
  },
  { requiredKeys: [], noNullPrototype: true },
);
const appends = fc.array(
  fc.array(fc.oneof({ arbitrary: anOrder, weight: 3 }, { arbitrary: aRefund, weight: 3 }, ofAnotherShape), {
    minLength: 1,
    maxLength: 5,
  }),
  { maxLength: 6 },
);

function judged(event: object): ValidatedMessage {
  const message = { messageId: 'm', body: JSON.stringify(event), sentAt: SENT_AT, receivedAt: SENT_AT };
  return judge(message, POLICY);
}

/** What a person compares who is asked whether two orders, or two refunds, are the same. */
function meaningOf({ kind, orderId, userId, refundId, orderedAt, value, lines, body }: ValidatedMessage): unknown[] {
  const { shipping_address = '' } = JSON.parse(body) as { shipping_address?: string };
  const pieces = lines.flatMap(({ product_id, price_per_unit, quantity }) =>
    Array<string>(quantity).fill(`${product_id} at ${price_per_unit}`),
  );
  const address = shipping_address.trim().split(/\s+/).join(' ').normalize('NFC');
  return [kind, orderId, userId, refundId, orderedAt, value, address, ...pieces.sort()];
}

// The ledger's database does as this model does: ledger-contract.spec.ts.
it('every acknowledged body is in the ledger, waits for its order, or says the same as one that does', () => {
  fc.assert(
    fc.property(appends, (batches) => {
      const ledger = new ModelLedger('a ledger');
      const stored = new Map<string, ValidatedMessage>();
      for (const batch of batches) {
        const messages = batch.map((event, i) => ({ ...judged(event), messageId: `${stored.size}-${i}` }));
        const results = ledger.append(messages);
        for (const message of messages) stored.set(message.messageId, message);
        for (const [i, result] of results.entries()) {
          if (result.kind !== 'duplicate') continue;
          const { body, ...said } = messages[i]!;
          const entry = result.position === null ? null : ledger.entries[result.position - 1]!;
          const saysTheSame = (other: ValidatedMessage): boolean =>
            entry === null || entry.outcome === 'failed'
              ? isDeepStrictEqual(JSON.parse(other.body), JSON.parse(body))
              : isDeepStrictEqual(meaningOf(other), meaningOf({ body, ...said }));
          const candidates = entry ? [stored.get(entry.messageId)!] : ledger.waiting;
          expect([body, candidates.some(saysTheSame)]).toEqual([body, true]);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});
