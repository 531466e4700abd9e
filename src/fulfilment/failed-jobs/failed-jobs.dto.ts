import { ApiProperty } from '@nestjs/swagger';
import { IsIn, IsOptional, Length, Matches } from 'class-validator';
import { PathInteger, QueryCursor, QueryInteger } from '../../platform/http/validation.js';
import { isoOf } from '../../shared/iso-time.js';
import { JOBS } from './failed-jobs.repository.js';
import { type FailedJob, JOB_STATES } from './failed-jobs.service.js';
import { ORDER_STATUSES } from '../workflow/order-states.rules.js';

const DEFAULT_LIMIT = 50;
const MAX_JOBS = 500;

/** Path of one failed job. */
export class FailedJobPath {
  @PathInteger(1, 1e15 - 1, { example: 1 })
  job_id!: number;
}

/** Which failed jobs are wanted. */
export class FailedJobsQuery {
  @ApiProperty({ required: false, enum: JOB_STATES, description: 'All where it is left out' })
  @IsOptional()
  @IsIn(JOB_STATES, { message: `must be one of ${JOB_STATES.join(', ')}` })
  state?: FailedJob['state'];

  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_JOBS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** Body of `POST /api/v1/system/failed-jobs/{job_id}/resolve`. */
export class ResolveRequest {
  @ApiProperty({ maxLength: 500, description: 'What was done about it', example: 'Paid back by bank transfer' })
  @Matches(/^\P{C}+$/u, { message: 'must be text in one line' })
  @Length(1, 500, { message: 'must have 1 to 500 characters' })
  note!: string;
}

/** A failed job in the form of the API. */
export class FailedJobJson {
  @ApiProperty({ type: 'integer', example: 1 })
  id!: number;

  @ApiProperty({ example: 'ORD-5F3C6F0E2A4F7B1C' })
  order_id!: string;

  @ApiProperty({ enum: ORDER_STATUSES, example: 'cancelled' })
  order_status!: string;

  @ApiProperty({
    enum: JOBS,
    description: '`return-payment`: money can’t be given back; `step`: the order does not get on',
    example: 'return-payment',
  })
  job!: FailedJob['job'];

  @ApiProperty({
    type: String,
    nullable: true,
    description: 'The payment attempt it is about',
    example: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
  })
  reference!: string | null;

  @ApiProperty({ example: 'The payment provider takes no requests right now' })
  error!: string;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  failed_at!: string;

  @ApiProperty({ enum: JOB_STATES, example: 'open' })
  state!: FailedJob['state'];

  @ApiProperty({ type: String, nullable: true, example: null })
  seen_to_by!: string | null;

  @ApiProperty({ type: String, format: 'date-time', nullable: true, example: null })
  seen_to_at!: string | null;

  @ApiProperty({ type: String, nullable: true, example: null })
  note!: string | null;
}

/** A page of failed jobs, newest first. */
export class FailedJobPage {
  @ApiProperty({ type: [FailedJobJson] })
  items!: FailedJobJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** A failed job in the form of the API. */
export function failedJobJson(job: FailedJob): FailedJobJson {
  return {
    id: job.id,
    order_id: job.orderId,
    order_status: job.orderStatus,
    job: job.job,
    reference: job.reference || null,
    error: job.error,
    failed_at: isoOf(job.failedAt),
    state: job.state,
    seen_to_by: job.seenToBy,
    seen_to_at: isoOf(job.seenToAt),
    note: job.note,
  };
}
