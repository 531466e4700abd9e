import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsBoolean, IsIn, IsObject, IsOptional, IsUUID, ValidateIf } from 'class-validator';
import type { RepairFault } from '../../ledger/ledger-entry.js';
import { PathInteger, QueryCursor, QueryInteger } from '../../platform/http/validation.js';
import { isoOf } from '../../shared/iso-time.js';
import { REASONS, type Reason } from '../../domain/order-event.js';
import { isJsonObject, type JsonObject, readBody } from '../../domain/validation/message-body.rules.js';
import type { FieldChange } from './repair-changes.rules.js';
import { REPAIR_STATES, type Repair, type RepairState } from './repairs.service.js';

const REASON_CODES = Object.keys(REASONS);
/** A field of an order may hold anything. */
const ANY_JSON = [
  { type: 'string' },
  { type: 'number' },
  { type: 'boolean' },
  { type: 'object', additionalProperties: true },
  { type: 'array', items: {} },
];

const DEFAULT_LIMIT = 20;
const MAX_REPAIRS = 500;

/** Body of `POST /order-events/{position}/retry`; may be left out. */
export class RetryRequest {
  @ApiPropertyOptional({
    type: 'object',
    additionalProperties: true,
    description: 'The whole order as it should have been; judged like any order event. Left out: as it was received.',
    example: {
      order_id: 'ORD-1001',
      user_id: 'U042',
      order_timestamp: '2026-01-31T12:00:00Z',
      order_value: 25.98,
      items: [{ product_id: 'P001', quantity: 2, price_per_unit: 12.99 }],
    },
  })
  @ValidateIf((_, order) => order !== undefined)
  @IsObject({ message: 'must be an order event' })
  // As it was sent: an order's own fields are the rules' to judge, not this class's to convert.
  @Transform(({ obj }: { obj: { order?: unknown } }) => obj.order)
  order?: JsonObject;
}

/** Body of `POST /order-events/retry`. */
export class BulkRetryRequest {
  @ApiProperty({
    enum: REASON_CODES,
    description: 'Failed orders that have this reason',
    example: 'order_value_mismatch',
  })
  @IsIn(REASON_CODES, { message: 'must be one of the reason codes, such as missing_user_id' })
  reason!: Reason;

  @ApiPropertyOptional({ type: 'boolean', description: 'Only count what would be retried', default: false })
  @IsBoolean({ message: 'must be true or false' })
  dry_run = false;
}

/** What `POST /order-events/retry` did. */
export class BulkRetryAnswer {
  @ApiProperty({
    type: 'integer',
    description: 'Failed orders with that reason that are neither repaired nor being repaired',
    example: 12,
  })
  matched!: number;

  @ApiProperty({ type: 'integer', description: 'For how many of them a repair was recorded', example: 12 })
  retried!: number;

  @ApiProperty({ example: false })
  dry_run!: boolean;
}

/** Query of `GET /repairs`. */
export class RepairsQuery {
  @ApiProperty({ required: false, enum: REPAIR_STATES })
  @IsOptional()
  @IsIn(REPAIR_STATES, { message: `must be one of ${REPAIR_STATES.join(', ')}` })
  state?: RepairState;

  @QueryInteger(1, 1e15 - 1, { description: 'Only repairs of this failed entry', example: 7 })
  position?: number;

  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_REPAIRS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** Path of `GET /repairs/{id}`. */
export class RepairPath {
  @ApiProperty({ format: 'uuid', example: '0b5f6a3e-6a5e-4a0b-9f8e-3a1d2c4b5e6f' })
  @IsUUID('all', { message: 'must be the id of a repair' })
  id!: string;
}

/** Path of `POST /order-events/{position}/retry`. */
export class FailedPositionPath {
  @PathInteger(1, 1e15 - 1, { example: 7, description: 'Position of the failed order' })
  position!: number;
}

/** A field that a repair changes. */
export class FieldChangeJson implements FieldChange {
  @ApiProperty({ example: 'order_value' })
  field!: string;

  @ApiPropertyOptional({ oneOf: ANY_JSON, description: 'Absent where the field was not there', example: 0 })
  before?: unknown;

  @ApiPropertyOptional({ oneOf: ANY_JSON, description: 'Absent where the field is not there any more', example: 25.98 })
  after?: unknown;
}

/** A repair as the API shows it. */
export class RepairJson {
  @ApiProperty({ format: 'uuid', example: '0b5f6a3e-6a5e-4a0b-9f8e-3a1d2c4b5e6f' })
  id!: string;

  @ApiProperty({ type: 'integer', description: 'The failed entry', example: 7 })
  position!: number;

  @ApiProperty({
    enum: REPAIR_STATES,
    description:
      'pending: on its way through the queue. repaired: the order counts. failed: it failed again; another repair may be asked for',
    example: 'repaired',
  })
  state!: RepairState;

  @ApiProperty({ example: 'local-operator' })
  requested_by!: string;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:05:00.000Z' })
  requested_at!: string;

  @ApiProperty({
    type: 'object',
    additionalProperties: true,
    nullable: true,
    description: 'The corrected order; null where it is retried as it was received',
    example: null,
  })
  order!: JsonObject | null;

  @ApiProperty({ type: [FieldChangeJson], description: 'What the correction changes' })
  changes!: FieldChangeJson[];

  @ApiProperty({
    type: String,
    format: 'date-time',
    nullable: true,
    description: 'When it was last put on the queue',
    example: '2026-01-31T12:05:00.010Z',
  })
  sent_at!: string | null;

  @ApiProperty({ type: String, format: 'date-time', nullable: true, example: '2026-01-31T12:05:00.050Z' })
  ended_at!: string | null;

  @ApiProperty({
    isArray: true,
    enum: [...REASON_CODES, 'already_repaired', 'not_an_order', 'not_processed'],
    description:
      'Why it failed again. not_processed: nothing was heard of it for hours; should it still come, it counts',
    example: [],
  })
  reasons!: RepairFault[];

  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'The entry that counts; older than the repair where the same order had been counted meanwhile',
    example: 41,
  })
  counted_position!: number | null;

  @ApiProperty({ type: 'integer', nullable: true, description: 'The entry of kind repair', example: 42 })
  repair_position!: number | null;
}

/** A page of repairs, newest first. */
export class RepairPage {
  @ApiProperty({ type: [RepairJson], description: 'Fewer than asked for where their orders are very large' })
  items!: RepairJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** A repair in the form of the API: times as ISO 8601 in UTC. */
export function repairJson(repair: Repair): RepairJson {
  return {
    id: repair.id,
    position: repair.failedPosition,
    state: repair.state,
    requested_by: repair.requestedBy,
    requested_at: isoOf(repair.requestedAt),
    order: orderIn(repair.body),
    changes: repair.changes,
    sent_at: isoOf(repair.sentAt),
    ended_at: isoOf(repair.endedAt),
    reasons: repair.reasons,
    counted_position: repair.countedPosition,
    repair_position: repair.repairPosition,
  };
}

function orderIn(body: string | null): JsonObject | null {
  const order = body === null ? null : readBody(body);
  return isJsonObject(order) ? order : null;
}
