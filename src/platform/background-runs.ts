import { Logger } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { messageOf, UnavailableError } from '../shared/errors.js';
import { withTimeout } from './back-off.js';

const RUNS_KEPT = 20;
const STOP_TIMEOUT_MS = 1_500;

/** How far a run is, in parts of the same size. */
export interface RunProgress {
  done: number;
  /** As far as is known by now. */
  total: number;
}

/** One run of work that takes long, from the asking for it to its result. Times are ms UTC. */
export interface BackgroundRun<Result> {
  readonly id: string;
  /** `waiting`: another one runs, this one begins after it. */
  state: 'waiting' | 'running' | 'done' | 'failed';
  readonly progress: RunProgress;
  startedAt: number | null;
  finishedAt: number | null;
  /** Null unless done. */
  result: Result | null;
  /** Why it failed; null unless it did. */
  failure: unknown;
  /** Resolves when it is done or has failed. */
  ended: Promise<void>;
}

/** The service shuts down; a run was given up. */
export class RunStopped extends UnavailableError {
  readonly code: string;
  /** @param what was run, in one word */
  constructor(what: 'verification' | 'report') {
    super(`The service is shutting down; the ${what} was given up.`);
    this.code = `${what}_stopped`;
  }
}

/** Runs work of one kind, one after the other, and remembers the latest runs. */
export class BackgroundRuns<Result> {
  private readonly logger: Logger;
  private readonly stopping = new AbortController();
  /** The latest last. */
  private readonly runs = new Map<string, BackgroundRun<Result>>();
  private latest: BackgroundRun<Result> | null = null;

  /** @param what is run, in one word, for the log */
  constructor(private readonly what: string) {
    this.logger = new Logger(`${what[0]!.toUpperCase()}${what.slice(1)}`);
  }

  get isStopping(): boolean {
    return this.stopping.signal.aborted;
  }

  /** Tells a run that goes on to give up, and waits a moment for that. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await withTimeout(STOP_TIMEOUT_MS, this.latest?.ended ?? Promise.resolve());
  }

  /**
   * Begins a run when all before it have ended.
   * @param work keeps the progress up to date, and throws soon after the signal was given
   */
  begin(work: (progress: RunProgress, stopping: AbortSignal) => Promise<Result>): BackgroundRun<Result> {
    const run: BackgroundRun<Result> = {
      id: randomUUID(),
      state: 'waiting',
      progress: { done: 0, total: 0 },
      startedAt: null,
      finishedAt: null,
      result: null,
      failure: null,
      ended: Promise.resolve(),
    };
    run.ended = (this.latest?.ended ?? Promise.resolve()).then(() => this.carryOut(run, work));
    this.latest = run;
    this.keep(run);
    return run;
  }

  /** A run of this process; null where it is not known, or no longer. */
  find(id: string): BackgroundRun<Result> | null {
    return this.runs.get(id) ?? null;
  }

  /** Forgets what came of runs that have ended. */
  forgetEnded(): void {
    for (const { id, state } of this.runs.values()) if (state === 'done' || state === 'failed') this.runs.delete(id);
  }

  private async carryOut(
    run: BackgroundRun<Result>,
    work: (progress: RunProgress, stopping: AbortSignal) => Promise<Result>,
  ): Promise<void> {
    run.state = 'running';
    run.startedAt = Date.now();
    try {
      run.result = await work(run.progress, this.stopping.signal);
      run.state = 'done';
    } catch (error) {
      if (!(error instanceof UnavailableError)) this.logger.error(`A ${this.what} failed: ${messageOf(error)}`);
      run.failure = error;
      run.state = 'failed';
    }
    run.finishedAt = Date.now();
  }

  private keep(run: BackgroundRun<Result>): void {
    this.runs.set(run.id, run);
    for (const id of this.runs.keys()) {
      if (this.runs.size <= RUNS_KEPT) return;
      this.runs.delete(id);
    }
  }
}
