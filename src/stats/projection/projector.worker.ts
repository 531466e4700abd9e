import { Inject, Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { type EntriesPage, Ledger } from '../../ledger/ledger.repository.js';
import type { LedgerHead } from '../../ledger/ledger-entry.js';
import { Database } from '../../platform/database/database.js';
import { isStatementTimeout } from '../../platform/database/sql-state.js';
import { Redis } from '../../platform/redis/redis.js';
import type { Actor } from '../../shared/access.js';
import { BusinessCalendar } from '../../domain/business-time.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { withTimeout, pause } from '../../platform/back-off.js';
import { foldVersionFor, type Checkpoint, type CheckpointMark } from './checkpoint.js';
import { StatisticsRepository } from './statistics.repository.js';
import { foldBatches } from './fold-batches.rules.js';
import { ProjectionStateRepository, type Authority } from './projection-state.repository.js';
import { Rebuild, type RebuildBeside, type Rebuilt } from '../rebuild/rebuild.service.js';

const ENTRIES_PER_FOLD = 2_000;
/** Further behind than this, aggregating everything by SQL is quicker than folding. */
const REBUILD_WHEN_BEHIND = 50_000;
const MAX_IDLE_MS = 1_000;
/** Entries that arrive together are folded together: figures that most of them change are then written once. */
const PAUSE_BETWEEN_FOLDS_MS = 40;
const PAUSE_AFTER_FAILURE_MS = 250;
const PAUSE_AFTER_DISTRUST_MS = 25;
const PROGRESS_INTERVAL_MS = 200;
const STOP_TIMEOUT_MS = 1_500;
const EVICTED = 'Redis had evicted some of them';

/** How far the live figures are, and how far the ledger is. */
export interface ProjectionProgress {
  /** The last entry that they cover, and when they came this far (ms UTC). */
  position: number;
  at: number;
  /** How many entries are missing; null while the ledger can't be asked. */
  behind: number | null;
  /** For how long entries are missing without that any was added, ms; 0 where none is missing. */
  stalledMs: number;
  /** Why the latest try to add some failed; empty where it did not. */
  failure: string;
}

/** There are no complete figures to serve right now; they are being made. */
export class StatsRebuilding extends UnavailableError {
  readonly code = 'stats_rebuilding';
  override readonly details: Record<string, unknown>;
  constructor(progress: { done: number; total: number } | null) {
    super(
      progress
        ? `The statistics are being rebuilt from the ledger: ${progress.done} of ${progress.total} entries.`
        : 'The statistics are being compared with the ledger.',
    );
    this.details = { progress };
  }
}

/** What folding the next entries came to: where it ended, or what no longer fits. */
type FoldOutcome = 'at_the_end' | 'more_to_come' | 'other_history' | 'other_figures' | 'damaged';

type Assessment = { building: Authority['building']; behind: number } & (
  { checkpoint: Checkpoint; mismatch: null } | { checkpoint: null; mismatch: string }
);

/**
 * Keeps the live figures in Redis up with the ledger. Any number of processes may do so at once: a fold only applies
 * where the checkpoint is where that fold began, so the quickest wins and the others go on from there.
 *
 * Before figures are served, and whenever something does not fit (another ledger or generation, an older snapshot, a
 * hash that the ledger does not have), the checkpoint is compared with the ledger, and a mismatch is mended by a
 * rebuild. Until then there is nothing to serve: {@link Projector.served} throws.
 */
@Injectable()
export class Projector implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('Projector');
  private readonly calendar: BusinessCalendar;
  private readonly foldVersion: string;
  private readonly stopping = new AbortController();
  private loop: Promise<void> = Promise.resolve();
  private wake: () => void = () => undefined;
  private notified = true;
  /** Whether it is to be asked which generation is served: another process may have put another one into service. */
  private authorityDue = false;
  /** The figures that fit the ledger, as far as this process brought or found them; null while that is not known. */
  private current: Checkpoint | null = null;
  /** Whether they may be served: not before they have caught up, or they would pass for live ones. */
  private serving = false;
  /** The furthest that figures were ever seen to be; what is behind it later is an older snapshot. */
  private seen: Checkpoint | null = null;
  /** The generation in which a key was found to hold what no fold wrote. */
  private damaged: number | null = null;
  /** Whether Redis was found to evict keys, and the generation in service is therefore to be withdrawn. */
  private evicting = false;
  /** The generation that was found to have lost something so. Redis itself forgets that when it is started again. */
  private evictedFrom: number | null = null;
  /** The number that stands for a generation that was withdrawn: there is none of that number. */
  private withdrawn: number | null = null;
  /** How often something came between that makes whatever was looked at before doubtful. */
  private invalidations = 0;
  private progress: Authority['building'] = null;
  /** One fold, examination or clearing of this process at a time. */
  private turn: Promise<unknown> = Promise.resolve();
  private lastLoggedFailure = '';
  /** How often in a row it failed. */
  private failures = 0;
  /** When the figures were last at the ledger's end, or entries were added to them, ms of performance.now(). */
  private progressAt = performance.now();
  /** The hash of the entry that the ledger was last said to have lost. */
  private lastLoggedLoss = '';

  constructor(
    private readonly ledger: Ledger,
    private readonly database: Database,
    private readonly redis: Redis,
    private readonly store: StatisticsRepository,
    private readonly authority: ProjectionStateRepository,
    private readonly rebuild: Rebuild,
    @Inject(CONFIG) config: Config,
  ) {
    this.calendar = new BusinessCalendar(config.businessTimeZone);
    this.foldVersion = foldVersionFor(this.calendar);
  }

  onApplicationBootstrap(): void {
    this.ledger.onAppended(() => this.notify());
    // What either of them holds after an absence may be something else.
    this.redis.availability.onUp(() => this.invalidate());
    this.database.availability.onUp(() => this.invalidate());
    this.redis.onEvicting(() => {
      this.evicting = true;
      this.invalidate();
    });
    this.loop = this.run();
  }

  async onModuleDestroy(): Promise<void> {
    this.stopping.abort();
    this.notify();
    await withTimeout(STOP_TIMEOUT_MS, this.loop);
  }

  /** The checkpoint of the figures in service. @throws StatsRebuilding where there are none to be trusted */
  served(): Checkpoint {
    if (!this.current || !this.serving) throw new StatsRebuilding(this.progress);
    return this.current;
  }

  /**
   * Whether figures may be served that a reader found beside this checkpoint: those of the generation in service, and
   * no older than those that were there when it began to read.
   */
  accepts(found: CheckpointMark | null, atLeast: number): boolean {
    return this.current !== null && isContinued(this.current, found, atLeast);
  }

  /**
   * To be called where {@link accepts} said no: finds out whether another generation has come into service, else has
   * the figures examined and mended. @returns whether there are figures to serve again
   */
  async refresh(): Promise<boolean> {
    const before = this.current?.generation;
    return this.runExclusive(async () => {
      // Another one came while this reader waited its turn.
      if (this.serving && this.current?.generation !== before) return true;
      return this.reloadActive();
    });
  }

  /**
   * Makes the figures anew while the present ones are served and kept up to date, and goes on to serve the new ones.
   * @returns null where another process is building already
   * @throws BuildLeaseLost @throws NotReadyToSwitch @throws DatabaseUnavailable @throws RedisUnavailable; the reason of
   *   the order's signal where it fires
   */
  async rebuildBeside(order: RebuildBeside): Promise<Rebuilt | null> {
    return this.rebuild.runBeside(order, (lastSteps) =>
      this.runExclusive(async () => {
        const { invalidations } = this;
        await this.adopt(await lastSteps(), invalidations);
      }),
    );
  }

  /** To be called where a reader met something in a generation that no fold wrote there: has it replaced. */
  mend(generation: number): void {
    void this.runExclusive(async () => {
      if (this.current?.generation === generation) this.replaceDamaged(generation);
    });
  }

  /**
   * Begins empty figures from the ledger's present end, and empties the consumer logs.
   * @param actor who asked for it
   * @throws DatabaseUnavailable @throws RedisUnavailable
   */
  async clear(actor: Actor): Promise<void> {
    await this.runExclusive(async () => {
      await this.redis.guarded((client) => client.ping());
      const { generation, base, ledgerId, entryHash, cleared } = await this.authority.clear(actor);
      this.invalidate();
      const { invalidations } = this;
      await this.store.retire(cleared);
      await this.redis.guarded((client) => client.del(this.redis.keys.consumerLogs));
      const position = base;
      const { foldVersion } = this;
      const evicted = await this.store.evicted();
      const checkpoint = { ledgerId, generation, foldVersion, base, position, entryHash, at: Date.now(), evicted };
      await this.store.begin(checkpoint);
      await this.store.sweep(generation);
      // Another process may have found these figures missing before they began, and have built others.
      if ((await this.authority.read()).generation !== generation) return;
      this.serving = this.publish(checkpoint, invalidations);
    });
  }

  /** How far the figures in service are. @throws StatsRebuilding @throws DatabaseUnavailable */
  async reached(): Promise<ProjectionProgress> {
    const head = this.database.availability.up ? await this.ledger.head() : null;
    const { position, at } = this.served();
    const behind = head && Math.max(0, head.position - position);
    const stalledMs = behind ? performance.now() - this.progressAt : 0;
    return { position, at, behind, stalledMs, failure: this.lastLoggedFailure };
  }

  /**
   * Notices what no append of this process tells of: other processes' entries, another generation in service, a ledger
   * or Redis that was replaced.
   */
  @Interval(MAX_IDLE_MS)
  onInterval(): void {
    this.authorityDue = true;
    this.notify();
  }

  private notify(): void {
    this.notified = true;
    this.wake();
  }

  private invalidate(): void {
    this.invalidations++;
    this.current = null;
    this.serving = false;
    this.notify();
  }

  /** @param invalidations how many there had been when it was looked at @returns whether there has been none since */
  private publish(checkpoint: Checkpoint, invalidations: number): boolean {
    if (invalidations !== this.invalidations) return false;
    this.current = checkpoint;
    this.seen = checkpoint;
    return true;
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      if (!this.notified) await new Promise<void>((resolve) => (this.wake = resolve));
      this.notified = false;
      if (this.stopping.signal.aborted) return;
      try {
        await this.runExclusive(() => (this.current ? this.tick(this.current) : this.examine()));
        this.lastLoggedFailure = '';
        this.failures = 0;
        // Whatever keeps the figures from being trusted must not make this loop run hot.
        await pause(this.current ? PAUSE_BETWEEN_FOLDS_MS : PAUSE_AFTER_DISTRUST_MS, this.stopping.signal);
      } catch (error) {
        this.failures++;
        if (this.isReportedHereOnly(error)) this.say(messageOf(error));
        await pause(PAUSE_AFTER_FAILURE_MS, this.stopping.signal);
        this.notified = true;
      }
    }
  }

  /**
   * A part that is down logs that itself. One that is up and lets us wait too long, again and again, does not: Redis for
   * example, where it is slow.
   */
  private isReportedHereOnly(error: unknown): boolean {
    if (!(error instanceof UnavailableError) || isStatementTimeout(error)) return true;
    return this.failures > 1 && this.database.availability.up && this.redis.availability.up;
  }

  private async tick(current: Checkpoint): Promise<void> {
    const { invalidations } = this;
    if (this.authorityDue) {
      const { generation } = await this.authority.read();
      // While entries keep coming and nobody reads, nobody else looks whether Redis has evicted some of the figures.
      const found = await this.store.checkpoint(current.generation);
      this.authorityDue = false;
      if (generation !== current.generation || !found) return void (await this.reloadActive());
    }
    await this.advance(current, invalidations);
  }

  /**
   * Folds the next entries into the figures, or finds that the figures no longer fit the ledger.
   * @param invalidations see {@link publish}
   */
  private async advance(from: Checkpoint, invalidations: number): Promise<void> {
    switch (await this.fold(from, (checkpoint) => this.publish(checkpoint, invalidations))) {
      case 'at_the_end':
        this.serving = invalidations === this.invalidations;
        return;
      case 'more_to_come':
        return this.notify();
      case 'other_figures':
        // Perhaps only because another generation has come into service.
        return void (await this.reloadActive());
      case 'other_history':
        return this.invalidate();
      case 'damaged':
        return this.replaceDamaged(from.generation);
    }
  }

  /**
   * Takes up the figures that are in service by the authority's word, without a gap for readers where that is possible.
   * @returns whether there are any to be served
   */
  private async reloadActive(): Promise<boolean> {
    const { invalidations } = this;
    const { checkpoint, behind } = await this.assess();
    if (checkpoint && behind <= ENTRIES_PER_FOLD) return this.adopt(checkpoint, invalidations);
    this.invalidate();
    return false;
  }

  /**
   * Brings other figures up to date and only then serves them instead of the present ones, which may have gone further.
   * Those are taken out of service first, or another process would take them further still. Readers wait meanwhile.
   * @param invalidations see {@link publish}
   */
  private async adopt(other: Checkpoint, invalidations: number): Promise<boolean> {
    const present = this.current;
    if (present && present.generation !== other.generation) await this.store.retire(present.generation);
    let reached = other;
    let outcome: FoldOutcome;
    do {
      outcome = await this.fold(reached, (checkpoint) => (reached = checkpoint));
    } while (outcome === 'more_to_come');
    if (outcome !== 'at_the_end') {
      if (outcome === 'damaged') this.replaceDamaged(other.generation);
      else this.invalidate();
      return false;
    }
    this.serving = this.publish(reached, invalidations);
    return this.serving;
  }

  /**
   * Folds the next entries into figures.
   * @param reached is told how far the figures are, each time they have gone further
   */
  private async fold(from: Checkpoint, reached: (checkpoint: Checkpoint) => void): Promise<FoldOutcome> {
    const page = await this.entriesFrom(from);
    if (!page) return 'other_history';
    const { entries, more } = page;
    // Nothing new; but Redis may have been replaced by an empty or an older one.
    if (entries.length === 0 && !isContinued(from, await this.store.checkpoint(from.generation), from.position)) {
      return 'other_figures';
    }

    let checkpoint = from;
    for (const batch of foldBatches(entries, { calendar: this.calendar, base: from.base })) {
      const to = { position: batch.position, entryHash: batch.entryHash, at: Date.now() };
      const outcome = await this.store.add(batch.figures, checkpoint, to);
      if (outcome === 'damaged') return 'damaged';
      if (outcome === 'moved') {
        // It is not where this process left it: another one was quicker, or Redis is not what it was.
        const found = await this.store.checkpoint(checkpoint.generation);
        if (!isContinued(checkpoint, found, checkpoint.position + 1)) return 'other_figures';
        this.progressAt = performance.now();
        reached(found);
        return 'more_to_come';
      }
      this.progressAt = performance.now();
      checkpoint = { ...checkpoint, ...to };
      reached(checkpoint);
    }
    if (more) return 'more_to_come';
    this.progressAt = performance.now();
    return 'at_the_end';
  }

  /**
   * The entries after a checkpoint; null where the ledger no longer has the history that led up to it. For that the
   * entry at the checkpoint is read again.
   */
  private async entriesFrom(checkpoint: Checkpoint): Promise<EntriesPage | null> {
    if (checkpoint.position === 0) return this.ledger.entriesAfter(0, ENTRIES_PER_FOLD);
    const page = await this.ledger.entriesAfter(checkpoint.position - 1, ENTRIES_PER_FOLD + 1);
    return page.entries.shift()?.entryHash === checkpoint.entryHash ? page : null;
  }

  /** Compares Redis's figures with the ledger, and rebuilds them where they do not fit. */
  private async examine(): Promise<void> {
    if (this.evicting) await this.withdrawServed();
    const { invalidations } = this;
    await this.ledger.verifyTail();
    const { checkpoint, mismatch, building } = await this.assess();
    if (checkpoint) {
      if (this.publish(checkpoint, invalidations)) await this.advance(checkpoint, invalidations);
      return;
    }
    if (mismatch === EVICTED) {
      await this.withdraw();
      // One that goes on evicting would lose them again: it is not used until it is well.
      await this.redis.availability.confirm();
    }
    await this.logLoss();
    this.progress = building;
    const watch = setInterval(() => void this.watchProgress(), PROGRESS_INTERVAL_MS);
    try {
      const built = await this.rebuild.run(mismatch);
      if (!built) await pause(PAUSE_AFTER_FAILURE_MS, this.stopping.signal); // another process is at it
    } finally {
      clearInterval(watch);
      this.notify();
    }
  }

  private async assess(): Promise<Assessment> {
    const authority = await this.authority.read();
    const head = await this.ledger.head();
    const { building } = authority;
    const checkpoint = await this.store.checkpoint(authority.generation);
    const mismatch = await this.mismatch(checkpoint, authority, head);
    if (mismatch === EVICTED) this.evictedFrom = authority.generation;
    if (mismatch !== null) return { checkpoint: null, mismatch, building, behind: Infinity };
    return { checkpoint: checkpoint!, mismatch, building, behind: head.position - checkpoint!.position };
  }

  private async mismatch(found: Checkpoint | null, authority: Authority, head: LedgerHead): Promise<string | null> {
    if (authority.state === 'empty') return 'there were none yet';
    if (authority.generation === this.evictedFrom) return EVICTED;
    if (!found) {
      return (await this.store.mayHaveLost(authority.generation)) ? EVICTED : 'Redis had none of this generation';
    }
    if (found.ledgerId !== head.ledgerId) return 'Redis had those of another ledger';
    if (found.generation !== authority.generation || found.base !== authority.base)
      return 'Redis had those of another generation';
    if (found.foldVersion !== this.foldVersion) return `Redis had those of version ${found.foldVersion}`;
    if (found.generation === this.damaged) return 'a key in Redis held something else';
    if (found.position > head.position) return 'Redis was ahead of the ledger';
    if ((await this.ledger.hashAt(found.position)) !== found.entryHash) return 'Redis had those of another history';
    const { seen } = this;
    if (seen?.ledgerId === found.ledgerId && seen.generation === found.generation && seen.position > found.position) {
      return 'Redis had older ones than before';
    }
    if (head.position - found.position > REBUILD_WHEN_BEHIND) return 'Redis was far behind the ledger';
    return null;
  }

  /**
   * Says where the ledger no longer has what figures were made from. For that the figures that this process saw last are
   * looked at, or those of the latest generation in Redis.
   */
  private async logLoss(): Promise<void> {
    const figures = this.seen ?? (await this.store.latest());
    const { ledgerId } = await this.ledger.head();
    // Another version may have hashed the same entries in another way.
    const isKnown = figures?.ledgerId === ledgerId && figures.foldVersion === this.foldVersion;
    if (!isKnown || figures.entryHash === this.lastLoggedLoss) return;
    if ((await this.ledger.hashAt(figures.position)) === figures.entryHash) return;
    this.lastLoggedLoss = figures.entryHash;
    await this.ledger.wasPutBack(figures.position);
  }

  private replaceDamaged(generation: number): void {
    this.damaged = generation;
    this.invalidate();
  }

  /** Withdraws what is in service, whatever it is: a Redis that evicts takes from all. */
  private async withdrawServed(): Promise<void> {
    this.evictedFrom = (await this.authority.read()).generation;
    await this.withdraw();
    this.evicting = false;
  }

  /**
   * What Redis has evicted is gone, but its count of that begins anew with every start: so the ledger's database is told,
   * and whoever comes next, however soon, does not take what is left for whole.
   */
  private async withdraw(): Promise<void> {
    if (this.evictedFrom === this.withdrawn) return;
    this.withdrawn = (await this.authority.withdraw(this.evictedFrom!)) ?? this.withdrawn;
  }

  private async watchProgress(): Promise<void> {
    try {
      this.progress = (await this.authority.read()).building ?? this.progress;
    } catch (error) {
      this.logger.debug(`The progress of the rebuild can't be read: ${messageOf(error)}`);
    }
  }

  private say(failure: string): void {
    if (failure !== this.lastLoggedFailure) this.logger.error(`The statistics can't be brought up to date: ${failure}`);
    this.lastLoggedFailure = failure;
  }

  private runExclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.turn.then(work);
    this.turn = result.catch(() => undefined);
    return result;
  }
}

/** Whether what was found are these figures, and have gone at least so far. */
function isContinued<Found extends CheckpointMark>(
  figures: CheckpointMark,
  found: Found | null,
  atLeast: number,
): found is Found {
  if (!found || found.position < atLeast) return false;
  return (
    found.ledgerId === figures.ledgerId &&
    found.generation === figures.generation &&
    found.foldVersion === figures.foldVersion
  );
}
