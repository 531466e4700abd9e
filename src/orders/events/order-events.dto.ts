import { ApiProperty } from '@nestjs/swagger';
import { IsIn, IsOptional, IsString } from 'class-validator';
import type { EntryKind } from '../../ledger/ledger-entry.js';
import { EntryPageQuery } from '../../ledger/entry-page.dto.js';
import { PathInteger } from '../../platform/http/validation.js';
import { REASONS, type Outcome, type Reason } from '../../domain/order-event.js';

const KINDS = ['order', 'repair', 'refund'];
const OUTCOMES = ['accepted', 'corrected', 'failed'];
const REASON_CODES = Object.keys(REASONS);

/** Query of `GET /order-events`. */
export class OrderEventsQuery extends EntryPageQuery {
  @ApiProperty({ required: false, enum: KINDS })
  @IsOptional()
  @IsIn(KINDS, { message: `must be one of ${KINDS.join(', ')}` })
  kind?: EntryKind;

  @ApiProperty({ required: false, enum: OUTCOMES })
  @IsOptional()
  @IsIn(OUTCOMES, { message: `must be one of ${OUTCOMES.join(', ')}` })
  outcome?: Outcome;

  @ApiProperty({ required: false, enum: REASON_CODES, description: 'Only failed entries that have this reason.' })
  @IsOptional()
  @IsIn(REASON_CODES, { message: 'must be one of the reason codes, such as missing_user_id' })
  reason?: Reason;

  @ApiProperty({
    required: false,
    enum: ['true', 'false'],
    description: 'Only failed orders that were repaired, or were not',
  })
  @IsOptional()
  @IsIn(['true', 'false'], { message: 'must be true or false' })
  repaired?: 'true' | 'false';

  @ApiProperty({ required: false, example: 'U17850' })
  @IsOptional()
  @IsString({ message: 'must be given once' })
  user_id?: string;

  @ApiProperty({ required: false, example: 'ORD536365' })
  @IsOptional()
  @IsString({ message: 'must be given once' })
  order_id?: string;
}

/** Path of `GET /order-events/{position}`. */
export class PositionParam {
  @PathInteger(1, 1e15 - 1, { example: 1, description: 'Position in the ledger' })
  position!: number;
}
