import { Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import { Audit } from '../../platform/audit/audit.js';
import { Database } from '../../platform/database/database.js';
import type { Actor } from '../../shared/access.js';

/**
 * The number of a new generation: higher than any before. It also tells the time (ms), because a ledger that was
 * replaced or put back has forgotten which numbers Redis may still hold keys of.
 */
const NEXT_GENERATION = sql`greatest(last_generation + 1, floor(extract(epoch from statement_timestamp()) * 1000)::bigint)`;

/** How long a builder may be silent before another process may take over. */
const LEASE_SECONDS = 15;

/** What the ledger's database says about the live figures: its word decides, Redis only holds the numbers. */
export interface Authority {
  /** The generation that is served. */
  generation: number;
  /** Statistics cover the entries after this position. */
  base: number;
  /** `empty`: no generation was ever built for this ledger. */
  state: 'empty' | 'ready';
  /** Whether some process builds the next generation right now, and how many entries of how many it has read. */
  building: { done: number; total: number } | null;
}

/** A right to build the next generation, taken from all other processes for as long as it is renewed. */
export interface BuildLease {
  /** The number of the generation to build; never used before. */
  generation: number;
  /** Statistics begin after this position. */
  base: number;
  /** The generation that is to be replaced. */
  replaces: number;
}

/** The lease is no longer ours: it expired, or the figures were cleared meanwhile. What was built is void. */
export class BuildLeaseLost extends Error {
  override readonly name = 'BuildLeaseLost';
  readonly why: string;
  /** @param cleared whether the generation to replace is no longer the served one */
  constructor(cleared: boolean) {
    const why = cleared ? 'the figures were cleared meanwhile' : 'another process took it over';
    super(`The right to build the next generation of the figures was lost: ${why}`);
    this.why = why;
  }
}

/** The one row of the ledger's database that says which figures are served. */
@Injectable()
export class ProjectionStateRepository {
  private readonly me = randomUUID();

  constructor(
    private readonly database: Database,
    private readonly audit: Audit,
  ) {}

  /** @throws DatabaseUnavailable */
  async read(): Promise<Authority> {
    const [row] = await this.database.query<
      Omit<Authority, 'building'> & { done: number; total: number; is_building: boolean }
    >(
      sql`select generation, base, state,
            build_done as done, build_total as total,
            coalesce(builder_until > now(), false) as is_building
          from projection`,
    );
    const { generation, base, state, done, total, is_building } = row!;
    return { generation, base, state, building: is_building ? { done, total } : null };
  }

  /**
   * @param fromBeginning whether the next generation is to cover the whole ledger, and a clearing is undone with the switch
   * @returns null where another process is building
   * @throws DatabaseUnavailable
   */
  async claimBuild({ fromBeginning = false } = {}): Promise<BuildLease | null> {
    const base = fromBeginning ? sql`0` : sql`base`;
    const [lease] = await this.database.query<BuildLease>(
      sql`update projection
          set builder = ${this.me}, builder_until = now() + make_interval(secs => ${LEASE_SECONDS}),
            last_generation = ${NEXT_GENERATION}, build_done = 0,
            build_total = greatest((select position from ledger_head) - ${base}, 0)
          where builder is null or builder_until < now()
          returning last_generation as generation, (${base})::bigint as base, generation as replaces`,
    );
    return lease ?? null;
  }

  /** Keeps the lease where there is no progress to tell of. @throws BuildLeaseLost @throws DatabaseUnavailable */
  async keep(lease: BuildLease): Promise<void> {
    await this.change(lease, sql`builder_until = now() + make_interval(secs => ${LEASE_SECONDS})`);
  }

  /** Tells of progress and keeps the lease. @throws BuildLeaseLost @throws DatabaseUnavailable */
  async renew(lease: BuildLease, done: number, total: number): Promise<void> {
    await this.change(
      lease,
      sql`builder_until = now() + make_interval(secs => ${LEASE_SECONDS}), build_done = ${done}, build_total = ${total}`,
    );
  }

  /**
   * Makes the built generation the served one, and where its figures begin the place where the served ones do.
   * @throws BuildLeaseLost @throws DatabaseUnavailable
   */
  async switchTo(lease: BuildLease): Promise<void> {
    const { generation, base } = lease;
    await this.change(
      lease,
      sql`generation = ${generation}, base = ${base}, state = 'ready', builder = null, builder_until = null`,
    );
  }

  /**
   * Takes a generation out of service for good, whoever may still find it in Redis. Until another one is built the row
   * names one that there is none of.
   * @returns the number that it names; null where another generation is in service already, or is being built
   * @throws DatabaseUnavailable
   */
  async withdraw(generation: number): Promise<number | null> {
    const [row] = await this.database.query<{ generation: number }>(
      sql`update projection
          set generation = ${NEXT_GENERATION}, last_generation = ${NEXT_GENERATION}
          where generation = ${generation} and (builder is null or builder_until < now())
          returning generation`,
    );
    return row?.generation ?? null;
  }

  /** Gives the lease back after a build that failed. @throws DatabaseUnavailable */
  async giveUp(lease: BuildLease): Promise<void> {
    await this.database.query(
      sql`update projection set builder = null, builder_until = null
          where builder = ${this.me} and last_generation = ${lease.generation}`,
    );
  }

  /**
   * Begins an empty generation that covers only what comes after the ledger's head. A build that is under way
   * becomes void.
   * @param actor who asked for it
   * @returns the new generation and its base @throws DatabaseUnavailable
   */
  async clear(
    actor: Actor,
  ): Promise<{ generation: number; base: number; ledgerId: string; entryHash: string; cleared: number }> {
    return this.database.transaction(async (tx) => {
      // The head is locked so that no append slips between reading it and moving the base to it.
      const [head] = await tx.query<{ position: number; ledgerId: string; entryHash: string }>(
        sql`select position, ledger_id::text as "ledgerId", encode(entry_hash, 'hex') as "entryHash"
            from ledger_head for update`,
      );
      // Locked too, or a generation that comes into service meanwhile would not be the one that is cleared.
      const [before] = await tx.query<{ generation: number; base: number }>(
        sql`select generation, base from projection for update`,
      );
      const [after] = await tx.query<{ generation: number }>(
        sql`update projection
            set generation = ${NEXT_GENERATION}, last_generation = ${NEXT_GENERATION}, base = ${head!.position},
              state = 'ready', builder = null, builder_until = null
            returning generation`,
      );
      const { position: base, ledgerId, entryHash } = head!;
      const { generation } = after!;
      await this.audit.record(tx, actor, {
        action: 'statistics.cleared',
        target: 'statistics',
        before: before!,
        after: { generation, base },
      });
      return { generation, base, ledgerId, entryHash, cleared: before!.generation };
    });
  }

  /** Changes the row as long as the lease holds. */
  private async change(lease: BuildLease, assignments: SQL): Promise<void> {
    const changed = await this.database.query(
      sql`update projection set ${assignments}
          where builder = ${this.me} and last_generation = ${lease.generation} and generation = ${lease.replaces}
          returning 1`,
    );
    if (changed.length > 0) return;
    const { generation } = await this.read();
    throw new BuildLeaseLost(generation !== lease.replaces);
  }
}
