import { Logger } from '@nestjs/common';
import { UnavailableError } from '../../../src/shared/errors.js';
import type { Actor } from '../../../src/shared/access.js';
import { RedisKeys } from '../../../src/platform/redis/redis-keys.js';
import { SeededRandom } from '../seeded-random.js';
import { faultPlan, Outages, type Disturbance, type FaultPlan } from './fault-plan.js';
import { ModelAuthority } from './model-authority.js';
import type { ModelStore } from './model-database.js';
import { ModelLedger } from './model-ledger.js';
import { ModelQueue } from './model-queue.js';
import { ModelRedis } from './model-redis.js';
import { Network, NO_FAULTS, Part } from './network.js';
import { readFigures } from './simulated-reader.js';
import { KEY_PREFIX, SimulatedProcess, type Parts } from './simulated-process.js';
import { Trace } from './trace.js';
import { REFUSED, traffic, type PlannedMessage } from './traffic.js';
import { VirtualTime } from './virtual-time.js';
import { Witness } from './witness.js';

/** How long faults may go on, of the virtual clock. */
const FAULTS_MS = { least: 3_000, most: 12_000 };
/** After the last fault; a message that the database refuses is received again and again for about a minute. */
const REST_WITHIN_MS = 240_000;
const LOOK_EVERY_MS = 500;
/** Whatever was done to Redis last, every process has come across it by then. */
const NOTICED_WITHIN_MS = 3_000;
const READ_WITHIN_MS = 1_000;
const READ_SOON_MS = 150;

/** Changes a model so that it has a bug. */
export interface Plant {
  ledger?: (ledger: ModelLedger) => void;
  redis?: (redis: ModelRedis) => void;
}

/** Runs the simulation of a seed to its end, or to its first violation. */
export async function simulate(seed: number, plant: Plant = {}): Promise<Trace> {
  const time = new VirtualTime();
  const restore = time.install();
  Logger.overrideLogger(false);
  try {
    return await new Simulation(time, new SeededRandom(seed), plant).run();
  } finally {
    restore();
    Logger.overrideLogger(['fatal']);
  }
}

class Simulation {
  private readonly trace: Trace;
  private readonly parts: Parts;
  private readonly witness: Witness;
  private readonly plan: FaultPlan;
  private readonly messages: PlannedMessage[];
  private readonly outages: Outages;
  private readonly processes: SimulatedProcess[] = [];
  private readonly faultsUntil: number;
  private started = 0;
  private emptiesNextFill = false;

  constructor(
    private readonly time: VirtualTime,
    private readonly random: SeededRandom,
    plant: Plant,
  ) {
    this.trace = new Trace(time);
    const forMs = random.between(FAULTS_MS.least, FAULTS_MS.most);
    this.faultsUntil = time.now + forMs;
    this.messages = traffic(random, forMs - 1_000);
    this.plan = faultPlan(random, forMs - 1_000);
    this.parts = this.makeParts(plant);
    const { store, redis, queue } = this.parts;
    this.witness = new Witness(store, redis, queue, this.trace, this.messages);
    const needsSnapshots = this.plan.disturbances.some(({ what }) => what === 'Redis is away');
    this.outages = new Outages(this.parts, this.faultsUntil, needsSnapshots);
  }

  async run(): Promise<Trace> {
    const { time, trace, parts } = this;
    for (const { after, id, body } of this.messages) {
      time.at(time.now + after, null, () => parts.queue.send(id, body));
    }
    for (const { after, what } of this.plan.disturbances) {
      time.at(time.now + after, null, () => this.disturb(what));
    }
    time.at(this.faultsUntil, null, () => this.calmDown());
    let isAtRest = false;
    const look = (): void => {
      isAtRest = this.unrest().length === 0;
      // Only who reads or adds to it can notice it.
      if (this.isDamaged) this.readSoon(this.processes);
    };
    time.at(this.faultsUntil + NOTICED_WITHIN_MS, null, look, LOOK_EVERY_MS);
    parts.network.rates = this.plan.rates;
    parts.queue.faults = this.plan.queue;
    for (let left = this.random.between(1, 3); left > 0; left--) this.start();

    const until = this.faultsUntil + REST_WITHIN_MS;
    let isRead = false;
    while (!isRead && time.now < until && trace.violations.length === 0) {
      await time.run(until, () => isAtRest || trace.violations.length > 0);
      if (!isAtRest) break;
      // A reader may be the first to come across what has been done to Redis.
      isAtRest = false;
      isRead = await this.isReadByAll();
    }
    if (trace.violations.length > 0) return trace;
    if (isRead) this.witness.atTheEnd();
    else trace.violated(`it does not come to rest: ${this.unrest().join('; ')}`);
    return trace;
  }

  /** Whether every process has figures for a reader. */
  private async isReadByAll(): Promise<boolean> {
    let unread = this.processes.length;
    for (const process of this.processes) this.read(process, (found) => (unread -= Number(found)));
    await this.time.run(this.time.now + READ_WITHIN_MS, () => unread === 0 || this.trace.violations.length > 0);
    return unread === 0;
  }

  private makeParts({ ledger: plantInLedger, redis: plantInRedis }: Plant): Parts {
    const { time, trace, random } = this;
    const witness = (): Witness => this.witness;
    const ledger = new ModelLedger('ledger', ({ orderId }) => orderId?.startsWith(REFUSED) ?? false);
    plantInLedger?.(ledger);
    const append = ledger.append.bind(ledger);
    ledger.append = (messages) => {
      const results = append(messages);
      witness().appended(messages, results);
      return results;
    };
    const redis = new ModelRedis();
    plantInRedis?.(redis);
    const run = redis.run.bind(redis);
    redis.run = (command) => {
      const reply = run(command);
      const [name, key] = command;
      if (name === 'hset' && String(key).endsWith(':checkpoint')) witness().checkpointed(String(key));
      return reply;
    };
    const runEach = redis.runEach.bind(redis);
    redis.runEach = (commands) => {
      const replies = runEach(commands);
      if (this.emptiesNextFill && commands.some(([name]) => name === 'zadd')) {
        trace.add('redis', 'is emptied while it is filled');
        this.emptiesNextFill = false;
        redis.restore(new Map());
      }
      return replies;
    };
    const script = redis.script.bind(redis);
    redis.script = (name, keys, args) => {
      const reply = script(name, keys, args);
      if (name === 'project') trace.reach(`project: ${reply}`);
      return reply;
    };
    const authority = new ModelAuthority();
    const switchTo = authority.switchTo.bind(authority);
    authority.switchTo = (holder) => {
      const isSwitched = switchTo(holder);
      if (isSwitched) witness().switched();
      if (isSwitched) this.readSoon(this.processes);
      return isSwitched;
    };
    const store: ModelStore = { ledger, authority };
    return {
      network: new Network(time, random, trace),
      store,
      redis,
      queue: new ModelQueue(time, random, trace, (message) => witness().acknowledged(message)),
      database: new Part('database', 12_000),
      redisServer: new Part('redis', 2_000),
      queueServer: new Part('queue', 5_000),
    };
  }

  private start(): void {
    const { time, trace, random } = this;
    const name = `p${++this.started}`;
    trace.add(name, 'starts');
    const process: SimulatedProcess = new SimulatedProcess(name, this.parts, () => {
      this.processes.splice(this.processes.indexOf(process), 1);
      this.witness.died();
      time.at(time.now + random.between(100, 3_000), null, () => this.start());
    });
    this.processes.push(process);
    process.begin();
    process.onRedisUp(() => this.readSoon([process]));
    this.readNowAndThen(process);
  }

  /** What goes wrong when figures change their place, or come back, may be seen for a moment only. */
  private readSoon(processes: SimulatedProcess[]): void {
    for (const process of processes) this.parts.network.later(READ_SOON_MS, () => this.read(process));
  }

  private readNowAndThen(process: SimulatedProcess): void {
    const { time, random } = this;
    time.at(time.now + random.between(100, 2_000), process, () => {
      if (time.now < this.faultsUntil) this.readNowAndThen(process);
      this.read(process);
    });
  }

  private read(process: SimulatedProcess, ended: (found: boolean) => void = () => undefined): void {
    process.does(() => readFigures(process, this.parts.network, this.witness, ended));
  }

  private disturb(what: Disturbance): void {
    const { trace, parts, random, time } = this;
    trace.add('-', what);
    trace.reach(what);
    const process = this.processes.length > 0 ? random.oneOf(this.processes) : null;
    switch (what) {
      case 'the database is away':
        return this.outages.of(parts.database);
      case 'Redis is away':
        return this.outages.of(parts.redisServer);
      case 'the queue is away':
        return this.outages.of(parts.queueServer);
      case 'Redis is emptied':
        return parts.redis.restore(new Map());
      case 'Redis is emptied while it is filled':
        this.emptiesNextFill = true;
        return;
      case 'a key is damaged':
        return this.damage();
      case 'a process stalls':
        if (process) process.stalledUntil = Math.min(this.faultsUntil, time.now + random.between(500, 20_000));
        return;
      case 'a process is killed':
        return process?.die();
      case 'a process is stopped':
        return process?.does(() => process.stop());
      case 'figures are cleared':
        return process?.does(() => this.clear(process));
      case 'a rebuild is asked for':
        return process?.does(() => this.rebuild(process));
    }
  }

  private damage(): void {
    const { redis, store } = this.parts;
    const { generation } = store.authority.read();
    const key = new RedisKeys(KEY_PREFIX).generation(generation).global;
    if (!redis.held(key)) return;
    redis.run(['del', key]);
    redis.run(this.random.happens(0.5) ? ['hset', key, 'revenue', 'junk'] : ['zadd', key, 1, 'junk']);
  }

  private async clear(process: SimulatedProcess): Promise<void> {
    try {
      await process.projector.clear({ name: 'admin' } as Actor);
      this.witness.told(process.projector.served().generation);
      this.trace.reach('figures were cleared');
    } catch (error) {
      this.failed(process, 'clear', error);
    }
  }

  private async rebuild(process: SimulatedProcess): Promise<void> {
    try {
      const rebuilt = await process.projector.rebuildBeside({
        fromBeginning: this.random.happens(0.3),
        reason: 'on request',
        signal: new AbortController().signal,
        begun: () => Promise.resolve(),
      });
      if (rebuilt) this.witness.told(rebuilt.checkpoint.generation);
      this.trace.reach(rebuilt ? 'figures were rebuilt beside' : 'a rebuild found another one under way');
    } catch (error) {
      this.failed(process, 'rebuild', error);
    }
  }

  private failed(process: SimulatedProcess, what: string, error: unknown): void {
    const { name, message } = error as Error;
    this.trace.add(process.name, `${what} failed: ${message}`);
    this.trace.reach(`${what} failed: ${error instanceof UnavailableError ? 'a part was away' : name}`);
  }

  private calmDown(): void {
    this.trace.add('-', 'no more faults');
    this.parts.network.rates = NO_FAULTS;
    this.parts.queue.faults = { duplicate: 0, revenant: 0 };
  }

  private get isDamaged(): boolean {
    return this.witness.isDamaged(this.parts.store.authority.read().generation);
  }

  private unrest(): string[] {
    const { queue, store } = this.parts;
    const { generation, building } = store.authority.read();
    const reasons: string[] = [];
    if (queue.messages.size > 0) reasons.push(`${queue.messages.size} messages on the queue`);
    if (building) reasons.push('figures are being rebuilt');
    if (this.isDamaged) reasons.push('a damaged key was not noticed');
    if (this.processes.length === 0) reasons.push('no process runs');
    for (const { name, projector } of this.processes) {
      try {
        const served = projector.served();
        const behind = store.ledger.entries.length - served.position;
        if (behind !== 0) reasons.push(`${name} is ${behind} entries behind`);
        if (served.generation !== generation) reasons.push(`${name} serves another generation`);
      } catch {
        reasons.push(`${name} serves nothing`);
      }
    }
    return reasons;
  }
}
