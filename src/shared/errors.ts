/**
 * The two families of errors. Concrete errors stand beside the rule that raises them, are named for
 * the fact and know no HTTP; one filter (platform/http/problem.filter.ts) turns them into answers.
 */

/** One field of a request that is wrong, and why, in words a caller can act on. */
export interface FieldError {
  /** Where: `count`, `start`, `items.0.quantity`. */
  field: string;
  /** What is expected. */
  message: string;
}

/** What kind of mistake the caller made. */
export type ErrorKind =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'too_large'
  | 'unsupported'
  | 'unprocessable'
  | 'too_many';

/** The caller asked for something that can't be done; asking again unchanged gives the same answer. */
export abstract class ClientError extends Error {
  /** Stable, documented, machine-readable. */
  abstract readonly code: string;
  abstract readonly kind: ErrorKind;
  readonly fields: FieldError[] = [];
  /** After how many seconds the same may be asked again; null where that would change nothing. */
  readonly retryAfter: number | null = null;
  override get name(): string {
    return this.constructor.name;
  }
}

/** Something on our side is not available right now; the same request may succeed later. */
export abstract class UnavailableError extends Error {
  /** Stable, documented, machine-readable. */
  abstract readonly code: string;
  /** Facts for the caller, such as the progress of a rebuild. */
  readonly details: Record<string, unknown> = {};
  override get name(): string {
    return this.constructor.name;
  }
}

/** One or more fields of a request are wrong; all of them are named. */
export class InvalidInput extends ClientError {
  readonly code = 'invalid_input';
  readonly kind = 'invalid';
  override readonly fields: FieldError[];
  constructor(fields: FieldError[]) {
    super(fields.map((wrong) => `${wrong.field}: ${wrong.message}`).join('; '));
    this.fields = fields;
  }
}

/** What the path names does not exist. */
export class NotFound extends ClientError {
  readonly code = 'not_found';
  readonly kind = 'not_found';
}

/** The message of anything thrown, for a log line. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && !error.message) return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
