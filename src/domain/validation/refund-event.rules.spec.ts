import fc from 'fast-check';
import type { ValidatedMessage, ValidationPolicy } from '../order-event.js';
import { judge } from './order-event.rules.js';
import { MAX_CENTS } from '../money.js';

const SENT_AT = Date.parse('2024-03-01T12:00:00Z');
const policy: ValidationPolicy = { currency: 'USD', orderValueMismatch: 'reject', maxOrderCents: MAX_CENTS };

/** A refund of 2.50; a change to undefined leaves the field out. */
function aRefund(changes: object = {}): object {
  return {
    type: 'refund',
    refund_id: 'R1',
    order_id: 'ORD1',
    amount: 2.5,
    refund_timestamp: '2024-03-01T10:00:00Z',
    ...changes,
  };
}

function judgeBody(body: string): ValidatedMessage {
  return judge({ messageId: 'M1', body, sentAt: SENT_AT, receivedAt: SENT_AT + 50 }, policy);
}

function validateRefund(changes: object = {}): ValidatedMessage {
  return judgeBody(JSON.stringify(aRefund(changes)));
}

describe('judge, of a refund', () => {
  it('accepts one that is right, without a user and without lines', () => {
    const body = JSON.stringify(aRefund());
    expect(judgeBody(body)).toEqual({
      messageId: 'M1',
      body,
      sentAt: SENT_AT,
      receivedAt: SENT_AT + 50,
      kind: 'refund',
      outcome: 'accepted',
      reasons: [],
      orderId: 'ORD1',
      userId: null,
      refundId: 'R1',
      orderedAt: Date.parse('2024-03-01T10:00:00Z'),
      value: 250,
      claimed: 250,
      lines: [],
      contentHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      failureHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
  });

  it('cleans before it judges, and keeps what it does not know', () => {
    const judged = validateRefund({
      type: ' Refund',
      refund_id: ' r1 ',
      order_id: 'ord1\n',
      amount: ' 2.50 ',
      refund_timestamp: '2024-03-01 11:00+01:00',
      user_id: 'U9',
      why: { broken: true },
    });
    expect(judged).toEqual({ ...validateRefund(), body: judged.body, failureHash: judged.failureHash });
  });

  it('takes only what says so for a refund', () => {
    for (const type of [undefined, null, 'order', 'refunds', ['refund'], 1]) {
      expect(validateRefund({ type }).kind).toBe('order');
    }
  });

  it.each([
    ['refund_id', undefined, 'missing_refund_id'],
    ['refund_id', ' ', 'missing_refund_id'],
    ['refund_id', 7, 'invalid_refund_id'],
    ['refund_id', 'Rückgabe', 'invalid_refund_id'],
    ['refund_id', 'R'.repeat(129), 'invalid_refund_id'],
    ['order_id', null, 'missing_order_id'],
    ['order_id', 'X1', 'invalid_order_id'],
    ['refund_timestamp', undefined, 'missing_refund_timestamp'],
    ['refund_timestamp', 'yesterday', 'invalid_refund_timestamp'],
    ['refund_timestamp', '1999-12-31T23:59:59Z', 'refund_timestamp_out_of_range'],
    ['refund_timestamp', '2024-03-01T12:05:00.001Z', 'refund_timestamp_in_future'],
    ['amount', undefined, 'missing_amount'],
    ['amount', '', 'missing_amount'],
    ['amount', 'all of it', 'invalid_amount'],
    ['amount', { value: 1 }, 'invalid_amount'],
    ['amount', 0, 'non_positive_amount'],
    ['amount', '-0.01', 'non_positive_amount'],
    ['amount', 0.001, 'amount_too_fine'],
    ['amount', '2.505', 'amount_too_fine'],
    ['amount', '0.0100000000000000000000001', 'amount_too_fine'],
    ['amount', 100_000_000_000.01, 'amount_too_large'],
    ['amount', '1e300', 'amount_too_large'],
    ['currency', 'EUR', 'unsupported_currency'],
  ])('fails one whose %s is %j: %s', (field, value, reason) => {
    expect(validateRefund({ [field]: value })).toMatchObject({ outcome: 'failed', reasons: [reason], value: null });
  });

  it('goes up to every bound', () => {
    for (const changes of [
      { refund_id: 'R'.repeat(128) },
      { amount: 0.01 },
      { amount: '100000000000.00' },
      { amount: 100_000_000_000 },
      { refund_timestamp: '2024-03-01T12:05:00Z' },
      { refund_timestamp: '2000-01-01' },
      { currency: ' usd ' },
    ]) {
      expect(validateRefund(changes)).toMatchObject({ outcome: 'accepted', reasons: [] });
    }
  });

  it('finds every fault, each once, in the order of the contract', () => {
    const judged = validateRefund({
      refund_id: ['R1'],
      order_id: '7',
      amount: -1.005,
      refund_timestamp: '2024-03-02T00:00:00Z',
      currency: 'EUR',
    });
    expect(judged.reasons).toEqual([
      'invalid_refund_id',
      'invalid_order_id',
      'refund_timestamp_in_future',
      'non_positive_amount',
      'unsupported_currency',
    ]);
    expect(judged).toMatchObject({ refundId: null, orderId: null, claimed: -101 });
    expect(judgeBody('{"type":"refund"}').reasons).toEqual([
      'missing_refund_id',
      'missing_order_id',
      'missing_refund_timestamp',
      'missing_amount',
    ]);
  });

  it('reads every amount of whole cents exactly, however it is written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e13 }), fc.boolean(), (amount, asText) => {
        const text = `${Math.floor(amount / 100)}.${String(amount % 100).padStart(2, '0')}`;
        expect(validateRefund({ amount: asText ? text : Number(text) })).toMatchObject({
          outcome: 'accepted',
          value: amount,
        });
      }),
    );
  });

  it('never throws, and names a reason wherever it fails', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('refund_id', 'order_id', 'amount', 'refund_timestamp'), fc.jsonValue()),
        (fields) => {
          const { kind, outcome, reasons, value } = judgeBody(JSON.stringify({ type: 'refund', ...fields }));
          expect({ kind, failed: outcome === 'failed' }).toEqual({ kind: 'refund', failed: reasons.length > 0 });
          expect(value === null).toBe(outcome === 'failed');
        },
      ),
    );
  });
});
