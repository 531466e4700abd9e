import { fork, spawn, type ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { EmulatorOrder, EmulatorReport } from './emulator.js';
import { takenAwayAtTheEnd } from './leftovers.js';

const ROOT = process.cwd();
const READY_WITHIN_MS = 120_000;
const LOOK_EVERY_MS = 10;
/** By the kernel's clock, which is the same on every Linux this runs on. */
const TICKS_PER_SECOND = 100;

/** Tells of children that ended although nobody had stopped them: whoever waits for them would wait for ever. */
export const losses = new EventEmitter<{ lost: [Error] }>();

/** A process that a measurement started. */
export class Child {
  /** Ends it; does nothing where it was ended before. */
  readonly stop: () => Promise<void>;

  protected constructor(readonly process: ChildProcess) {
    let stopped = false;
    this.stop = takenAwayAtTheEnd(async () => {
      stopped = true;
      if (process.exitCode !== null || process.signalCode !== null) return;
      const ended = once(process, 'exit');
      process.kill('SIGTERM');
      await ended;
    });
    process.once('exit', (code, signal) => {
      if (!stopped) losses.emit('lost', new Error(`${process.spawnargs.join(' ')} ended with ${code ?? signal}`));
    });
  }

  /** CPU time that it has used so far, in seconds; 0 where the system does not tell. */
  cpuSeconds(): number {
    const times = cpuTimesOf(this.process.pid!);
    return times ? times.own : 0;
  }

  /** Resident memory, in bytes. */
  residentBytes(): number {
    const status = readFileSync(`/proc/${this.process.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
  }
}

/** What the system knows of a process. CPU times in seconds. */
export interface CpuTimes {
  parent: number;
  own: number;
  /** Of children that have ended. */
  ofChildren: number;
}

/** Null where the process is gone, or where the system does not tell. */
export function cpuTimesOf(pid: number): CpuTimes | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null;
  }
  // From the state on, which follows the name in brackets.
  const fields = stat
    .replace(/^.*\) /s, '')
    .split(' ')
    .map(Number);
  const seconds = (index: number): number => (fields[index]! + fields[index + 1]!) / TICKS_PER_SECOND;
  return { parent: fields[1]!, own: seconds(11), ofChildren: seconds(13) };
}

/** The SQS emulator, see emulator.ts. */
export class Emulator extends Child {
  private constructor(
    child: ChildProcess,
    readonly endpoint: string,
  ) {
    super(child);
  }

  static async start(): Promise<Emulator> {
    const child = forked('emulator.js');
    const [{ port }] = (await once(child, 'message')) as [Extract<EmulatorReport, { kind: 'listening' }>];
    return new Emulator(child, `http://127.0.0.1:${port}`);
  }

  /** Puts messages on a queue at one moment. @returns that moment, ms since the epoch */
  async fill(queue: string, bodies: string[]): Promise<number> {
    const filled = this.report('filled');
    this.order({ kind: 'fill', queue, bodies });
    return filled;
  }

  /** Resolves with the moment (ms since the epoch) at which so many messages, counted from now, have been deleted. */
  deleted(queue: string, deletions: number): Promise<number> {
    const deleted = this.report('deleted');
    this.order({ kind: 'watch', queue, deletions });
    return deleted;
  }

  private order(order: EmulatorOrder): void {
    this.process.send(order);
  }

  private report(kind: 'filled' | 'deleted'): Promise<number> {
    return new Promise((resolve) => {
      const hear = (report: EmulatorReport): void => {
        if (report.kind !== kind) return;
        this.process.off('message', hear);
        resolve((report as { at: number }).at);
      };
      this.process.on('message', hear);
    });
  }
}

/** The bare loops, see bare-loop.ts. */
export class BareLoop extends Child {
  /** Receives and deletes with so many loops until it is stopped. @param count see {@link BareLoop.drained} */
  static async drain(endpoint: string, queue: string, loops: number, count = Infinity): Promise<BareLoop> {
    const child = forked('bare-loop.js', 'drain', endpoint, queue, String(loops), String(count));
    await once(child, 'message');
    return new BareLoop(child);
  }

  /** Of a {@link BareLoop.drain} of so many. @returns ms from the first answer with messages to the last deletion */
  async drained(): Promise<number> {
    const [{ ms }] = (await once(this.process, 'message')) as [{ ms: number }];
    return ms;
  }

  /** Sends bodies with so many calls under way at once. @returns how long it took, ms */
  static async send(endpoint: string, queue: string, lanes: number, bodies: string[]): Promise<number> {
    const sender = await BareLoop.sender(endpoint, queue, lanes);
    try {
      return await sender.send(bodies);
    } finally {
      await sender.stop();
    }
  }

  /** Waits for bodies to send, with so many calls under way at once. */
  static async sender(endpoint: string, queue: string, lanes: number): Promise<BareLoop> {
    const child = forked('bare-loop.js', 'send', endpoint, queue, String(lanes));
    await once(child, 'message');
    return new BareLoop(child);
  }

  /** Of a {@link BareLoop.sender}. @returns how long it took, ms */
  async send(bodies: string[]): Promise<number> {
    this.process.send(bodies);
    const [{ ms }] = (await once(this.process, 'message')) as [{ ms: number }];
    return ms;
  }
}

/** The service as a user runs it, with default settings but for where its parts are, and nothing in it but what is measured. */
export class Service extends Child {
  /** From the start of the process until it was ready for traffic. */
  readyAfterMs = NaN;

  private constructor(
    child: ChildProcess,
    readonly url: string,
  ) {
    super(child);
  }

  /**
   * @param nodeOptions for a profile, say
   * @param readyWithinMs longer where it has a long ledger to make its figures from
   */
  static async start(
    environment: Record<string, string>,
    nodeOptions: string[] = [],
    readyWithinMs = READY_WITHIN_MS,
  ): Promise<Service> {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const started = performance.now();
    const args = [...nodeOptions, '--disable-warning=ExperimentalWarning', join(ROOT, 'dist', 'main.js')];
    const child = spawn(process.execPath, args, {
      env: { PATH: pathOfThisProcess(), PORT: String(port), DEMO_DATA: 'off', ...environment },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const service = new Service(child, url);
    while (!(await answers(`${url}/health/ready`))) {
      if (child.exitCode !== null) throw new Error(`The service ended with ${child.exitCode} before it was ready`);
      if (performance.now() - started > readyWithinMs) throw new Error('The service did not become ready');
      await tick();
    }
    service.readyAfterMs = performance.now() - started;
    return service;
  }

  async get<Body>(path: string): Promise<Body> {
    const response = await fetch(`${this.url}${path}`);
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as Body;
  }

  /** Resolves with the moment (ms since the epoch) at which the live figures cover a ledger entry. */
  async projected(position: number): Promise<number> {
    while (true) {
      const { as_of } = await this.get<{ as_of: { position: number } }>('/stats/global');
      if (as_of.position >= position) return performance.timeOrigin + performance.now();
      await tick();
    }
  }
}

/** A port that nobody uses right now. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Waits a moment between two looks. */
export function tick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
}

/** Starts a script that lies beside this one. */
export function forked(script: string, ...args: string[]): ChildProcess {
  return fork(join(__dirname, script), args, { serialization: 'advanced', execArgv: [] });
}

function pathOfThisProcess(): string {
  return process.env.PATH ?? '';
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}
