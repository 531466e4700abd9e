import { Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { Database, type Executor } from '../../platform/database/database.js';
import type { LedgerEntry } from '../../ledger/ledger-entry.js';

/** Of all verdicts of a page together, but for the last one: each may quote an order of 1 MiB. */
const MAX_VERDICT_BYTES = 8 * 1024 * 1024;

/** Why an order was checked by itself. */
export const CAUSES = ['failed', 'suspect'] as const;

/** One of {@link CAUSES}. */
export type Cause = (typeof CAUSES)[number];

/** What the check of an order came to. Times are ms UTC. */
export interface Finding {
  id: string;
  /** The order in which they were found. */
  number: number;
  foundAt: number;
  position: number;
  orderId: string | null;
  cause: Cause;
  /** JSON of what made it stand out. */
  suspects: string;
  /** JSON of the check. */
  verdict: string;
  /** The entry of kind repair that mended the order since. */
  repairedBy: number | null;
}

/** A finding that is to be kept. */
export interface NewFinding extends Pick<Finding, 'cause' | 'suspects' | 'verdict'> {
  /** As it was checked. */
  entry: Pick<LedgerEntry, 'position' | 'orderId' | 'body'>;
}

/** What scheduled checks found. */
@Injectable()
export class Findings {
  constructor(private readonly database: Database) {}

  /**
   * Findings, newest first: at most `limit`, and fewer where they are so large that the answer would be.
   * @param filter everything given must hold; `before` is the number of a finding
   * @returns with them, whether there are more
   * @throws DatabaseUnavailable
   */
  async page(
    filter: { cause?: Cause; before?: number },
    limit: number,
  ): Promise<{ findings: Finding[]; more: boolean }> {
    const conditions: SQL[] = [sql`true`];
    if (filter.cause) conditions.push(sql`cause = ${filter.cause}`);
    if (filter.before !== undefined) conditions.push(sql`number < ${filter.before}`);
    const found = await this.database.query<Finding & { candidates: number }>(
      sql`with candidates as materialized (
            select *, sum(size) over (order by number desc) - size as bytes_before
            from (
              select *, octet_length(verdict) + octet_length(suspects) as size from quality_findings
              where ${sql.join(conditions, sql` and `)} order by number desc limit ${limit + 1}
            ) newest
          )
          select id::text as id, number, found_at as "foundAt",
            position, order_id as "orderId", cause, suspects, verdict,
            (select repair.position from ledger repair
              where repair.kind = 'repair' and repair.ref_position = candidates.position) as "repairedBy",
            (select count(*) from candidates) as candidates
          from candidates where bytes_before < ${MAX_VERDICT_BYTES} order by candidates.number desc limit ${limit}`,
    );
    const findings = found.map(({ candidates: _, ...finding }) => finding);
    return { findings, more: (found[0]?.candidates ?? 0) > findings.length };
  }

  /**
   * Keeps a finding, unless there is one of this entry and cause already, or the entry's body is not any more what was
   * checked. The body stays as it is until the transaction ends.
   * @returns whether it was kept
   */
  async keep(tx: Executor, { entry, cause, suspects, verdict }: NewFinding): Promise<boolean> {
    const kept = await tx.query(
      sql`with unchanged as materialized (
            select position, sha256(convert_to(body, 'UTF8')) as body_hash from ledger
            where position = ${entry.position} and body = ${entry.body} for share
          )
          insert into quality_findings (position, order_id, body_hash, cause, suspects, verdict)
          select position, ${entry.orderId}, body_hash, ${cause}, ${suspects}, ${verdict} from unchanged
          on conflict (position, cause) do nothing returning 1`,
    );
    return kept.length > 0;
  }

  /** Forgets findings that are older. @returns how many there were @throws DatabaseUnavailable */
  async forgetOlderThan(days: number): Promise<number> {
    const forgotten = await this.database.query(
      sql`delete from quality_findings where found_at < clock_timestamp() - make_interval(days => ${days}) returning 1`,
    );
    return forgotten.length;
  }
}
