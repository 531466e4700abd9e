import { sql, type SQL } from 'drizzle-orm';
import { createHash, randomBytes } from 'node:crypto';

const BYTES = 32;

/** A token that nobody can guess. @param prefix by which people and secret scanners know what it is */
export function newToken(prefix: string): string {
  return prefix + randomBytes(BYTES).toString('base64url');
}

/** What is stored of a token: SHA-256 is enough for what is random, unlike for a password. */
export function digestOf(token: string): SQL {
  return sql`decode(${createHash('sha256').update(token).digest('hex')}, 'hex')`;
}
