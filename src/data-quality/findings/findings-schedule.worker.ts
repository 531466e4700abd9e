import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { sql } from 'drizzle-orm';
import type { LedgerEntry } from '../../ledger/ledger-entry.js';
import { Ledger } from '../../ledger/ledger.repository.js';
import { withTimeout } from '../../platform/back-off.js';
import { Database } from '../../platform/database/database.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { faultText } from '../../shared/fault-text.js';
import { type Cause, Findings } from './findings.repository.js';
import { orderCheckJson } from '../check/order-check.dto.js';
import { OrderChecks } from '../check/order-checks.service.js';
import { QualityReports } from '../report/quality-reports.service.js';
import { type Groups, sampleOf } from '../report/sample.rules.js';
import { type Claim, ScheduleClaims } from './schedule-claims.repository.js';
import type { Suspect } from '../detectors/anomalies.rules.js';

const LOOK_EVERY_MS = 60_000;
const DAYS_KEPT = 90;
const STOP_TIMEOUT_MS = 2_000;

/** What is to be checked, and why. */
interface Candidate {
  position: number;
  cause: Cause;
  /** What makes it stand out; empty where it failed. */
  suspects: Suspect[];
}

/** What came of a scheduled check. */
export interface ScheduledCheck {
  /** How many orders were looked at. */
  checked: number;
  /** How many of them there is a finding of since. */
  found: number;
}

/** Checks a sample of the orders that failed or became suspect since the last time, of its own accord. */
@Injectable()
export class FindingsSchedule implements OnModuleDestroy {
  private readonly logger = new Logger('FindingsSchedule');
  private running: Promise<unknown> = Promise.resolve();
  private stopping = false;

  constructor(
    private readonly database: Database,
    private readonly ledger: Ledger,
    private readonly claims: ScheduleClaims,
    private readonly findings: Findings,
    private readonly reports: QualityReports,
    private readonly checks: OrderChecks,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  async onModuleDestroy(): Promise<void> {
    this.stopping = true;
    await withTimeout(STOP_TIMEOUT_MS, this.running);
  }

  /** Checks where that is wanted, and no process of this ledger has begun to for as long as is set. */
  @Interval(LOOK_EVERY_MS)
  async checkWhenDue(): Promise<void> {
    const { qualityCheckMinutes } = this.config;
    if (qualityCheckMinutes === 0 || this.stopping || !this.database.availability.up) return;
    try {
      await this.check(qualityCheckMinutes);
    } catch (error) {
      // A part that is down says so itself.
      if (error instanceof UnavailableError) return;
      this.logger.error(`The scheduled check of orders failed: ${faultText(messageOf(error))}`);
    }
  }

  /**
   * Checks now.
   * @param everyMinutes unless a check began so lately
   * @returns null where it is not due, or another process is at it
   * @throws DatabaseUnavailable
   */
  async check(everyMinutes = 0): Promise<ScheduledCheck | null> {
    const claim = await this.claims.take(everyMinutes);
    if (!claim) return null;
    const run = this.run(claim).finally(() => this.claims.giveBack(claim));
    this.running = run.catch(() => undefined);
    return run;
  }

  private async run(claim: Claim): Promise<ScheduledCheck> {
    await this.findings.forgetOlderThan(DAYS_KEPT);
    const { position: head } = await this.ledger.head();
    const suspects = await this.newSuspects(claim, head);
    const candidates = this.chosen(await this.failedAfter(claim.failedPosition, head), suspects);
    const result: ScheduledCheck = { checked: 0, found: 0 };
    for (const candidate of candidates) {
      const found = this.stopping ? null : await this.checkOne(claim, candidate);
      // What is left is looked for again the next time.
      if (found === null) return result;
      result.checked++;
      if (found) result.found++;
    }
    await this.claims.advance({ ...claim, failedPosition: head, suspectPosition: head });
    this.logger.log(
      `Scheduled check: looked at ${result.checked} of the orders that failed or became suspect since position ` +
        `${Math.min(claim.failedPosition, claim.suspectPosition)}; ${result.found} findings`,
    );
    return result;
  }

  private chosen(failed: Groups, suspects: Suspect[]): Candidate[] {
    const sample = sampleOf(failed, groupsOf(suspects), this.config.qualitySample);
    return [
      ...sample.failed.map((position) => ({ position, cause: 'failed' as const, suspects: [] })),
      ...sample.suspect.map((position) => ({
        position,
        cause: 'suspect' as const,
        suspects: suspects.filter((suspect) => suspect.position === position),
      })),
    ];
  }

  /** @returns whether there is a finding of it now; null where another process has taken over */
  private async checkOne(claim: Claim, { position, cause, suspects }: Candidate): Promise<boolean | null> {
    const entry = (await this.ledger.entry(position))!;
    const verdict = await this.verdictOf(entry);
    if (verdict === null) return false;
    return this.database.transaction(async (tx) => {
      if (!(await this.claims.renew(tx, claim))) return null;
      const told = suspects.map(({ kind, explanation, evidence }) => ({ kind, explanation, evidence }));
      return this.findings.keep(tx, { entry, cause, suspects: JSON.stringify(told), verdict });
    });
  }

  /** @returns JSON; null where checking it is a fault of ours, which must not keep the others from being checked */
  private async verdictOf(entry: LedgerEntry): Promise<string | null> {
    try {
      return JSON.stringify(orderCheckJson(await this.checks.ofEntry(entry)));
    } catch (error) {
      if (error instanceof UnavailableError) throw error;
      this.logger.error(`Position ${entry.position} could not be checked: ${faultText(messageOf(error))}`);
      return null;
    }
  }

  /** Failed orders after a position by reason, newest first, that are neither found nor repaired yet. */
  private async failedAfter(position: number, upTo: number): Promise<Groups> {
    const rows = await this.database.query<{ reason: string; positions: number[] }>(
      sql`with failed as (
            select position, reason, row_number() over (partition by reason order by position desc) as place
            from ledger, unnest(reasons) as reason
            where kind = 'order' and outcome = 'failed' and outcome <> 'accepted'
              and position > ${position} and position <= ${upTo}
              and not exists (select from quality_findings found
                where found.position = ledger.position and cause = 'failed')
              and not exists (select from ledger repair
                where repair.kind = 'repair' and repair.ref_position = ledger.position)
          )
          select reason, json_agg(position order by position desc) as positions
          from failed where place <= ${this.config.qualitySample} group by reason order by reason`,
    );
    return new Map(rows.map(({ reason, positions }) => [reason, positions]));
  }

  /** Suspects after the last time that are not found yet. */
  private async newSuspects({ suspectPosition }: Claim, head: number): Promise<Suspect[]> {
    if (head === suspectPosition) return [];
    const suspects = await this.reports.suspectsAfter(suspectPosition, this.config.qualitySample);
    const positions = JSON.stringify(suspects.map(({ position }) => position));
    const found = await this.database.query<{ position: number }>(
      sql`select position from quality_findings where cause = 'suspect'
            and position in (select value::bigint from json_array_elements_text(${positions}::json))`,
    );
    const known = new Set(found.map(({ position }) => position));
    return suspects.filter(({ position }) => !known.has(position));
  }
}

function groupsOf(suspects: Suspect[]): Groups {
  const groups = new Map<string, number[]>();
  for (const { kind, position } of suspects) groups.set(kind, [...(groups.get(kind) ?? []), position]);
  return groups;
}
