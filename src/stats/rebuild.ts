import { Inject, Injectable, Logger } from '@nestjs/common';
import { Ledger } from '../ledger/ledger.js';
import { CONFIG, type Config } from '../shared/config.js';
import { BusinessCalendar } from '../shared/business-time.js';
import { Aggregation } from './aggregation.js';
import { foldVersionFor, type Checkpoint } from './checkpoint.js';
import { FigureStore } from './figure-store.js';
import { addFigures, noFigures } from './figures.rules.js';
import { foldBatches } from './fold-batches.rules.js';
import { ProjectionAuthority, type BuildLease } from './projection-authority.js';

/** Entries aggregated by one statement: small enough to leave an embedded database usable in between. */
const ENTRIES_PER_PAGE = 20_000;
const ENTRIES_PER_FOLD = 2_000;

/**
 * Builds the next generation of the live figures from the ledger. The generation in service stays so until the new
 * one is complete; a crash at any point leaves the old one serving and keys that the next build sweeps away.
 */
@Injectable()
export class Rebuild {
  private readonly logger = new Logger('Rebuild');
  private readonly foldVersion: string;
  private readonly calendar: BusinessCalendar;

  constructor(
    private readonly authority: ProjectionAuthority,
    private readonly aggregation: Aggregation,
    private readonly store: FigureStore,
    private readonly ledger: Ledger,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    this.foldVersion = foldVersionFor(config.businessTimeZone);
    this.calendar = new BusinessCalendar(config.businessTimeZone);
  }

  /**
   * Builds a generation and puts it into service.
   * @param reason why, for the log
   * @returns false where another process is building already
   * @throws BuildLeaseLost @throws DatabaseUnavailable @throws RedisUnavailable
   */
  async run(reason: string): Promise<boolean> {
    const lease = await this.authority.claimBuild();
    if (!lease) return false;
    const started = performance.now();
    try {
      const checkpoint = await this.build(lease);
      await this.authority.switchTo(lease);
      await this.store.retire(lease.replaces);
      await this.store.sweep(lease.generation, { expiring: lease.replaces });
      this.say(checkpoint.position - lease.base, performance.now() - started, reason);
      return true;
    } catch (error) {
      await this.authority.giveUp(lease).catch((failure: unknown) => {
        this.logger.warn(`The right to rebuild runs out by itself: ${String(failure)}`);
      });
      throw error;
    }
  }

  private say(entries: number, ms: number, reason: string): void {
    const text = `Statistics rebuilt from ${entries} ledger entries in ${(ms / 1000).toFixed(1)} s (${reason})`;
    if (entries > 0) this.logger.log(text);
    else this.logger.debug(text);
  }

  private async build(lease: BuildLease): Promise<Checkpoint> {
    const head = await this.ledger.head();
    await this.store.sweep(lease.generation, { keeping: lease.replaces });
    const figures = noFigures();
    const total = head.position - lease.base;
    for (let from = lease.base; from < head.position; from += ENTRIES_PER_PAGE) {
      const to = Math.min(from + ENTRIES_PER_PAGE, head.position);
      addFigures(figures, await this.aggregation.figures(from, to, lease.base, this.config.businessTimeZone));
      await this.authority.renew(lease, to - lease.base, total);
    }
    const checkpoint: Checkpoint = {
      ledgerId: head.ledgerId,
      generation: lease.generation,
      foldVersion: this.foldVersion,
      base: lease.base,
      position: Math.max(head.position, lease.base),
      entryHash: head.entryHash,
      at: Date.now(),
    };
    await this.store.fill(figures, checkpoint);
    return this.catchUp(lease, checkpoint);
  }

  /**
   * Folds what was appended meanwhile. The generation in service may have gone a little further by the time of the
   * switch; whoever then comes to serve the new one brings it up to date first.
   */
  private async catchUp(lease: BuildLease, checkpoint: Checkpoint): Promise<Checkpoint> {
    for (;;) {
      const entries = await this.ledger.entriesAfter(checkpoint.position, ENTRIES_PER_FOLD);
      for (const batch of foldBatches(entries, { calendar: this.calendar, base: lease.base })) {
        const to = { position: batch.position, entryHash: batch.entryHash, at: Date.now() };
        const outcome = await this.store.add(batch.figures, checkpoint, to);
        if (outcome !== 'applied') throw new Error(`Redis answered "${outcome}" while a generation was being built`);
        checkpoint = { ...checkpoint, ...to };
      }
      await this.authority.renew(lease, checkpoint.position - lease.base, checkpoint.position - lease.base);
      if (entries.length < ENTRIES_PER_FOLD) return checkpoint;
    }
  }
}
