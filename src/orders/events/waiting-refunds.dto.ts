import { ApiProperty } from '@nestjs/swagger';
import type { WaitingRefund } from '../../ledger/waiting-refunds.repository.js';
import { QueryCursor, QueryInteger } from '../../platform/http/validation.js';
import { isoOf } from '../../shared/iso-time.js';
import { decimalOf } from '../../domain/money.js';

const DEFAULT_LIMIT = 20;
const MAX_REFUNDS = 500;

/** Query of `GET /refunds/waiting`. */
export class WaitingRefundsQuery {
  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_REFUNDS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** A refund that waits for its order as the API shows it. */
export class WaitingRefundJson {
  @ApiProperty({ example: 'R-5001' })
  refund_id!: string;

  @ApiProperty({ description: 'The order that it waits for', example: 'ORD-1001' })
  order_id!: string;

  @ApiProperty({ example: 12.99 })
  amount!: number;

  @ApiProperty({ format: 'date-time', example: '2026-02-03T09:30:00.000Z' })
  refund_timestamp!: string;

  @ApiProperty({ type: String, nullable: true, example: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11' })
  message_id!: string | null;

  @ApiProperty({
    format: 'date-time',
    description: 'When it was sent to the queue',
    example: '2026-02-03T09:30:01.000Z',
  })
  sent_at!: string;

  @ApiProperty({ format: 'date-time', description: 'When it was received', example: '2026-02-03T09:30:01.250Z' })
  received_at!: string;
}

/** A page of refunds that wait, the latest first. */
export class WaitingRefundPage {
  @ApiProperty({ type: 'integer', description: 'How many wait in all', example: 1 })
  total!: number;

  @ApiProperty({ type: [WaitingRefundJson] })
  items!: WaitingRefundJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** A waiting refund in the form of the API. */
export function waitingRefundJson(refund: WaitingRefund): WaitingRefundJson {
  return {
    refund_id: refund.refundId,
    order_id: refund.orderId,
    amount: decimalOf(refund.amount),
    refund_timestamp: isoOf(refund.refundedAt),
    message_id: refund.messageId,
    sent_at: isoOf(refund.sentAt),
    received_at: isoOf(refund.receivedAt),
  };
}
