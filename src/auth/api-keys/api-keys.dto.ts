import { ApiProperty } from '@nestjs/swagger';
import { ArrayMaxSize, IsArray, IsIn, IsUUID, Length, Matches } from 'class-validator';
import { QueryCursor, QueryInteger } from '../../platform/http/validation.js';
import { type Scope, SCOPES } from '../../shared/access.js';
import { isoOf } from '../../shared/iso-time.js';
import type { ApiKey } from './api-keys.service.js';

const DEFAULT_LIMIT = 20;
const MAX_KEYS = 500;
const MAX_NAME_LENGTH = 100;
const ID = '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11';

/** Body of `POST /api/v1/auth/api-keys`. */
export class ApiKeyRequest {
  @ApiProperty({ maxLength: MAX_NAME_LENGTH, description: 'What it is for', example: 'nightly report' })
  @Matches(/^\P{C}+$/u, { message: 'must be text in one line' })
  @Length(1, MAX_NAME_LENGTH, { message: `must have 1 to ${MAX_NAME_LENGTH} characters` })
  name!: string;

  @ApiProperty({
    enum: SCOPES,
    isArray: true,
    description: 'What it may do, of what you may; none for what is your own only',
    example: ['statistics:read'],
  })
  @IsIn(SCOPES, { each: true, message: `must be some of ${SCOPES.join(', ')}` })
  @ArrayMaxSize(SCOPES.length, { message: `must be at most ${SCOPES.length}` })
  @IsArray({ message: 'must be a list' })
  scopes!: Scope[];
}

/** Path of one key. */
export class ApiKeyPath {
  @ApiProperty({ format: 'uuid', example: ID })
  @IsUUID('all', { message: 'must be a UUID' })
  key_id!: string;
}

/** Which page of the keys is wanted. */
export class ApiKeysQuery {
  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_KEYS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** A key without the key itself. */
export class ApiKeyJson {
  @ApiProperty({ format: 'uuid', example: ID })
  id!: string;

  @ApiProperty({
    type: String,
    nullable: true,
    format: 'uuid',
    description: 'Whose it is; null where the local operator made it',
    example: '0b5f6a3e-4a53-4f0e-9a38-0c4f4a0d2f11',
  })
  account_id!: string | null;

  @ApiProperty({ example: 'nightly report' })
  name!: string;

  @ApiProperty({ enum: SCOPES, isArray: true, example: ['statistics:read'] })
  scopes!: Scope[];

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  created_at!: string;

  @ApiProperty({ type: String, nullable: true, format: 'date-time', example: null })
  revoked_at!: string | null;

  @ApiProperty({
    type: String,
    nullable: true,
    format: 'date-time',
    description: 'To the minute; null where it never was',
    example: '2026-02-01T03:00:00.000Z',
  })
  last_used_at!: string | null;
}

/** A key that was just made. */
export class NewApiKey extends ApiKeyJson {
  @ApiProperty({ description: 'The key itself. It is shown now and never again', example: 'opk_q3V…' })
  key!: string;
}

/** A page of keys, newest first. */
export class ApiKeyPage {
  @ApiProperty({ type: [ApiKeyJson] })
  items!: ApiKeyJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** A key in the form of the API. */
export function apiKeyJson({ id, accountId, name, scopes, createdAt, revokedAt, lastUsedAt }: ApiKey): ApiKeyJson {
  return {
    id,
    account_id: accountId,
    name,
    scopes,
    created_at: isoOf(createdAt),
    revoked_at: isoOf(revokedAt),
    last_used_at: isoOf(lastUsedAt),
  };
}
