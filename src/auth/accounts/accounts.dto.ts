import { ApiProperty } from '@nestjs/swagger';
import { IsIn, IsOptional, IsUUID, Matches, MaxLength } from 'class-validator';
import { QueryCursor, QueryInteger } from '../../platform/http/validation.js';
import { type Role, ROLES } from '../../shared/access.js';
import { MAX_EMAIL_LENGTH } from '../../shared/credentials.js';
import { AccountJson } from '../sessions/auth.dto.js';

const DEFAULT_LIMIT = 20;
const MAX_ACCOUNTS = 500;
const ROLE_MESSAGE = `must be one of ${ROLES.join(', ')}`;

/** Path of one account. */
export class AccountPath {
  @ApiProperty({ format: 'uuid', example: '0b5f6a3e-4a53-4f0e-9a38-0c4f4a0d2f11' })
  @IsUUID('all', { message: 'must be a UUID' })
  account_id!: string;
}

/** Which accounts are wanted; every filter given must hold. */
export class AccountsQuery {
  @ApiProperty({ enum: ROLES, required: false })
  @IsOptional()
  @IsIn(ROLES, { message: ROLE_MESSAGE })
  role?: Role;

  @ApiProperty({ required: false, example: 'ada@shop.example' })
  @IsOptional()
  @MaxLength(MAX_EMAIL_LENGTH, { message: 'must be an e-mail address' })
  @Matches(/^\P{C}*$/u, { message: 'must be an e-mail address' })
  email?: string;

  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_ACCOUNTS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** Body of `PUT /api/v1/auth/accounts/{account_id}/role`. */
export class RoleRequest {
  @ApiProperty({ enum: ROLES, example: 'analyst' })
  @IsIn(ROLES, { message: ROLE_MESSAGE })
  role!: Role;
}

/** A page of accounts, newest first. */
export class AccountPage {
  @ApiProperty({ type: [AccountJson] })
  items!: AccountJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}
