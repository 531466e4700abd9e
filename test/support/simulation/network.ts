import type { SeededRandom } from '../seeded-random.js';
import type { ModelConnection } from './model-redis-client.js';
import type { Trace } from './trace.js';
import type { Owner, Timer, VirtualTime } from './virtual-time.js';

/** How often, from 0 to 1, a single request meets with a fault. */
export interface FaultRates {
  /** The process dies as it sends a request, or as an answer reaches it. */
  crash: number;
  /** It never arrives; the caller learns that the connection broke. */
  requestLost: number;
  /** It was done; the caller learns that the connection broke. */
  answerLost: number;
  /** It was done; the caller learns nothing until it gives up. */
  silence: number;
  /** The caller learns that the connection broke, and it is done some time after. */
  doneLate: number;
  /** The database refuses it for now, and has done nothing. */
  refusedForNow: number;
  /** A request or an answer takes up to seconds. */
  slow: number;
}

export const NO_FAULTS: FaultRates = {
  crash: 0,
  requestLost: 0,
  answerLost: 0,
  silence: 0,
  doneLate: 0,
  refusedForNow: 0,
  slow: 0,
};

/** A process that talks over the network and may die of it. */
export interface Caller extends Owner {
  die(): void;
}

/** A part that can be away. */
export class Part {
  up = true;
  /** Rises each time it goes away: what was under way then is answered by nobody. */
  outages = 0;
  /** Connections to be cut when it goes. */
  readonly wires = new Set<Wire>();

  /** @param givesUpAfterMs how long its clients wait for an answer */
  constructor(
    readonly name: 'database' | 'redis' | 'queue',
    readonly givesUpAfterMs: number,
  ) {}

  goAway(): void {
    this.up = false;
    this.outages++;
    for (const wire of this.wires) wire.cut();
  }
}

/** Carries requests to parts and answers back, or not. */
export class Network {
  rates: FaultRates = NO_FAULTS;

  constructor(
    readonly time: VirtualTime,
    readonly random: SeededRandom,
    readonly trace: Trace,
  ) {}

  /**
   * Has something done by a part to which there are many connections, so that requests overtake each other.
   * @param work does it, all at once, and answers, perhaps later
   */
  call<T>(caller: Caller, part: Part, name: string, work: (answer: (value: T) => void) => void): Promise<T> {
    if (this.kills(caller, `before ${name}`)) return new Promise(() => undefined);
    const { time } = this;
    const fate = this.fate(part);
    this.trace.add(caller.name, fate === null ? name : `${name} (${fate})`);
    return new Promise((resolve, reject) => {
      let isAnswered = false;
      const answer = (settle: () => void, ms = this.delay()): void => {
        if (isAnswered) return;
        isAnswered = true;
        time.at(time.now + ms, caller, () => {
          if (!this.kills(caller, `after ${name}`)) settle();
        });
      };
      const breaks = (): void => reject(connectionLost());
      if (fate === 'request lost') return answer(breaks);
      if (fate === 'refused for now') return answer(() => reject(cancelled()));
      if (fate === 'done late') answer(breaks);
      const ms = this.delay() + (fate === 'done late' ? this.random.between(0, 3_000) : 0);
      time.at(time.now + ms, null, () => {
        if (!part.up) return answer(() => reject(connectionRefused()));
        const { outages } = part;
        try {
          work((value) => {
            if (fate === 'silence') return answer(() => reject(new Error('Query read timeout')), part.givesUpAfterMs);
            answer(() => (fate === 'answer lost' || part.outages !== outages ? breaks() : resolve(value)));
          });
        } catch (fault) {
          const error = fault as Error;
          answer(() => reject(error));
        }
      });
    });
  }

  /** Has something happen by itself, some time from now. */
  later(mostMs: number, run: () => void): void {
    this.time.at(this.time.now + this.random.between(1, mostMs), null, run);
  }

  /** Whether a process dies at this point, dead ones included. */
  kills(caller: Caller, where: string): boolean {
    if (caller.dead) return true;
    if (!this.random.happens(this.rates.crash)) return false;
    this.trace.reach(`crash ${where}`);
    this.trace.add(caller.name, `crash ${where}`);
    caller.die();
    return true;
  }

  fate(part: Part): string | null {
    const { requestLost, answerLost, silence, doneLate, refusedForNow } = this.rates;
    let chance = this.random.next();
    for (const [fate, rate] of [
      ['request lost', requestLost],
      ['answer lost', answerLost],
      ['silence', silence],
      ['done late', doneLate],
      ['refused for now', part.name === 'database' ? refusedForNow : 0],
    ] as const) {
      chance -= rate;
      if (chance >= 0) continue;
      this.trace.reach(`${part.name}: ${fate}`);
      return fate;
    }
    return null;
  }

  /** ms; each way. */
  delay(): number {
    if (this.random.happens(this.rates.slow)) return this.random.between(100, 4_000);
    return this.random.between(1, 3);
  }
}

interface Sent {
  hasArrived: boolean;
  isDropped: boolean;
  reject(error: Error): void;
}

/** One connection: what is sent first arrives first and is answered first, and all that is under way ends with it. */
export class Wire implements ModelConnection {
  isOpen = false;
  private isCut = false;
  private underWay = new Set<Sent>();
  private lastArrival = 0;
  private lastAnswer = 0;
  private broken: (error: Error) => void = () => undefined;

  constructor(
    private readonly network: Network,
    private readonly caller: Caller,
    private readonly part: Part,
  ) {}

  onBroken(listener: (error: Error) => void): void {
    this.broken = listener;
  }

  async open(): Promise<void> {
    await this.network.call(this.caller, this.part, 'connect', (answer) => answer(null));
    this.isOpen = true;
    this.isCut = false;
    this.part.wires.add(this);
  }

  close(): void {
    this.isOpen = false;
    this.part.wires.delete(this);
  }

  send<T>(name: string, work: () => T): Promise<T> {
    const { network, caller, part } = this;
    const { time, trace } = network;
    if (network.kills(caller, `before ${name}`)) return new Promise(() => undefined);
    if (!this.isOpen)
      return Promise.reject(new Error("Stream isn't writeable and enableOfflineQueue options is false"));
    const fate = network.fate(part);
    trace.add(caller.name, fate === null ? name : `${name} (${fate})`);
    return new Promise((resolve, reject) => {
      let patience: Timer | null = null;
      const settle = (how: () => void): void => {
        if (patience?.run === null) return;
        patience!.run = null;
        this.underWay.delete(sent);
        how();
      };
      const sent: Sent = {
        hasArrived: false,
        isDropped: this.isCut || fate === 'request lost',
        reject: (error) => settle(() => reject(error)),
      };
      this.underWay.add(sent);
      patience = time.at(time.now + part.givesUpAfterMs, caller, () => {
        this.underWay.delete(sent);
        trace.reach('redis: a command timed out');
        reject(new Error('Command timed out'));
      });
      const late = fate === 'done late' ? part.givesUpAfterMs : 0;
      this.lastArrival = Math.max(this.lastArrival, time.now + network.delay() + late);
      time.at(this.lastArrival, null, () => {
        sent.hasArrived = true;
        if (sent.isDropped || !part.up) return fate === 'request lost' && this.cut();
        let how: () => void;
        try {
          const value = work();
          how = () => resolve(value);
        } catch (fault) {
          const error = fault as Error;
          how = () => reject(error);
        }
        if (fate === 'answer lost') return this.cut();
        if (fate === 'silence') return;
        this.lastAnswer = Math.max(this.lastAnswer, time.now + network.delay());
        time.at(this.lastAnswer, caller, () => {
          if (!network.kills(caller, `after ${name}`) && this.underWay.has(sent)) settle(how);
        });
      });
    });
  }

  /** Breaks the connection. Of what is under way some may still arrive, the first before the others. */
  cut(): void {
    if (this.isCut || !this.isOpen) return;
    this.isCut = true;
    const { network, caller } = this;
    const { time, random } = network;
    const cut = this.underWay;
    this.underWay = new Set();
    const open = [...cut].filter(({ hasArrived }) => !hasArrived);
    for (const lost of open.slice(random.between(0, open.length))) lost.isDropped = true;
    time.at(time.now + network.delay(), caller, () => {
      if (!this.isCut) return;
      this.close();
      for (const sent of [...cut, ...this.underWay]) sent.reject(new Error('Connection is closed.'));
      this.broken(connectionLost());
    });
  }
}

function connectionLost(): Error {
  return Object.assign(new Error('Connection terminated unexpectedly'), { code: 'ECONNRESET' });
}

function connectionRefused(): Error {
  return Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
}

function cancelled(): Error {
  return Object.assign(new Error('canceling statement due to statement timeout'), { code: '57014' });
}
