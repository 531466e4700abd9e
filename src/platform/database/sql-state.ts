/** What pg-pool says of connections that are all at work, and of nothing else. */
const NO_FREE_CONNECTION = 'timeout exceeded when trying to connect';

/** The SQLSTATE of a failed statement (it may be on the cause), or null where it has none. */
export function sqlStateOf(error: unknown): string | null {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as { code?: unknown };
    if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]{4}$/.test(code)) return code;
  }
  return null;
}

/** Classes 22 (data exception) and 23 (constraint violation): the row is at fault, not the database. */
export function isFaultOfRow(error: unknown): boolean {
  return /^2[23]/.test(sqlStateOf(error) ?? '');
}

/**
 * The database is gone, lets nobody in or takes no writes: 08 connection, 25006 read-only, 28 authentication, 3D000 no such
 * database, 53 resources (disk full, too many connections), 57P shutting down or starting, 58 system, XX internal; and every
 * failure that never reached it.
 */
export function isOutage(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state !== null) return /^(08|25006|28|3D000|53|57P|58|XX)/.test(state);
  return isConnectionFailure(error);
}

/**
 * Cancelled by a timeout, ended because the transaction was idle for too long (this process was frozen), a victim of a lock
 * or serialization conflict, or all connections were at work for too long: the same again may succeed at once.
 */
export function isPassing(error: unknown): boolean {
  if (error instanceof Error && error.message === NO_FREE_CONNECTION) return true;
  return /^(57014|55P03|25P03|40)/.test(sqlStateOf(error) ?? '');
}

/** PostgreSQL cancelled the statement because it took longer than a statement may. */
export function isStatementTimeout(error: unknown): boolean {
  return sqlStateOf(error) === '57014';
}

function isConnectionFailure(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as { code?: unknown };
    if (typeof code === 'string' && /^(E[A-Z_]{3,}|ERR_SOCKET)/.test(code)) return true;
    if (
      /connection terminated|timeout expired|query read timeout|client has encountered a connection error|not queryable|connection ended/i.test(
        cause.message,
      )
    ) {
      return true;
    }
    if (cause instanceof AggregateError && cause.errors.some(isConnectionFailure)) return true;
  }
  return false;
}
