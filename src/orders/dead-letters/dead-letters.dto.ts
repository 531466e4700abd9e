import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import {
  ArrayMaxSize,
  ArrayMinSize,
  IsArray,
  IsBoolean,
  IsInt,
  IsObject,
  Length,
  Matches,
  Max,
  Min,
  ValidateBy,
  ValidateIf,
  ValidateNested,
} from 'class-validator';
import { QueryInteger } from '../../platform/http/validation.js';
import { type FieldError, InvalidInput } from '../../shared/errors.js';
import { REPAIR_ATTRIBUTE } from '../../domain/order-event.js';
import { isoOf } from '../../shared/iso-time.js';
import type { DeadLetterFilter } from './dead-letter-filter.rules.js';
import type { ExplainedDeadLetter, RedriveOrder, RedriveTotals } from './dead-letters.service.js';
import { readTimestamp } from '../../domain/validation/timestamp.rules.js';

const MAX_SAMPLED = 100;
const MAX_REDRIVEN = 1_000;
const MAX_PER_SECOND = 500;
/** What sending may take by limit and rate alone; the caller waits for it. */
const MAX_SECONDS = 20;
const MAX_IDS = 100;
const MAX_CHARACTERS = 1_000;
const MESSAGE_ID = /^[\w-]{1,100}$/;
const NO_MESSAGE_ID = 'must be the id of a message';

/** Query of `GET /dead-letters`. */
export class DeadLettersQuery {
  @QueryInteger(1, MAX_SAMPLED, { default: 10 })
  limit = 10;
}

/** Path of `DELETE /dead-letters/{message_id}`. */
export class DeadLetterPath {
  @ApiProperty({ example: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11' })
  @Matches(MESSAGE_ID, { message: NO_MESSAGE_ID })
  message_id!: string;
}

/** Which dead letters to send back; everything given must hold. */
export class RedriveFilter {
  @ApiPropertyOptional({
    type: [String],
    minItems: 1,
    maxItems: MAX_IDS,
    example: ['5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11'],
  })
  @IfGiven()
  @IsArray({ message: `must be a list of 1 to ${MAX_IDS} message ids` })
  @ArrayMinSize(1, { message: 'must have at least one message id' })
  @ArrayMaxSize(MAX_IDS, { message: `must have at most ${MAX_IDS} message ids` })
  @Matches(MESSAGE_ID, { each: true, message: 'must be a list of message ids' })
  message_ids?: string[];

  @ApiPropertyOptional({ description: 'A part of the body, letter by letter', example: 'ORD-1001' })
  @IfGiven()
  @Length(1, MAX_CHARACTERS, { message: `must be text of 1 to ${MAX_CHARACTERS} characters` })
  body_contains?: string;

  @ApiPropertyOptional({
    description: 'A part of the last error, letter by letter; those without a recorded error do not match',
    example: 'is not a function',
  })
  @IfGiven()
  @Length(1, MAX_CHARACTERS, { message: `must be text of 1 to ${MAX_CHARACTERS} characters` })
  error_contains?: string;

  @ApiPropertyOptional({
    format: 'date-time',
    description: 'Sent before this time. Without an offset it is UTC.',
    example: '2026-01-31T12:00:00Z',
  })
  @IfGiven()
  @IsInstant()
  sent_before?: string;

  @ApiPropertyOptional({
    format: 'date-time',
    description: 'Sent at this time or later. Without an offset it is UTC.',
    example: '2026-01-01T00:00:00Z',
  })
  @IfGiven()
  @IsInstant()
  sent_after?: string;
}

/** Body of `POST /dead-letters/redrive`; every field may be left out. */
export class RedriveRequest {
  @ApiPropertyOptional({
    type: 'integer',
    minimum: 1,
    maximum: MAX_REDRIVEN,
    default: 100,
    description: `How many at most. limit / per_second must be at most ${MAX_SECONDS}, so that the answer does not take too long`,
  })
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(MAX_REDRIVEN, { message: `must be at most ${MAX_REDRIVEN}` })
  limit = 100;

  @ApiPropertyOptional({ type: RedriveFilter, description: 'Left out: any' })
  @IfGiven()
  @IsObject({ message: 'must be an object' })
  @ValidateNested({ message: 'must be an object' })
  @Type(() => RedriveFilter)
  filter?: RedriveFilter;

  @ApiPropertyOptional({ type: 'boolean', default: false, description: 'Only say which would be sent back' })
  @IsBoolean({ message: 'must be true or false' })
  dry_run = false;

  @ApiPropertyOptional({
    type: 'integer',
    minimum: 1,
    maximum: MAX_PER_SECOND,
    default: 50,
    description: 'Messages a second, on average',
  })
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(MAX_PER_SECOND, { message: `must be at most ${MAX_PER_SECOND}` })
  per_second = 50;
}

/** A dead letter as the API shows it. What is not known is null. */
export class DeadLetterJson {
  @ApiProperty({ example: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11' })
  message_id!: string;

  @ApiProperty({ example: '{"order_id":"ORD-1001"}' })
  body!: string;

  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'How often it was received, looks at the dead letters included',
    example: 6,
  })
  receive_count!: number | null;

  @ApiProperty({ type: String, format: 'date-time', nullable: true, example: '2026-01-31T12:00:00.000Z' })
  sent_at!: string | null;

  @ApiProperty({
    type: String,
    format: 'date-time',
    nullable: true,
    description: 'When it was first received, by SQS, or first failed, by our own record, whichever is earlier',
    example: '2026-01-31T12:00:00.020Z',
  })
  first_seen!: string | null;

  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'How often processing it failed; null where nothing is recorded or the ledger is down',
    example: 5,
  })
  failures!: number | null;

  @ApiProperty({ type: String, nullable: true, example: 'x is not a function' })
  last_error!: string | null;

  @ApiProperty({ type: String, format: 'date-time', nullable: true, example: '2026-01-31T12:01:15.000Z' })
  last_failed_at!: string | null;

  @ApiPropertyOptional({
    description: 'The repair that it was sent for, if any',
    example: '0b5f6a3e-6a5e-4a0b-9f8e-3a1d2c4b5e6f',
  })
  repair_id?: string;
}

/** Some dead letters. */
export class DeadLetterSample {
  @ApiProperty({ example: true })
  sample!: true;

  @ApiProperty({ example: 'SQS can not list a queue: …' })
  note!: string;

  @ApiProperty({ type: 'integer', description: 'About how many there are', example: 3 })
  waiting!: number;

  @ApiProperty({ type: [DeadLetterJson] })
  items!: DeadLetterJson[];
}

/** What `POST /dead-letters/redrive` did. */
export class RedriveAnswer {
  @ApiProperty({ type: 'integer', description: 'How many dead letters were received to find them', example: 40 })
  looked_at!: number;

  @ApiProperty({ type: 'integer', description: 'How many were meant, at most `limit`', example: 12 })
  matched!: number;

  @ApiProperty({ type: 'integer', description: 'How many are on the orders queue again', example: 12 })
  redriven!: number;

  @ApiProperty({
    type: 'integer',
    description: 'How many the orders queue did not take; they stay dead letters',
    example: 0,
  })
  failed!: number;

  @ApiProperty({ example: false })
  dry_run!: boolean;

  @ApiPropertyOptional({ type: [String], description: 'The message ids that matched; only of a dry run' })
  items?: string[];
}

/** What `DELETE /dead-letters/{message_id}` deleted. */
export class DeletedDeadLetter {
  @ApiProperty({ example: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11' })
  deleted!: string;
}

/** What a request asks for, in the terms of the service. @throws InvalidInput where its fields do not go together */
export function redriveOrder({ limit, filter = {}, dry_run, per_second }: RedriveRequest): RedriveOrder {
  const sentAfter = readTimestamp(filter.sent_after);
  const sentBefore = readTimestamp(filter.sent_before);
  const wrong: FieldError[] = [];
  if (limit / per_second > MAX_SECONDS) {
    const message = `must be so that limit / per_second is at most ${MAX_SECONDS} seconds`;
    wrong.push({ field: 'limit', message }, { field: 'per_second', message });
  }
  if (sentAfter !== undefined && sentBefore !== undefined && sentAfter >= sentBefore) {
    wrong.push({ field: 'filter.sent_before', message: 'must be after sent_after' });
  }
  if (wrong.length > 0) throw new InvalidInput(wrong);
  const asked: DeadLetterFilter = {
    messageIds: filter.message_ids,
    bodyContains: filter.body_contains,
    errorContains: filter.error_contains,
    sentAfter,
    sentBefore,
  };
  return { limit, filter: asked, dryRun: dry_run, perSecond: per_second };
}

/** A redrive's outcome in the form of the API. */
export function redriveAnswer({ lookedAt, matched, redriven, failed }: RedriveTotals, dryRun: boolean): RedriveAnswer {
  return {
    looked_at: lookedAt,
    matched: matched.length,
    redriven,
    failed,
    dry_run: dryRun,
    ...(dryRun && { items: matched }),
  };
}

/** A dead letter in the form of the API: times as ISO 8601 in UTC. */
export function deadLetterJson({ failure, ...letter }: ExplainedDeadLetter): DeadLetterJson {
  const seen = [letter.firstReceivedAt, failure?.firstFailedAt].filter((time) => typeof time === 'number');
  const repairId = letter.attributes?.[REPAIR_ATTRIBUTE]?.StringValue;
  return {
    message_id: letter.messageId,
    body: letter.body,
    receive_count: letter.receiveCount,
    sent_at: isoOf(letter.sentAt),
    first_seen: isoOf(seen.length > 0 ? Math.min(...seen) : null),
    failures: failure?.failures ?? null,
    last_error: failure?.lastError ?? null,
    last_failed_at: isoOf(failure?.lastFailedAt ?? null),
    ...(repairId !== undefined && { repair_id: repairId }),
  };
}

/** The field may be left out; null is not left out. */
function IfGiven(): PropertyDecorator {
  return ValidateIf((_, value) => value !== undefined);
}

function IsInstant(): PropertyDecorator {
  return ValidateBy({
    name: 'instant',
    validator: {
      validate: (given) => readTimestamp(given) !== undefined,
      defaultMessage: () => 'must be an ISO 8601 date and time such as 2026-01-31T12:00:00Z',
    },
  });
}
