import { Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { addDays } from '../../domain/business-time.js';
import { Database } from '../database/database.js';
import {
  type AuditRow,
  CHAIN_START,
  type ChainMismatch,
  follow,
  type Link,
  mismatchAtEnd,
  type SealedRow,
} from './audit-chain.rules.js';

const ROWS_PER_LOOK = 1_000;

/** What a row says. */
export const ROW_COLUMNS = sql`audit_log.id, audit_log.at,
  actor, action, target, before, after, request_id as "requestId"`;
const LINK_COLUMNS = sql`audit_log.sequence, encode(audit_log.hash, 'hex') as hash`;

/** A row, and its place in the chain once it has one. */
export type LoggedRow = AuditRow & (Link | { sequence: null; hash: null });

/** Which rows to find; everything given must hold. */
export interface AuditFilter {
  actor?: string;
  action?: string;
  target?: string;
  requestId?: string;
  /** First and last day, `YYYY-MM-DD` in UTC, both inclusive. */
  start?: string;
  end?: string;
  /** Only rows with a lower id. */
  before?: number;
}

/** What going along the chain came to. */
export interface ChainVerification {
  /** How many rows are what was sealed, and where. */
  checked: number;
  /** Where the chain ended when it began. */
  head: Link;
  /** How many rows had no place in the chain yet. */
  unsealed: number;
  mismatch: ChainMismatch | null;
}

/** Reads the audit log, and proves that it is what was written. */
@Injectable()
export class AuditLog {
  constructor(private readonly database: Database) {}

  /** Rows, newest first. @returns with them, whether there are more @throws DatabaseUnavailable */
  async page(filter: AuditFilter, limit: number): Promise<{ rows: LoggedRow[]; more: boolean }> {
    const { actor, action, target, requestId, start, end, before } = filter;
    const conditions: SQL[] = [sql`true`];
    if (actor !== undefined) conditions.push(sql`actor = ${actor}`);
    if (action !== undefined) conditions.push(sql`action = ${action}`);
    if (target !== undefined) conditions.push(sql`target = ${target}`);
    if (requestId !== undefined) conditions.push(sql`request_id = ${requestId}`);
    if (start !== undefined) conditions.push(sql`audit_log.at >= ${midnight(start)}::timestamptz`);
    if (end !== undefined) conditions.push(sql`audit_log.at < ${midnight(addDays(end, 1))}::timestamptz`);
    if (before !== undefined) conditions.push(sql`audit_log.id < ${before}`);
    const found = await this.database.query<LoggedRow>(
      sql`select ${ROW_COLUMNS}, ${LINK_COLUMNS} from audit_log where ${sql.join(conditions, sql` and `)}
          order by audit_log.id desc limit ${limit + 1}`,
    );
    return { rows: found.slice(0, limit), more: found.length > limit };
  }

  /**
   * Goes along the chain up to where it ends now, and computes every hash anew. What is sealed meanwhile is left for the
   * next time. @throws DatabaseUnavailable
   */
  async verify(): Promise<ChainVerification> {
    // In one statement: sealing moves the head and the rows together.
    const [start] = await this.database.query<Link & { last: number; unsealed: number }>(
      sql`select coalesce((select sequence from audit_head), 0) as sequence,
            coalesce((select encode(hash, 'hex') from audit_head), ${CHAIN_START.hash}) as hash,
            (select coalesce(max(sequence), 0) from audit_log) as last,
            (select count(*) from audit_log where sequence is null) as unsealed`,
    );
    const { last, unsealed, ...head } = start!;
    let reached = CHAIN_START;
    let mismatch: ChainMismatch | null = null;
    let rows: SealedRow[];
    do {
      rows = await this.chain(reached, head);
      ({ reached, mismatch } = follow(reached, rows));
    } while (!mismatch && rows.length === ROWS_PER_LOOK);
    return { checked: reached.sequence, head, unsealed, mismatch: mismatch ?? mismatchAtEnd(reached, head, last) };
  }

  /** The next piece of the chain after a link, as far as the head. */
  private async chain(after: Link, head: Link): Promise<SealedRow[]> {
    return this.database.query<SealedRow>(
      sql`select ${ROW_COLUMNS}, ${LINK_COLUMNS} from audit_log
          where audit_log.sequence > ${after.sequence} and audit_log.sequence <= ${head.sequence}
          order by audit_log.sequence limit ${ROWS_PER_LOOK}`,
    );
  }
}

function midnight(day: string): string {
  return `${day}T00:00:00Z`;
}
