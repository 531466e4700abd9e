import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsBoolean, IsUUID } from 'class-validator';
import { QueryCursor, QueryInteger } from '../../platform/http/validation.js';
import { isoOf } from '../../shared/iso-time.js';
import type { RebuildState, RequestedRebuild } from './rebuild-requests.service.js';

const DEFAULT_LIMIT = 20;
const MAX_REBUILDS = 100;
const STATES: RebuildState[] = ['requested', 'running', 'done', 'failed'];
const ID = 'b1c5a7de-8a53-4f0e-9a38-0c4f4a0d2f11';

/** Body of `POST /stats/rebuild`; may be left out. */
export class RebuildRequest {
  @ApiPropertyOptional({
    description: 'Undo a clearing: the figures then cover the whole ledger again.',
    type: Boolean,
    default: false,
  })
  @IsBoolean({ message: 'must be true or false' })
  from_beginning = false;
}

/** Path of `GET /stats/rebuild/{id}`. */
export class RebuildPath {
  @ApiProperty({ format: 'uuid', example: ID })
  @IsUUID('all', { message: 'must be a UUID' })
  id!: string;
}

/** Which page of the rebuilds is wanted. */
export class RebuildPageQuery {
  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_REBUILDS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** A rebuild that somebody asked for. */
export class RebuildJson {
  @ApiProperty({ format: 'uuid', example: ID })
  id!: string;

  @ApiProperty({ enum: STATES, example: 'running' })
  state!: RebuildState;

  @ApiProperty({ description: 'Whether it undoes a clearing', example: false })
  from_beginning!: boolean;

  @ApiProperty({ example: 'local-operator' })
  requested_by!: string;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  requested_at!: string;

  @ApiProperty({ type: String, format: 'date-time', nullable: true, example: '2026-01-31T12:00:00.020Z' })
  started_at!: string | null;

  @ApiProperty({ type: String, format: 'date-time', nullable: true, example: null })
  finished_at!: string | null;

  @ApiProperty({ type: 'integer', nullable: true, description: 'Ledger entries read so far', example: 40_000 })
  done!: number | null;

  @ApiProperty({ type: 'integer', nullable: true, description: 'Of how many', example: 100_000 })
  total!: number | null;

  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'The last ledger entry that the new figures covered when they came into service',
    example: null,
  })
  position!: number | null;

  @ApiProperty({ type: String, nullable: true, description: 'Why it failed', example: null })
  error!: string | null;
}

/** A page of rebuilds, newest first. */
export class RebuildPage {
  @ApiProperty({ type: [RebuildJson] })
  items!: RebuildJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** A rebuild in the form of the API: times as ISO 8601 in UTC. */
export function rebuildJson(rebuild: RequestedRebuild): RebuildJson {
  const { id, state, done, total, position, error } = rebuild;
  return {
    id,
    state,
    from_beginning: rebuild.fromBeginning,
    requested_by: rebuild.requestedBy,
    requested_at: isoOf(rebuild.requestedAt),
    started_at: isoOf(rebuild.startedAt),
    finished_at: isoOf(rebuild.finishedAt),
    done,
    total,
    position,
    error,
  };
}
