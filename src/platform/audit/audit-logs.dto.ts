import { ApiProperty } from '@nestjs/swagger';
import { InvalidInput } from '../../shared/errors.js';
import { isoOf } from '../../shared/iso-time.js';
import { placeBefore } from '../http/cursor.js';
import { QueryCursor, QueryDay, QueryInteger, QueryText } from '../http/validation.js';
import type { ChainMismatch, ChainProblem } from './audit-chain.rules.js';
import type { AuditFilter, ChainVerification, LoggedRow } from './audit-log.repository.js';

const DEFAULT_LIMIT = 20;
const MAX_ROWS = 500;
const HASH = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';
const PROBLEMS: ChainProblem[] = ['missing', 'changed', 'head'];

/** Query of `GET /api/v1/system/audit-logs`. */
export class AuditLogsQuery {
  @QueryText({ description: 'Who', example: 'local-operator' })
  actor?: string;

  @QueryText({ description: 'What', example: 'rebuild.requested' })
  action?: string;

  @QueryText({ description: 'To what', example: 'position:7' })
  target?: string;

  @QueryText({ description: 'By which request: the X-Request-Id of its answer', example: '5f3c6f0e-42' })
  request_id?: string;

  @QueryDay({ description: 'First day in UTC, inclusive', example: '2026-01-01' })
  start?: string;

  @QueryDay({ description: 'Last day in UTC, inclusive', example: '2026-01-31' })
  end?: string;

  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_ROWS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** A row of the audit log as the API shows it. */
export class AuditRowJson {
  @ApiProperty({ type: 'integer', example: 12 })
  id!: number;

  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'Its place in the chain; null until it is sealed, which is a moment after it was written',
    example: 12,
  })
  sequence!: number | null;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  at!: string;

  @ApiProperty({ example: 'local-operator' })
  actor!: string;

  @ApiProperty({ example: 'statistics.cleared' })
  action!: string;

  @ApiProperty({ example: 'statistics' })
  target!: string;

  @ApiProperty({
    type: 'object',
    additionalProperties: true,
    nullable: true,
    description: 'What was so before, as far as it is recorded',
    example: { generation: 1769860800000, base: 0 },
  })
  before!: unknown;

  @ApiProperty({
    type: 'object',
    additionalProperties: true,
    nullable: true,
    description: 'What is so now, or was asked for',
    example: { generation: 1769860900000, base: 42 },
  })
  after!: unknown;

  @ApiProperty({ type: String, nullable: true, example: '5f3c6f0e-42' })
  request_id!: string | null;

  @ApiProperty({
    type: String,
    nullable: true,
    description: 'SHA-256 over the row and the hash before; null until it is sealed',
    example: HASH,
  })
  hash!: string | null;
}

/** A page of the audit log, newest first. */
export class AuditPage {
  @ApiProperty({ type: [AuditRowJson] })
  items!: AuditRowJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** Where the chain is not what it was. */
export class ChainMismatchJson implements ChainMismatch {
  @ApiProperty({ type: 'integer', example: 7 })
  sequence!: number;

  @ApiProperty({ type: 'integer', nullable: true, description: 'null where there is no row to name', example: 7 })
  id!: number | null;

  @ApiProperty({
    enum: PROBLEMS,
    description:
      'missing: no row has this sequence. changed: the row here is not the one that was sealed here. head: the chain does ' +
      'not end where its recorded head says',
    example: 'changed',
  })
  problem!: ChainProblem;
}

/** What verifying the chain came to. */
export class AuditVerification {
  @ApiProperty({ example: true })
  verified!: boolean;

  @ApiProperty({ type: 'integer', description: 'Rows that are as they were sealed, from the first on', example: 42 })
  checked!: number;

  @ApiProperty({ type: 'integer', description: 'Where the chain ended when the check began', example: 42 })
  sequence!: number;

  @ApiProperty({ description: 'The hash there; whoever keeps it elsewhere can tell a shortened chain', example: HASH })
  hash!: string;

  @ApiProperty({ type: 'integer', description: 'Rows that were not sealed yet', example: 0 })
  unsealed!: number;

  @ApiProperty({ type: ChainMismatchJson, nullable: true, example: null })
  first_mismatch!: ChainMismatchJson | null;
}

/** What a request asks for. @throws InvalidInput where its fields do not go together */
export function filterOf(query: AuditLogsQuery): AuditFilter {
  const { actor, action, target, request_id, start, end, cursor } = query;
  if (start !== undefined && end !== undefined && start > end) {
    throw new InvalidInput([{ field: 'start', message: `must not be after end (${end})` }]);
  }
  return { actor, action, target, requestId: request_id, start, end, before: placeBefore(cursor) };
}

/** A row in the form of the API: its time as ISO 8601 in UTC, what was before and after as objects. */
export function auditRowJson({ id, sequence, at, before, after, requestId, hash, ...act }: LoggedRow): AuditRowJson {
  return {
    id,
    sequence,
    at: isoOf(at),
    ...act,
    before: stateIn(before),
    after: stateIn(after),
    request_id: requestId,
    hash,
  };
}

/** A verification in the form of the API. */
export function auditVerification({ checked, head, unsealed, mismatch }: ChainVerification): AuditVerification {
  return { verified: mismatch === null, checked, ...head, unsealed, first_mismatch: mismatch };
}

/** Whoever has tampered with a row may have left what is no JSON; that is to be seen, too. */
function stateIn(text: string | null): unknown {
  try {
    return text === null ? null : (JSON.parse(text) as unknown);
  } catch {
    return { unreadable: text };
  }
}
