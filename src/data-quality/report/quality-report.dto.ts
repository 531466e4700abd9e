import { ApiExtraModels, ApiProperty } from '@nestjs/swagger';
import { IsUUID } from 'class-validator';
import { RunJson } from '../../platform/http/run-json.js';
import { REASONS, type Reason } from '../../domain/order-event.js';
import { type Evidence, SUSPECT_KINDS, type SuspectKind } from '../detectors/anomalies.rules.js';

const REASON = { enum: Object.keys(REASONS), example: 'invalid_quantity' };
const ORDER_ID = { type: String, nullable: true, description: 'null where it could not be read', example: 'ORD-1001' };
const USER_ID = { type: String, nullable: true, description: 'null where it could not be read', example: 'U042' };

/** Which report is meant. */
export class QualityReportPath {
  @ApiProperty({
    format: 'uuid',
    description: 'As in the `Location` of a 202',
    example: '7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11',
  })
  @IsUUID('all', { message: 'must be the id of a report' })
  id!: string;
}

/** How many entries there are, by outcome. */
export class OutcomesJson {
  @ApiProperty({ type: 'integer', description: 'Orders that are in the ledger, in whatever state', example: 1_000 })
  entries!: number;

  @ApiProperty({ type: 'integer', example: 900 })
  accepted!: number;

  @ApiProperty({ type: 'integer', example: 60 })
  corrected!: number;

  @ApiProperty({ type: 'integer', description: 'Also those that were repaired since', example: 40 })
  failed!: number;

  @ApiProperty({ description: 'Of the entries, 0 to 1, to four places', example: 0.04 })
  failed_share!: number;
}

/** A failed entry as an example. */
export class FailedSampleJson {
  @ApiProperty({ type: 'integer', description: 'Of the entry: `GET /order-events/{position}`', example: 42 })
  position!: number;

  @ApiProperty(ORDER_ID)
  order_id!: string | null;

  @ApiProperty(USER_ID)
  user_id!: string | null;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  sent_at!: string;

  @ApiProperty({ ...REASON, isArray: true, description: 'All it failed for', example: ['invalid_quantity'] })
  reasons!: Reason[];
}

/** Entries that failed for a reason. */
export class ReasonFaultsJson {
  @ApiProperty(REASON)
  reason!: Reason;

  @ApiProperty({ example: REASONS.invalid_quantity })
  meaning!: string;

  @ApiProperty({ type: 'integer', example: 25 })
  count!: number;

  @ApiProperty({
    description:
      'Of the failed entries, 0 to 1; an entry may have several reasons, so the shares may exceed 1 together',
    example: 0.625,
  })
  share!: number;

  @ApiProperty({ type: [FailedSampleJson], description: 'The newest 5' })
  samples!: FailedSampleJson[];
}

/** The entries of a day. */
export class DayQualityJson extends OutcomesJson {
  @ApiProperty({ format: 'date', example: '2026-01-31' })
  date!: string;
}

/** How often one sender got something wrong. */
export class SenderReasonJson {
  @ApiProperty(REASON)
  reason!: Reason;

  @ApiProperty({ type: 'integer', example: 7 })
  count!: number;
}

/** What a user sent. */
export class SenderQualityJson {
  @ApiProperty({ description: 'A queue does not tell who sent a message: the user of the order', example: 'U042' })
  user_id!: string;

  @ApiProperty({ type: 'integer', example: 12 })
  entries!: number;

  @ApiProperty({ type: 'integer', example: 9 })
  failed!: number;

  @ApiProperty({ description: 'Of their entries', example: 0.75 })
  failed_share!: number;

  @ApiProperty({ type: [SenderReasonJson], description: 'The most frequent first' })
  reasons!: SenderReasonJson[];
}

/** Corrections in one direction. */
export class CorrectionSumJson {
  @ApiProperty({ type: 'integer', example: 40 })
  count!: number;

  @ApiProperty({ example: 120.5 })
  delta!: number;
}

/** A correction. */
export class CorrectionJson {
  @ApiProperty({ type: 'integer', example: 42 })
  position!: number;

  @ApiProperty({ example: 'ORD-1001' })
  order_id!: string;

  @ApiProperty({ example: 10 })
  claimed_value!: number;

  @ApiProperty({ example: 100 })
  order_value!: number;

  @ApiProperty({ example: 90 })
  delta!: number;
}

/** How claimed values were corrected. A delta is the value that counts less the claimed one. */
export class CorrectionsJson {
  @ApiProperty({ type: 'integer', example: 60 })
  count!: number;

  @ApiProperty({ description: 'Of the orders that count', example: 0.0625 })
  share!: number;

  @ApiProperty({
    type: 'integer',
    description: 'Without a claimed value, or a readable one: they have no delta',
    example: 5,
  })
  unclaimed!: number;

  @ApiProperty({ example: 80.25 })
  total_delta!: number;

  @ApiProperty({ description: 'With all deltas above 0', example: 160.75 })
  total_absolute_delta!: number;

  @ApiProperty({ description: 'Those that claimed too little' })
  raised!: CorrectionSumJson;

  @ApiProperty({ description: 'Those that claimed too much', example: { count: 15, delta: -40.25 } })
  lowered!: CorrectionSumJson;

  @ApiProperty({
    enum: ['raised', 'lowered', 'none'],
    description: 'Which way the total delta goes',
    example: 'raised',
  })
  bias!: 'raised' | 'lowered' | 'none';

  @ApiProperty({
    type: CorrectionJson,
    nullable: true,
    description: 'With the largest delta, up or down; of equals the first',
  })
  largest!: CorrectionJson | null;
}

/** An order that counts and stands out. */
export class SuspectJson {
  @ApiProperty({
    type: 'integer',
    description: 'Of its entry: `GET /order-events/{position}`. Where several orders stand out together, of the latest',
    example: 42,
  })
  position!: number;

  @ApiProperty({ example: 'ORD-1001' })
  order_id!: string;

  @ApiProperty({ example: 'U042' })
  user_id!: string;

  @ApiProperty({
    enum: Object.keys(SUSPECT_KINDS),
    description: Object.entries(SUSPECT_KINDS)
      .map(([kind, meaning]) => `\`${kind}\`: ${meaning}`)
      .join(' '),
    example: 'near_duplicate',
  })
  kind!: SuspectKind;

  @ApiProperty({ example: 'The same user ordered the same items 95 s before, as ORD-1000.' })
  explanation!: string;

  @ApiProperty({
    type: 'object',
    additionalProperties: true,
    description: 'What it rests on; its fields depend on the kind. An address is masked',
    example: { other_position: 41, other_order_id: 'ORD-1000', seconds_apart: 95, value: 59.9 },
  })
  evidence!: Evidence;
}

/** All suspects. */
export class SuspectsJson {
  @ApiProperty({
    type: 'object',
    additionalProperties: { type: 'integer' },
    description: 'How many there are of each kind',
    example: Object.fromEntries(Object.keys(SUSPECT_KINDS).map((kind) => [kind, kind === 'near_duplicate' ? 1 : 0])),
  })
  counts!: Record<SuspectKind, number>;

  @ApiProperty({ type: [SuspectJson], description: 'At most 20 of each kind, the most striking first' })
  items!: SuspectJson[];
}

/** A report on the quality of the data. */
export class QualityReportJson extends OutcomesJson {
  @ApiProperty({ format: 'uuid', example: '7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11' })
  id!: string;

  @ApiProperty({ enum: ['done'] })
  state!: 'done';

  @ApiProperty({ type: String, format: 'date', nullable: true, description: 'As asked for', example: '2026-01-01' })
  start!: string | null;

  @ApiProperty({ type: String, format: 'date', nullable: true, description: 'As asked for', example: '2026-01-31' })
  end!: string | null;

  @ApiProperty({ type: 'integer', description: 'The last ledger entry that was taken into account', example: 1_088 })
  position!: number;

  @ApiProperty({ type: [ReasonFaultsJson], description: 'The most frequent first' })
  by_reason!: ReasonFaultsJson[];

  @ApiProperty({ type: [DayQualityJson], description: 'The days that have entries' })
  trend!: DayQualityJson[];

  @ApiProperty({
    type: [SenderQualityJson],
    description: 'At most 20: most failed entries first, then the larger share',
  })
  worst_senders!: SenderQualityJson[];

  @ApiProperty({
    type: 'integer',
    description: 'Failed entries whose user could not be read; no sender has them',
    example: 3,
  })
  without_user!: number;

  @ApiProperty()
  corrections!: CorrectionsJson;

  @ApiProperty()
  suspects!: SuspectsJson;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  started_at!: string;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.250Z' })
  finished_at!: string;

  @ApiProperty({ type: 'integer', example: 250 })
  duration_ms!: number;
}

/** A report that is not made, or not yet. */
@ApiExtraModels(QualityReportJson)
export class QualityReportProgress extends RunJson {
  @ApiProperty({ type: 'integer', description: 'Up to which position the ledger is read', example: 20_000 })
  override done!: number;
}
