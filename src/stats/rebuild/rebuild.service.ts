import { Inject, Injectable, Logger } from '@nestjs/common';
import { Ledger } from '../../ledger/ledger.repository.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { messageOf } from '../../shared/errors.js';
import { BusinessCalendar } from '../../domain/business-time.js';
import { Aggregation } from './aggregation.repository.js';
import { foldVersionFor, type Checkpoint } from '../projection/checkpoint.js';
import { StatisticsRepository } from '../projection/statistics.repository.js';
import { addStatistics, emptyStatistics } from '../projection/statistics.rules.js';
import { foldBatches } from '../projection/fold-batches.rules.js';
import {
  BuildLeaseLost,
  ProjectionStateRepository,
  type BuildLease,
} from '../projection/projection-state.repository.js';

/** Entries aggregated by one statement at most, which stays far below the time limit of a statement. */
const ENTRIES_PER_PAGE = 20_000;
const ENTRIES_PER_FOLD = 2_000;
/** Filling Redis with a great many figures takes longer than a lease lasts. */
const KEEP_LEASE_EVERY_MS = 5_000;

/** A rebuild while the figures in service are right. */
export interface RebuildBeside {
  /** Whether figures are to cover the whole ledger, which undoes a clearing. */
  fromBeginning: boolean;
  /** Why, for the log. */
  reason: string;
  /** Ends it; its reason is thrown. */
  signal: AbortSignal;
  /** Is told of the generation as soon as this process may build it. */
  begun: (generation: number) => Promise<void>;
}

/** A generation that was put into service. */
export interface Rebuilt {
  /** How many ledger entries it covered when it was. */
  entries: number;
  checkpoint: Checkpoint;
}

/** The new figures would be behind those in service, or are not in Redis any more. */
export class NotReadyToSwitch extends Error {
  override readonly name = 'NotReadyToSwitch';
}

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
    private readonly authority: ProjectionStateRepository,
    private readonly aggregation: Aggregation,
    private readonly store: StatisticsRepository,
    private readonly ledger: Ledger,
    @Inject(CONFIG) config: Config,
  ) {
    this.calendar = new BusinessCalendar(config.businessTimeZone);
    this.foldVersion = foldVersionFor(this.calendar);
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
    await this.holding(lease, reason, async () => {
      const checkpoint = await this.catchUp(lease, await this.build(lease));
      await this.switchTo(lease);
      return checkpoint;
    });
    return true;
  }

  /**
   * Builds a generation while the one in service goes on serving, and puts it into service once it is as far.
   * @param runExclusive runs the last steps, while which this process folds nothing into the generation in service: whoever
   *   gives it takes up the new generation from the checkpoint that these steps return
   * @returns null where another process is building already
   * @throws BuildLeaseLost @throws NotReadyToSwitch @throws DatabaseUnavailable @throws RedisUnavailable; the reason of
   *   the signal where it fires
   */
  async runBeside(
    { fromBeginning, reason, signal, begun }: RebuildBeside,
    runExclusive: (lastSteps: () => Promise<Checkpoint>) => Promise<void>,
  ): Promise<Rebuilt | null> {
    const lease = await this.authority.claimBuild({ fromBeginning });
    if (!lease) return null;
    return this.holding(lease, reason, async () => {
      await begun(lease.generation);
      const built = await unless(signal, async () => this.catchUp(lease, await this.build(lease, signal)));
      let checkpoint = built;
      await runExclusive(async () => {
        signal.throwIfAborted();
        checkpoint = await this.reachServed(lease, built);
        await this.switchTo(lease);
        return checkpoint;
      });
      return checkpoint;
    });
  }

  /** Holds the lease while work is done, tidies up after it, and gives the lease back where it fails. */
  private async holding(lease: BuildLease, reason: string, work: () => Promise<Checkpoint>): Promise<Rebuilt> {
    const started = performance.now();
    const keeping = setInterval(() => void this.keep(lease), KEEP_LEASE_EVERY_MS);
    try {
      const checkpoint = await work();
      await this.store.sweep(lease.generation, { expiring: lease.replaces });
      const entries = checkpoint.position - lease.base;
      this.say(entries, performance.now() - started, reason);
      return { entries, checkpoint };
    } catch (error) {
      await this.authority.giveUp(lease).catch((failure: unknown) => {
        this.logger.warn(`The right to rebuild runs out by itself: ${String(failure)}`);
      });
      throw error;
    } finally {
      clearInterval(keeping);
    }
  }

  private async keep(lease: BuildLease): Promise<void> {
    try {
      await this.authority.keep(lease);
    } catch (error) {
      // Whoever builds meets a lost lease at the next step; after the switch there is none to keep.
      if (!(error instanceof BuildLeaseLost)) this.logger.debug(`The lease can't be kept: ${messageOf(error)}`);
    }
  }

  private async switchTo(lease: BuildLease): Promise<void> {
    await this.authority.switchTo(lease);
    await this.store.retire(lease.replaces);
  }

  private say(entries: number, ms: number, reason: string): void {
    const text = `Statistics rebuilt from ${entries} ledger entries in ${(ms / 1000).toFixed(1)} s (${reason})`;
    if (entries > 0) this.logger.log(text);
    else this.logger.debug(text);
  }

  private async build(lease: BuildLease, signal?: AbortSignal): Promise<Checkpoint> {
    const head = await this.ledger.head();
    const evicted = await this.store.evicted();
    await this.store.sweep(lease.generation, { keeping: lease.replaces });
    const figures = emptyStatistics();
    const total = head.position - lease.base;
    const { base } = lease;
    for await (const page of this.aggregation.pages(base, head.position, base, ENTRIES_PER_PAGE)) {
      signal?.throwIfAborted();
      addStatistics(figures, page.figures);
      await this.authority.renew(lease, page.position - base, total);
    }
    const checkpoint: Checkpoint = {
      ledgerId: head.ledgerId,
      generation: lease.generation,
      foldVersion: this.foldVersion,
      base: lease.base,
      position: Math.max(head.position, lease.base),
      entryHash: head.entryHash,
      at: Date.now(),
      evicted,
    };
    signal?.throwIfAborted();
    await this.store.fill(figures, checkpoint);
    signal?.throwIfAborted();
    return checkpoint;
  }

  /**
   * Folds what was appended meanwhile. The generation in service may have gone a little further by the time of the
   * switch; whoever then comes to serve the new one brings it up to date first.
   */
  private async catchUp(lease: BuildLease, checkpoint: Checkpoint): Promise<Checkpoint> {
    for (;;) {
      const { entries, more } = await this.ledger.entriesAfter(checkpoint.position, ENTRIES_PER_FOLD);
      for (const batch of foldBatches(entries, { calendar: this.calendar, base: lease.base })) {
        const to = { position: batch.position, entryHash: batch.entryHash, at: Date.now() };
        const outcome = await this.store.add(batch.figures, checkpoint, to);
        if (outcome !== 'applied') throw new Error(`Redis answered "${outcome}" while a generation was being built`);
        checkpoint = { ...checkpoint, ...to };
      }
      await this.authority.renew(lease, checkpoint.position - lease.base, checkpoint.position - lease.base);
      if (!more) return checkpoint;
    }
  }

  /** Catches up with the figures in service, and makes sure of it: the switch must not take readers back. */
  private async reachServed(lease: BuildLease, built: Checkpoint): Promise<Checkpoint> {
    const served = await this.store.checkpoint(lease.replaces);
    const checkpoint = await this.catchUp(lease, built);
    if (served && served.position > checkpoint.position) {
      throw new NotReadyToSwitch('The ledger no longer reaches as far as the figures in service');
    }
    const stored = await this.store.checkpoint(lease.generation);
    if (stored?.position !== checkpoint.position) {
      throw new NotReadyToSwitch('Redis lost the new figures while they were being built');
    }
    return checkpoint;
  }
}

/** Waits for work, but no longer than until the signal fires: its reason is thrown then. */
async function unless<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  let stop: () => void = () => undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work(), stopped]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
