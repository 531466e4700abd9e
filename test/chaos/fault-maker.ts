import { setTimeout as pause } from 'node:timers/promises';
import type { TcpProxy } from '../support/tcp-proxy.js';
import type { ChaosWorld } from './chaos-world.js';
import type { Fault, FaultKind } from './faults.js';
import type { Networks } from './slot.js';

const PAUSE_BETWEEN_CUTS_MS = 60;

type Parameters = Required<Fault>;

/** Makes faults in a world. Each is over, and what it broke is whole again, when its promise resolves. */
export class FaultMaker {
  private readonly makers: Record<FaultKind, (fault: Parameters) => Promise<void>> = {
    kill: async ({ process, ms }) => {
      const slot = this.world.slot(process);
      await slot.kill();
      await pause(ms);
      await slot.start();
    },
    'kill-all': async ({ ms }) => {
      await Promise.all(this.world.slots.map((slot) => slot.kill()));
      await pause(ms);
      await Promise.all(this.world.slots.map((slot) => slot.start()));
    },
    terminate: async ({ process }) => {
      const slot = this.world.slot(process);
      await slot.terminate();
      await slot.start();
    },
    replace: ({ process }) => this.world.slot(process).replace(),
    pause: ({ process, ms }) => this.world.slot(process).pause(() => pause(ms)),
    'redis-kill': async ({ ms }) => {
      await this.redis.kill();
      await pause(ms);
      await this.redis.start();
    },
    'redis-flush': async () => void (await this.world.redis.flushall()),
    'redis-older': () => this.redis.restore(),
    'redis-stall': async ({ ms }) => {
      this.redis.stall();
      await pause(ms);
      this.redis.resume();
    },
    'redis-full': ({ ms }) => this.configured('maxmemory', '1', '0', ms),
    'redis-read-only': ({ ms }) => this.configured('min-replicas-to-write', '1', '0', ms),
    'redis-cut': ({ times }) => this.cuts('redis', times),
    'redis-away': ({ process, ms }) => this.away([this.world.slot(process).networks.redis], ms),
    'postgres-kill': async ({ ms }) => {
      await this.world.parts.postgres.kill();
      await pause(ms);
      await this.world.parts.postgres.start();
    },
    'postgres-stall': async ({ ms }) => {
      this.world.parts.postgres.stall();
      await pause(ms);
      this.world.parts.postgres.resume();
    },
    'postgres-cut': ({ times }) => this.cuts('postgres', times),
    'postgres-disconnect': async ({ times }) => {
      for (let time = 0; time < times; time++) {
        await this.world.withLedger((query) => query(END_OTHER_SESSIONS));
        await pause(PAUSE_BETWEEN_CUTS_MS);
      }
    },
    'postgres-away': ({ process, ms }) => this.away([this.world.slot(process).networks.postgres], ms),
    'queue-cut': ({ times }) => this.cuts('queue', times),
    'queue-stall': async ({ ms }) => {
      const networks = this.all('queue');
      for (const network of networks) network.stall();
      await pause(ms);
      for (const network of networks) await network.resume();
    },
    'queue-away': ({ ms }) => this.away(this.all('queue'), ms),
  };

  constructor(private readonly world: ChaosWorld) {}

  /** To be called when a round begins, for what some of its faults go back to. */
  async prepare(faults: Fault[]): Promise<void> {
    if (faults.some(({ kind }) => kind === 'redis-older')) await this.redis.save();
  }

  /** Makes a fault, and mends it after its time. */
  make(fault: Fault): Promise<void> {
    return this.makers[fault.kind](fault as Parameters);
  }

  private get redis() {
    return this.world.parts.redis;
  }

  private all(part: keyof Networks): TcpProxy[] {
    return this.world.slots.map(({ networks }) => networks[part]);
  }

  private async cuts(part: keyof Networks, times: number): Promise<void> {
    for (let time = 0; time < times; time++) {
      for (const network of this.all(part)) network.cut();
      await pause(PAUSE_BETWEEN_CUTS_MS);
    }
  }

  private async away(networks: TcpProxy[], ms: number): Promise<void> {
    for (const network of networks) network.hangUp();
    await pause(ms);
    for (const network of networks) await network.resume();
  }

  private async configured(setting: string, value: string, usual: string, ms: number): Promise<void> {
    await this.world.redis.config('SET', setting, value);
    await pause(ms);
    await this.world.redis.config('SET', setting, usual);
  }
}

const END_OTHER_SESSIONS = `
  select pg_terminate_backend(pid) from pg_stat_activity
  where backend_type = 'client backend' and pid <> pg_backend_pid()`;
