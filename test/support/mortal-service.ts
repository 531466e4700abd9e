import { AsyncLocalStorage } from 'node:async_hooks';
import { RebuildRequests } from '../../src/stats/rebuild-requests.js';
import type { RunningService } from './app.js';

/**
 * Lets a service die in the middle of the rebuild that it is asked for next, the way a killed process does: from one of
 * the rebuild's steps on, nothing that any part of the service asks of the ledger or of Redis is done or answered. A
 * step is a single request to one of them, so that there is nothing between two steps to be missed.
 */
export class MortalService {
  /** What was asked for before the service died, or by the whole rebuild if it outlived it. */
  readonly steps: string[] = [];
  /** How the rebuild came out for the service: whether it outlived it. */
  readonly outcome: Promise<'died' | 'survived'>;
  private come: (outcome: 'died' | 'survived') => void = () => undefined;
  private dead = false;
  private readonly unanswered: ((error: Error) => void)[] = [];
  private buried = false;
  private readonly ofTheRebuild = new AsyncLocalStorage<true>();

  /** @param lastStep the step before which it dies, from 1 */
  constructor(
    service: RunningService,
    private readonly lastStep: number,
  ) {
    this.outcome = new Promise((resolve) => (this.come = resolve));
    this.watch(service.database, 'query', (statement) => textOf(statement as Statement));
    this.watch(service.database, 'transaction', () => 'transaction');
    this.watch(service.redis, 'guarded', (work) => `redis ${nameOf(work)}`);
    const requests = service.app.get<RebuildRequests, RunsRequests>(RebuildRequests);
    const run = requests.run.bind(requests);
    jest.spyOn(requests, 'run').mockImplementation(async (request) => {
      await this.ofTheRebuild.run(true, () => run(request));
      this.come('survived');
    });
  }

  /** Does something that is no step of the rebuild, although in the midst of it. */
  beside<T>(work: () => T): T {
    return this.ofTheRebuild.exit(work);
  }

  /** Fails what was left unanswered, so that the remains can be shut down; to the parts nothing is done any more. */
  bury(): void {
    this.buried = true;
    for (const fail of this.unanswered) fail(new Error('died'));
  }

  private watch<Part extends object>(
    part: Part,
    method: keyof Part & string,
    describe: (first: unknown) => string,
  ): void {
    const original = (part[method] as (...args: unknown[]) => Promise<unknown>).bind(part);
    const watched = (...args: unknown[]): Promise<unknown> => {
      if (!this.dead && this.ofTheRebuild.getStore()) {
        if (this.steps.length + 1 === this.lastStep) {
          this.dead = true;
          this.come('died');
        } else {
          this.steps.push(describe(args[0]));
        }
      }
      if (!this.dead) return original(...args);
      if (this.buried) return Promise.reject(new Error('died'));
      return new Promise((_, reject) => this.unanswered.push(reject));
    };
    jest.spyOn(part as Record<string, () => unknown>, method).mockImplementation(watched);
  }
}

/** What of the requests is private. */
interface RunsRequests {
  run(request: unknown): Promise<void>;
}

interface Statement {
  queryChunks: (Statement | { value?: unknown; queryChunks?: undefined })[];
}

/** A statement without its values. */
function textOf({ queryChunks }: Statement): string {
  const parts = queryChunks.map((chunk) => {
    if (chunk.queryChunks) return textOf(chunk);
    return Array.isArray(chunk.value) ? chunk.value.join('') : '?';
  });
  return parts.join('').replace(/\s+/g, ' ').trim();
}

/** The name of a command of Redis, where the code that sends it shows it. */
function nameOf(work: unknown): string {
  return /client\s*\.\s*(\w+)/.exec(String(work))?.[1] ?? 'script';
}
