import { ApiProperty } from '@nestjs/swagger';
import { isoOf } from '../shared/iso-time.js';
import { decimalOf } from '../domain/money.js';
import { REASONS, type OrderLine, type Outcome, type Reason } from '../domain/order-event.js';
import type { EntryKind, LedgerEntry } from './ledger-entry.js';

/** A line of a counted order as the API shows it. */
export class EntryItemJson {
  @ApiProperty({ example: 'P001' })
  product_id!: string;

  @ApiProperty({ type: 'integer', example: 2 })
  quantity!: number;

  @ApiProperty({ description: 'As sent; may be finer than a cent', example: 12.99 })
  price_per_unit!: number;

  @ApiProperty({ description: "The line's share of the order's value; the shares add up to it", example: 25.98 })
  line_value!: number;
}

/** An entry of the ledger as the API shows it. */
export class EntryJson {
  @ApiProperty({ type: 'integer', description: 'Its place in the ledger, from 1, without gaps', example: 42 })
  position!: number;

  @ApiProperty({
    enum: ['order', 'repair', 'refund'],
    description: 'A refund lowers what its order brought in, in the month of the refund',
    example: 'order',
  })
  kind!: EntryKind;

  @ApiProperty({ enum: ['accepted', 'corrected', 'failed'], example: 'corrected' })
  outcome!: Outcome;

  @ApiProperty({ type: String, nullable: true, description: 'null where it could not be read', example: 'ORD-1001' })
  order_id!: string | null;

  @ApiProperty({
    type: String,
    nullable: true,
    description: "null where it could not be read. Of a refund its order's; null where it failed by itself",
    example: 'U042',
  })
  user_id!: string | null;

  @ApiProperty({
    type: String,
    format: 'date-time',
    nullable: true,
    description: 'null where it could not be read, and of a refund',
    example: '2026-01-31T12:00:00.000Z',
  })
  order_timestamp!: string | null;

  @ApiProperty({
    type: Number,
    nullable: true,
    description: 'What the sender claimed; of a refund its amount',
    example: 20,
  })
  claimed_value!: number | null;

  @ApiProperty({
    type: Number,
    nullable: true,
    description: 'What counts; null where the order failed, and of a refund',
    example: 25.98,
  })
  order_value!: number | null;

  @ApiProperty({ type: [EntryItemJson], description: 'Empty where the order failed, and of a refund' })
  items!: EntryItemJson[];

  @ApiProperty({ type: String, nullable: true, description: 'Of a refund', example: null })
  refund_id!: string | null;

  @ApiProperty({ type: String, format: 'date-time', nullable: true, description: 'Of a refund', example: null })
  refund_timestamp!: string | null;

  @ApiProperty({
    type: Number,
    nullable: true,
    description: 'Of a refund: what it takes away; null where it failed',
    example: null,
  })
  amount!: number | null;

  @ApiProperty({ isArray: true, enum: Object.keys(REASONS), description: 'Why it failed', example: [] })
  reasons!: Reason[];

  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'Of a repair: the failed entry that it mends. Of a refund: the order, where it is counted',
    example: null,
  })
  ref_position!: number | null;

  @ApiProperty({ type: String, nullable: true, description: 'Of a repair: who asked for it', example: null })
  actor!: string | null;

  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'Of a failed order: the entry of kind repair that mended it',
    example: null,
  })
  repaired_by!: number | null;

  @ApiProperty({ type: String, nullable: true, example: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11' })
  message_id!: string | null;

  @ApiProperty({
    format: 'date-time',
    description: 'When it was sent to the queue',
    example: '2026-01-31T12:00:01.000Z',
  })
  sent_at!: string;

  @ApiProperty({ format: 'date-time', description: 'When it was received', example: '2026-01-31T12:00:01.250Z' })
  received_at!: string;

  @ApiProperty({
    description: 'The message as received; where a person’s data were erased since, `[erased]` stands in their place',
    example:
      '{"order_id":"ORD-1001","user_id":"U042","order_timestamp":"2026-01-31T12:00:00Z","order_value":20,' +
      '"items":[{"product_id":"P001","quantity":2,"price_per_unit":12.99}]}',
  })
  body!: string;
}

/** An entry of the ledger in the form of the API: money as decimal numbers, times as ISO 8601 in UTC. */
export function entryJson(entry: LedgerEntry): EntryJson {
  const isRefund = entry.kind === 'refund';
  const value = entry.value === null ? null : decimalOf(entry.value);
  return {
    position: entry.position,
    kind: entry.kind,
    outcome: entry.outcome,
    order_id: entry.orderId,
    user_id: entry.userId,
    order_timestamp: isRefund ? null : isoOf(entry.orderedAt),
    claimed_value: entry.claimed === null ? null : decimalOf(entry.claimed),
    order_value: isRefund ? null : value,
    items: entry.lines.map(itemJson),
    refund_id: entry.refundId,
    refund_timestamp: isRefund ? isoOf(entry.orderedAt) : null,
    amount: isRefund ? value : null,
    reasons: entry.reasons,
    ref_position: entry.refPosition,
    actor: entry.actor,
    repaired_by: entry.repairedBy,
    message_id: entry.messageId,
    sent_at: isoOf(entry.sentAt),
    received_at: isoOf(entry.receivedAt),
    body: entry.body,
  };
}

function itemJson(line: OrderLine): EntryItemJson {
  return {
    product_id: line.product_id,
    quantity: line.quantity,
    price_per_unit: Number(line.price_per_unit),
    line_value: decimalOf(line.cents),
  };
}
