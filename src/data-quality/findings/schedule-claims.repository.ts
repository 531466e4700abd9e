import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { randomUUID } from 'node:crypto';
import { Database, type Executor } from '../../platform/database/database.js';

/** Longer than any check takes; renewed with each. */
const CLAIM_SECONDS = 600;
/** Whoever asks does so once a minute, give or take: the minute that is meant must not be missed by a moment. */
const EARLY_SECONDS = 30;

/** The right of one process to do what is scheduled. */
export interface Claim {
  id: string;
  /** The last entry that the checks of failed orders have come to. */
  failedPosition: number;
  /** The last entry that the checks of suspect orders have come to. */
  suspectPosition: number;
}

/**
 * Who does what is scheduled, and how far it came. A claim is a row and no lock: a lock would keep a connection and a
 * transaction open while a model answers.
 */
@Injectable()
export class ScheduleClaims {
  constructor(private readonly database: Database) {}

  /**
   * @param everyMinutes unless somebody began so lately
   * @returns null where it is not due, or another process has claimed it
   * @throws DatabaseUnavailable
   */
  async take(everyMinutes: number): Promise<Claim | null> {
    const [claim] = await this.database.query<Claim>(
      sql`update quality_schedule
          set claim = ${randomUUID()}, began_at = clock_timestamp(),
            claimed_until = clock_timestamp() + make_interval(secs => ${CLAIM_SECONDS})
          where (claimed_until is null or claimed_until <= clock_timestamp())
            and (began_at is null or began_at <= clock_timestamp() - make_interval(secs => ${everyMinutes * 60 - EARLY_SECONDS}))
          returning claim::text as id, failed_position as "failedPosition",
            suspect_position as "suspectPosition"`,
    );
    return claim ?? null;
  }

  /** @returns whether it is still this process's, which it is from now on for as long as at first */
  async renew(tx: Executor, { id }: Claim): Promise<boolean> {
    const renewed = await tx.query(
      sql`update quality_schedule set claimed_until = clock_timestamp() + make_interval(secs => ${CLAIM_SECONDS})
          where claim = ${id} returning 1`,
    );
    return renewed.length > 0;
  }

  /** The next check begins after these entries. @throws DatabaseUnavailable */
  async advance({ id, failedPosition, suspectPosition }: Claim): Promise<void> {
    await this.database.query(
      sql`update quality_schedule set failed_position = ${failedPosition}, suspect_position = ${suspectPosition}
          where claim = ${id}`,
    );
  }

  /** Where it is not this process's any more, nothing happens. @throws DatabaseUnavailable */
  async giveBack({ id }: Claim): Promise<void> {
    await this.database.query(sql`update quality_schedule set claim = null, claimed_until = null where claim = ${id}`);
  }
}
