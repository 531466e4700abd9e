import { ApiProperty } from '@nestjs/swagger';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { isoOf } from '../../shared/iso-time.js';
import type { BackgroundRun } from '../background-runs.js';

/** A run in the background that has no result. */
export class RunJson {
  @ApiProperty({ format: 'uuid', example: '7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11' })
  id!: string;

  @ApiProperty({ enum: ['waiting', 'running', 'failed'], description: 'waiting: begins when the one before has ended' })
  state!: 'waiting' | 'running' | 'failed';

  @ApiProperty({ type: 'integer', description: 'How much of it is done', example: 20_000 })
  done!: number;

  @ApiProperty({ type: 'integer', description: 'Of how many, as far as is known', example: 140_000 })
  total!: number;

  @ApiProperty({ type: String, format: 'date-time', nullable: true, example: '2026-01-31T12:00:00.000Z' })
  started_at!: string | null;

  @ApiProperty({ type: String, nullable: true, description: 'Why it failed', example: null })
  error!: string | null;
}

/** A run in the background that is done; what it came to is added by its feature. */
export class FinishedRunJson {
  @ApiProperty({ format: 'uuid', example: '7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11' })
  id!: string;

  @ApiProperty({ enum: ['done'] })
  state!: 'done';

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  started_at!: string;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.250Z' })
  finished_at!: string;

  @ApiProperty({ type: 'integer', example: 250 })
  duration_ms!: number;
}

/** When a run that is done was run. */
export function finishedRunOf({ id, startedAt, finishedAt }: BackgroundRun<unknown>): FinishedRunJson {
  return {
    id,
    state: 'done',
    started_at: isoOf(startedAt!),
    finished_at: isoOf(finishedAt!),
    duration_ms: finishedAt! - startedAt!,
  };
}

/** How a run goes, or why it failed. */
export function progressOf({ id, state, progress, startedAt, failure }: BackgroundRun<unknown>): RunJson {
  return {
    id,
    state: state as RunJson['state'],
    ...progress,
    started_at: isoOf(startedAt),
    error: state === 'failed' ? reasonOf(failure) : null,
  };
}

function reasonOf(failure: unknown): string {
  return failure instanceof UnavailableError
    ? messageOf(failure)
    : 'Something went wrong on our side; it has been logged.';
}
