import { Inject, Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { createHash } from 'node:crypto';
import type { Executor } from '../../platform/database/database.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { ClientError } from '../../shared/errors.js';

/** The longest key that is taken. */
export const MAX_KEY_CHARACTERS = 255;

/** The header `Idempotency-Key` is missing or is not usable. */
export class IdempotencyKeyMissing extends ClientError {
  readonly code = 'idempotency_key_missing';
  readonly kind = 'invalid';
  constructor() {
    super(
      `Send the header Idempotency-Key: 1 to ${MAX_KEY_CHARACTERS} printable characters of your choice, new for each ` +
        'order and the same when you send it again.',
    );
  }
}

/** The key was used for a request with another body. */
export class IdempotencyKeyReused extends ClientError {
  readonly code = 'idempotency_key_reused';
  readonly kind = 'unprocessable';
  constructor() {
    super('This Idempotency-Key was used for a request with another body. Take another key for another order.');
  }
}

/** A request with the key is being answered right now. */
export class RequestInFlight extends ClientError {
  readonly code = 'request_in_flight';
  readonly kind = 'conflict';
  override readonly retryAfter = 1;
  constructor() {
    super('A request with this Idempotency-Key is being answered. Send it again for the answer.');
  }
}

/** What a repeated request is recognised by: draft-ietf-httpapi-idempotency-key-header. */
export interface RepeatableRequest {
  /** Keys of different callers have nothing to do with each other. */
  caller: string;
  /** Method and path. */
  route: string;
  key: string;
  /** Read from JSON. */
  body: unknown;
}

/** The first answer to a request. */
export interface FirstAnswer<Answer> {
  status: number;
  answer: Answer;
}

/** First answers, each kept for IDEMPOTENCY_TTL_SECONDS and committed with what it tells of. */
@Injectable()
export class IdempotencyKeys {
  constructor(@Inject(CONFIG) private readonly config: Config) {}

  /**
   * Takes a key for the rest of the transaction.
   * @returns the first answer, or null where this is the first request
   * @throws RequestInFlight at once, where another transaction has the key @throws IdempotencyKeyReused
   */
  async take<Answer>(tx: Executor, request: RepeatableRequest): Promise<FirstAnswer<Answer> | null> {
    const { caller, route, key } = request;
    const [lock] = await tx.query<{ held: boolean }>(
      sql`select pg_try_advisory_xact_lock(${lockOf(request)}::bigint) as held`,
    );
    if (!lock!.held) throw new RequestInFlight();
    // A statement of its own, so that it sees what the one before committed.
    const [first] = await tx.query<{ fingerprint: string; status: number; answer: string; expired: boolean }>(
      sql`select encode(fingerprint, 'hex') as fingerprint, status, answer, expires_at <= clock_timestamp() as expired
          from idempotency_keys where caller = ${caller} and route = ${route} and key = ${key}`,
    );
    if (!first || first.expired) return null;
    if (first.fingerprint !== fingerprintOf(request)) throw new IdempotencyKeyReused();
    return { status: first.status, answer: JSON.parse(first.answer) as Answer };
  }

  /** Keeps an answer, in the transaction that took the key. */
  async keep(tx: Executor, request: RepeatableRequest, { status, answer }: FirstAnswer<unknown>): Promise<void> {
    const { caller, route, key } = request;
    await tx.query(
      sql`insert into idempotency_keys (caller, route, key, fingerprint, status, answer, expires_at)
          values (${caller}, ${route}, ${key}, decode(${fingerprintOf(request)}, 'hex'), ${status},
            ${JSON.stringify(answer)}, clock_timestamp() + make_interval(secs => ${this.config.idempotencyTtlSeconds}))
          on conflict (caller, route, key) do update set fingerprint = excluded.fingerprint, status = excluded.status,
            answer = excluded.answer, expires_at = excluded.expires_at`,
    );
  }

  /** Forgets what is too old, at most so much. @returns how many keys */
  async forgetExpired(tx: Executor, most: number): Promise<number> {
    const gone = await tx.query(
      sql`delete from idempotency_keys where (caller, route, key) in (
            select caller, route, key from idempotency_keys
            where expires_at <= clock_timestamp() order by expires_at limit ${most} for update skip locked
          ) returning 1`,
    );
    return gone.length;
  }
}

/**
 * The key out of a header.
 * @throws IdempotencyKeyMissing
 */
export function idempotencyKeyIn(header: string | string[] | undefined): string {
  if (typeof header !== 'string' || header.length > MAX_KEY_CHARACTERS || !/^[\x20-\x7e]+$/.test(header)) {
    throw new IdempotencyKeyMissing();
  }
  return header;
}

/** 64 bits; of two keys that share them one would be told that it is in flight while the other is. */
function lockOf({ caller, route, key }: RepeatableRequest): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([caller, route, key]))
    .digest();
  return digest.readBigInt64BE().toString();
}

/** Of what the body says, whatever the order of its fields. */
function fingerprintOf({ body }: RepeatableRequest): string {
  return createHash('sha256')
    .update(JSON.stringify(sorted(body)))
    .digest('hex');
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, inner]) => [name, sorted(inner)]),
  );
}
