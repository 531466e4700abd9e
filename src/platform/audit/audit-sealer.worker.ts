import { Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { sql } from 'drizzle-orm';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { withTimeout, pause } from '../back-off.js';
import { Database } from '../database/database.js';
import { type AuditRow, type Link, linkAfter } from './audit-chain.rules.js';
import { Audit } from './audit.js';
import { ROW_COLUMNS } from './audit-log.repository.js';

/** Acts that come together are sealed together, and none waits for it. */
const PAUSE_BEFORE_SEALING_MS = 100;
const LOOK_EVERY_MS = 5_000;
const ROWS_PER_BATCH = 500;
const STOP_TIMEOUT_MS = 1_000;
/** Any number of our own, the same in all processes: whoever holds the lock seals. */
const SEALING_LOCK = 4_711_002;

/**
 * Gives rows of the audit log, which are there and committed, their places in the chain: one sealer at a time, whatever
 * the number of processes, so that no change ever waits for the chain.
 */
@Injectable()
export class AuditSealer implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('AuditSealer');
  private readonly stopping = new AbortController();
  private again = false;
  private busy = false;
  private ended: Promise<void> = Promise.resolve();

  constructor(
    private readonly audit: Audit,
    private readonly database: Database,
  ) {}

  onApplicationBootstrap(): void {
    this.audit.onRecorded(() => this.notify());
    this.notify();
  }

  async onModuleDestroy(): Promise<void> {
    this.stopping.abort();
    await withTimeout(STOP_TIMEOUT_MS, this.ended);
    await this.audit.stopKeeping();
  }

  /** Has what is unsealed sealed soon. Also called every few seconds, for what other processes or a crash left. */
  @Interval(LOOK_EVERY_MS)
  notify(): void {
    this.again = true;
    if (!this.busy) this.ended = this.run();
  }

  /**
   * Seals the oldest rows that are not sealed yet.
   * @returns how many; 0 where there are none, or another process is at it
   * @throws DatabaseUnavailable
   */
  async sealBatch(): Promise<number> {
    return this.database.transaction(async (tx) => {
      const [lock] = await tx.query<{ held: boolean }>(sql`select pg_try_advisory_xact_lock(${SEALING_LOCK}) as held`);
      if (!lock!.held) return 0;
      const rows = await tx.query<AuditRow>(
        sql`select ${ROW_COLUMNS} from audit_log where sequence is null order by audit_log.id limit ${ROWS_PER_BATCH}`,
      );
      if (rows.length === 0) return 0;
      const [head] = await tx.query<Link>(sql`select sequence, encode(hash, 'hex') as hash from audit_head`);
      if (!head) throw new Error('the head of its chain is missing');
      let end = head;
      const links = rows.map((row) => {
        end = linkAfter(end, row);
        return { id: row.id, ...end };
      });
      await tx.query(
        sql`update audit_log set sequence = link.sequence, hash = decode(link.hash, 'hex')
            from json_to_recordset(${JSON.stringify(links)}::json) as link(id bigint, sequence bigint, hash text)
            where audit_log.id = link.id`,
      );
      await tx.query(sql`update audit_head set sequence = ${end.sequence}, hash = decode(${end.hash}, 'hex')`);
      return rows.length;
    });
  }

  /** How long the oldest row has been waiting for its place, in seconds; 0 where none does. @throws DatabaseUnavailable */
  async oldestUnsealedSeconds(): Promise<number> {
    const [row] = await this.database.query<{ age: number }>(
      sql`select coalesce(greatest(extract(epoch from clock_timestamp() - min(at)), 0), 0)::float8 as age
          from audit_log where sequence is null`,
    );
    return row!.age;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    this.busy = true;
    try {
      while (this.again) {
        await pause(PAUSE_BEFORE_SEALING_MS, signal);
        await this.database.availability.waitUntilUp(signal);
        this.again = false;
        if (signal.aborted) return;
        await this.audit.writeKept();
        while (!signal.aborted && (await this.sealBatch()) === ROWS_PER_BATCH);
      }
    } catch (error) {
      // A database that is down says so itself.
      if (!(error instanceof UnavailableError)) this.logger.error(`The audit log can't be sealed: ${messageOf(error)}`);
    } finally {
      this.busy = false;
    }
  }
}
