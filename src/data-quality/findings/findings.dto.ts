import { ApiProperty, PickType } from '@nestjs/swagger';
import { IsIn, IsOptional } from 'class-validator';
import { QueryCursor, QueryInteger } from '../../platform/http/validation.js';
import { isoOf } from '../../shared/iso-time.js';
import { type Cause, CAUSES, type Finding } from './findings.repository.js';
import { OrderCheckJson } from '../check/order-check.dto.js';
import { SuspectJson } from '../report/quality-report.dto.js';

const DEFAULT_LIMIT = 20;
const MAX_FINDINGS = 500;

/** Query of `GET /data-quality/findings`. */
export class FindingsQuery {
  @ApiProperty({ required: false, enum: CAUSES, description: 'Only findings of orders that failed, or were suspect' })
  @IsOptional()
  @IsIn(CAUSES, { message: `must be one of ${CAUSES.join(', ')}` })
  cause?: Cause;

  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_FINDINGS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** What made an order stand out. */
export class FoundSuspectJson extends PickType(SuspectJson, ['kind', 'explanation', 'evidence']) {}

/** A finding as the API shows it. */
export class FindingJson {
  @ApiProperty({ format: 'uuid', example: '0b5f6a3e-6a5e-4a0b-9f8e-3a1d2c4b5e6f' })
  id!: string;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:05:00.000Z' })
  found_at!: string;

  @ApiProperty({ type: 'integer', description: 'The entry that was checked', example: 7 })
  position!: number;

  @ApiProperty({ type: String, nullable: true, description: 'null where it could not be read', example: 'ORD-1001' })
  order_id!: string | null;

  @ApiProperty({ enum: CAUSES, description: 'Why it was checked', example: 'failed' })
  cause!: Cause;

  @ApiProperty({ type: [FoundSuspectJson], description: 'Empty where it failed' })
  suspects!: FoundSuspectJson[];

  @ApiProperty({ type: OrderCheckJson, description: 'What `POST /data-quality/check` said of it then' })
  check!: OrderCheckJson;

  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'The entry of kind repair that mended the order since',
    example: null,
  })
  repaired_by!: number | null;
}

/** A page of findings, newest first. */
export class FindingPage {
  @ApiProperty({ type: [FindingJson], description: 'Fewer than asked for where their orders are very large' })
  items!: FindingJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** A finding in the form of the API: times as ISO 8601 in UTC. */
export function findingJson(finding: Finding): FindingJson {
  return {
    id: finding.id,
    found_at: isoOf(finding.foundAt),
    position: finding.position,
    order_id: finding.orderId,
    cause: finding.cause,
    suspects: JSON.parse(finding.suspects) as FoundSuspectJson[],
    check: JSON.parse(finding.verdict) as OrderCheckJson,
    repaired_by: finding.repairedBy,
  };
}
