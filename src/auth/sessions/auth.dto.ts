import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { Length, Matches, ValidateBy, ValidateIf } from 'class-validator';
import { type Caller, type Role, ROLES, type Scope, SCOPES } from '../../shared/access.js';
import {
  isEmailAddress,
  MIN_PASSWORD_LENGTH,
  MAX_EMAIL_LENGTH,
  MAX_PASSWORD_LENGTH,
} from '../../shared/credentials.js';
import { isoOf } from '../../shared/iso-time.js';
import { ACCESS_TOKEN_SECONDS } from './access-tokens.service.js';
import type { Account } from '../accounts/accounts.service.js';

const MAX_NAME_LENGTH = 200;
const MAX_TOKEN_LENGTH = 200;
const ACCOUNT_ID = '0b5f6a3e-4a53-4f0e-9a38-0c4f4a0d2f11';
const REFRESH_TOKEN = 'opr_Zk9…';

/** An e-mail address; what stands around it does not matter. */
function Email(): PropertyDecorator {
  return (target, property) => {
    ApiProperty({ format: 'email', maxLength: MAX_EMAIL_LENGTH, example: 'ada@shop.example' })(target, property);
    Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.trim() : value))(target, property);
    ValidateBy({
      name: 'email',
      validator: {
        validate: (text) => typeof text === 'string' && isEmailAddress(text),
        defaultMessage: () => 'must be an e-mail address',
      },
    })(target, property);
  };
}

/** Body of `POST /api/v1/auth/signup`. */
export class SignUpRequest {
  @Email()
  email!: string;

  @ApiProperty({
    format: 'password',
    minLength: MIN_PASSWORD_LENGTH,
    maxLength: MAX_PASSWORD_LENGTH,
    description: 'None of the common ones, nor one made of the name or the address',
    example: 'quiet harbour seven maps',
  })
  @Length(MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH, {
    message: `must have ${MIN_PASSWORD_LENGTH} to ${MAX_PASSWORD_LENGTH} characters`,
  })
  password!: string;

  @ApiProperty({ maxLength: MAX_NAME_LENGTH, example: 'Ada Lovelace' })
  @Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.trim() : value))
  @Matches(/^\P{C}+$/u, { message: 'must be text in one line' })
  @Length(1, MAX_NAME_LENGTH, { message: `must have 1 to ${MAX_NAME_LENGTH} characters` })
  full_name!: string;
}

/** Body of `POST /api/v1/auth/login`. */
export class LogInRequest {
  @Email()
  email!: string;

  @ApiProperty({ format: 'password', maxLength: MAX_PASSWORD_LENGTH, example: 'quiet harbour seven maps' })
  @Length(1, MAX_PASSWORD_LENGTH, { message: `must have 1 to ${MAX_PASSWORD_LENGTH} characters` })
  password!: string;
}

/** Body of `POST /api/v1/auth/refresh`. */
export class RefreshRequest {
  @ApiProperty({ maxLength: MAX_TOKEN_LENGTH, example: REFRESH_TOKEN })
  @Length(1, MAX_TOKEN_LENGTH, { message: 'must be a refresh token' })
  refresh_token!: string;
}

/** Body of `POST /api/v1/auth/logout`; may be left out where an access token is shown. */
export class LogOutRequest {
  @ApiPropertyOptional({ maxLength: MAX_TOKEN_LENGTH, example: REFRESH_TOKEN })
  @ValidateIf((_, given) => given !== undefined)
  @Length(1, MAX_TOKEN_LENGTH, { message: 'must be a refresh token' })
  refresh_token?: string;
}

/** What a log-in or a refresh gives. */
export class Tokens {
  @ApiProperty({ description: 'To be sent as `Authorization: Bearer …`', example: 'eyJhbGciOiJIUzI1NiIs…' })
  access_token!: string;

  @ApiProperty({ description: 'Good for one refresh, within 30 days', example: REFRESH_TOKEN })
  refresh_token!: string;

  @ApiProperty({ enum: ['Bearer'], example: 'Bearer' })
  token_type!: 'Bearer';

  @ApiProperty({ description: 'Seconds that the access token is good for', example: ACCESS_TOKEN_SECONDS })
  expires_in!: number;
}

/** An account in the form of the API. */
export class AccountJson {
  @ApiProperty({ format: 'uuid', example: ACCOUNT_ID })
  id!: string;

  @ApiProperty({ example: 'ada@shop.example' })
  email!: string;

  @ApiProperty({ example: 'Ada Lovelace' })
  full_name!: string;

  @ApiProperty({ enum: ROLES, example: 'customer' })
  role!: Role;

  @ApiProperty({ description: 'Whose order events are its own', example: 'U5F3C6F0E2A4F4A53' })
  user_id!: string;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  created_at!: string;
}

/** Who the service takes the caller for. */
export class Me {
  @ApiProperty({ enum: ['operator', 'account', 'api-key', 'scraper'], example: 'account' })
  kind!: Caller['kind'];

  @ApiProperty({ description: 'What records call the caller', example: `account:${ACCOUNT_ID}` })
  name!: string;

  @ApiProperty({ enum: SCOPES, isArray: true, example: [] })
  scopes!: Scope[];

  @ApiProperty({ type: String, nullable: true, format: 'uuid', example: ACCOUNT_ID })
  id!: string | null;

  @ApiProperty({ type: String, nullable: true, example: 'ada@shop.example' })
  email!: string | null;

  @ApiProperty({ type: String, nullable: true, example: 'Ada Lovelace' })
  full_name!: string | null;

  @ApiProperty({ enum: ROLES, nullable: true, example: 'customer' })
  role!: Role | null;

  @ApiProperty({ type: String, nullable: true, example: 'U5F3C6F0E2A4F4A53' })
  user_id!: string | null;
}

/** An account in the form of the API. */
export function accountJson({ id, email, fullName, role, userId, createdAt }: Account): AccountJson {
  return { id, email, full_name: fullName, role, user_id: userId, created_at: isoOf(createdAt) };
}

/** @param account whose log-in or key it is; null for nobody's */
export function meJson({ kind, name, scopes }: Caller, account: Account | null): Me {
  return {
    kind,
    name,
    scopes: [...scopes],
    id: account?.id ?? null,
    email: account?.email ?? null,
    full_name: account?.fullName ?? null,
    role: account?.role ?? null,
    user_id: account?.userId ?? null,
  };
}
