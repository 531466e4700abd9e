import { Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { withTimeout, pause } from '../../platform/back-off.js';
import { Audit } from '../../platform/audit/audit.js';
import { Database } from '../../platform/database/database.js';
import { Redis } from '../../platform/redis/redis.js';
import type { Actor } from '../../shared/access.js';
import { ClientError, messageOf, UnavailableError } from '../../shared/errors.js';
import { BuildLeaseLost } from '../projection/projection-state.repository.js';
import { Projector } from '../projection/projector.worker.js';
import type { Rebuilt } from './rebuild.service.js';

const LOOK_FOR_LEASE_EVERY_MS = 250;
const SAY_ALIVE_EVERY_MS = 5_000;
/** How long the process that runs a rebuild may be silent before it counts as gone. */
const MAX_SILENCE_SECONDS = 15;
const STOP_TIMEOUT_MS = 2_000;

export type RebuildState = 'requested' | 'running' | 'done' | 'failed';

/** A rebuild that somebody asked for, and how it goes. */
export interface RequestedRebuild {
  id: string;
  state: RebuildState;
  /** Whether it undoes a clearing: the figures then cover the whole ledger. */
  fromBeginning: boolean;
  requestedBy: string;
  /** ms UTC, like the other two times. */
  requestedAt: number;
  startedAt: number | null;
  finishedAt: number | null;
  /** How many ledger entries were read, of how many; null before it began. */
  done: number | null;
  total: number | null;
  /** The last entry that the new figures covered when they came into service. */
  position: number | null;
  /** Why it failed. */
  error: string | null;
}

/** One rebuild at a time. */
export class RebuildRunning extends ClientError {
  readonly code = 'rebuild_running';
  readonly kind = 'conflict';
  /** @param id of the rebuild that is under way */
  constructor(id: string) {
    super(`A rebuild is under way already, see /stats/rebuild/${id}`);
  }
}

/** What is asked of a row; `done` and `total` come from elsewhere while it runs. */
const COLUMNS = sql`id::text as id, rebuilds.state, from_beginning as "fromBeginning", requested_by as "requestedBy",
  requested_at as "requestedAt",
  started_at as "startedAt",
  finished_at as "finishedAt", position, error`;

/** Why a rebuild ends with the process. */
class ServiceStopped extends Error {
  override readonly name = 'ServiceStopped';
}

/** Records the rebuilds that somebody asks for and runs them, one at a time, while the present figures are served. */
@Injectable()
export class RebuildRequests implements OnModuleDestroy {
  private readonly logger = new Logger('Rebuild');
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly database: Database,
    private readonly redis: Redis,
    private readonly projector: Projector,
    private readonly audit: Audit,
  ) {}

  /**
   * Records a rebuild and begins it; it goes on in the background.
   * @param actor who asks for it
   * @param fromBeginning whether a clearing is to be undone
   * @throws RebuildRunning @throws RedisUnavailable @throws DatabaseUnavailable
   */
  async request(actor: Actor, fromBeginning: boolean): Promise<RequestedRebuild> {
    await this.redis.guarded((client) => client.ping());
    await this.closeAbandoned();
    const request = await this.insert(actor, fromBeginning);
    if (!request) throw new RebuildRunning((await this.latest(1))[0]!.id);
    this.running = this.run(request);
    return request;
  }

  /** @returns null where there is none of this id @throws DatabaseUnavailable */
  async one(id: string): Promise<RequestedRebuild | null> {
    await this.closeAbandoned();
    const [found] = await this.select(sql`rebuilds.id = ${id}::uuid`, 1);
    return found ?? null;
  }

  /**
   * Rebuilds, newest first.
   * @param before only such as were asked for before this one @throws DatabaseUnavailable
   */
  async latest(limit: number, before?: string): Promise<RequestedRebuild[]> {
    await this.closeAbandoned();
    const older = sql`(requested_at, id) < (select requested_at, id from rebuilds where id = ${before}::uuid)`;
    return this.select(before === undefined ? sql`true` : older, limit);
  }

  async onModuleDestroy(): Promise<void> {
    this.stopping.abort(new ServiceStopped('the service was stopped'));
    await withTimeout(STOP_TIMEOUT_MS, this.running);
  }

  /** @returns undefined where one is under way */
  private async insert(actor: Actor, fromBeginning: boolean): Promise<RequestedRebuild | undefined> {
    return this.database.transaction(async (tx) => {
      const [request] = await tx.query<RequestedRebuild>(
        sql`insert into rebuilds (requested_by, from_beginning) values (${actor.name}, ${fromBeginning})
            on conflict do nothing returning ${COLUMNS}, done, total`,
      );
      if (!request) return undefined;
      await this.audit.record(tx, actor, {
        action: 'rebuild.requested',
        target: `rebuild:${request.id}`,
        after: { from_beginning: fromBeginning },
      });
      return request;
    });
  }

  /** Runs a rebuild to its end, whatever that is, and records it. */
  private async run(request: RequestedRebuild): Promise<void> {
    const alive = setInterval(() => void this.heartbeat(request), SAY_ALIVE_EVERY_MS);
    try {
      const { checkpoint, entries } = await this.rebuild(request);
      await this.record(() => this.succeeded(request, checkpoint.position, entries));
    } catch (error) {
      const reason = reasonOf(error);
      this.logger.warn(`The rebuild that was asked for failed: ${reason}`);
      await this.record(() => this.settle(sql`rebuilds.id = ${request.id}::uuid`, reason));
    } finally {
      clearInterval(alive);
    }
  }

  /** Waits for its turn where another rebuild is under way, then runs. */
  private async rebuild({ id, fromBeginning }: RequestedRebuild): Promise<Rebuilt> {
    const { signal } = this.stopping;
    while (true) {
      signal.throwIfAborted();
      const rebuilt = await this.projector.rebuildBeside({
        fromBeginning,
        reason: 'on request',
        signal,
        begun: (generation) => this.begun(id, generation),
      });
      if (rebuilt) return rebuilt;
      await pause(LOOK_FOR_LEASE_EVERY_MS, signal);
    }
  }

  private async begun(id: string, generation: number): Promise<void> {
    await this.database.query(
      sql`update rebuilds set state = 'running', generation = ${generation}, started_at = now(), seen_at = now()
          where id = ${id}::uuid and state = 'requested'`,
    );
  }

  private async succeeded({ id }: RequestedRebuild, position: number, entries: number): Promise<void> {
    await this.database.query(
      sql`update rebuilds set state = 'done', finished_at = now(), error = null, position = ${position},
            done = ${entries}, total = ${entries}
          where id = ${id}::uuid`,
    );
  }

  /** Whoever looks closes what a process left open that is gone. */
  private async closeAbandoned(): Promise<void> {
    const silence = sql`make_interval(secs => ${MAX_SILENCE_SECONDS})`;
    await this.settle(sql`rebuilds.seen_at < now() - ${silence}`, 'the process that ran it ended');
  }

  /**
   * Ends rebuilds that did not come to their end. One whose generation is served is done all the same: what failed
   * came after the switch.
   */
  private async settle(which: SQL, reason: string): Promise<void> {
    await this.database.query(
      sql`update rebuilds set finished_at = now(),
            state = case when is_served then 'done' else 'failed' end,
            error = case when is_served then null else ${reason} end,
            position = case when is_served then base + build_done end,
            done = build_done, total = build_total
          from (
            select rebuilds.id, base, coalesce(projection.generation = rebuilds.generation, false) as is_served,
              case when last_generation = rebuilds.generation then build_done end as build_done,
              case when last_generation = rebuilds.generation then build_total end as build_total
            from rebuilds cross join projection
          ) found
          where rebuilds.id = found.id and rebuilds.state in ('requested', 'running') and ${which}`,
    );
  }

  private async heartbeat({ id }: RequestedRebuild): Promise<void> {
    try {
      await this.database.query(sql`update rebuilds set seen_at = now() where id = ${id}::uuid`);
    } catch (error) {
      this.logger.debug(`Nobody can be told that the rebuild goes on: ${messageOf(error)}`);
    }
  }

  /** Records how a rebuild ended; an outage of the ledger, which may be why it did, is waited out. */
  private async record(end: () => Promise<void>): Promise<void> {
    while (true) {
      try {
        return await end();
      } catch (error) {
        if (!(error instanceof UnavailableError)) {
          this.logger.error(`How the rebuild ended can't be recorded: ${messageOf(error)}`);
          return;
        }
        if (this.stopping.signal.aborted) return;
        await pause(LOOK_FOR_LEASE_EVERY_MS, this.stopping.signal);
        await this.database.availability.waitUntilUp(this.stopping.signal);
      }
    }
  }

  private select(condition: SQL, limit: number): Promise<RequestedRebuild[]> {
    return this.database.query<RequestedRebuild>(
      sql`select ${COLUMNS},
            coalesce(done, build_done) as done, coalesce(total, build_total) as total
          from rebuilds left join projection
            on rebuilds.state = 'running' and last_generation = rebuilds.generation
          where ${condition} order by requested_at desc, id desc limit ${limit}`,
    );
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof BuildLeaseLost) return error.why;
  return messageOf(error);
}
