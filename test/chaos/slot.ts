import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../support/eventually.js';
import { ServiceProcess } from '../support/process.js';
import type { RealWorld } from '../support/real-world.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import type { Findings } from './invariants.js';

const START_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 10_000;
const GIVEN_UP_AFTER_MS = 15_000;

/** The networks of one process: to each part one of its own, so that it can be cut off alone. */
export interface Networks {
  redis: TcpProxy;
  postgres: TcpProxy;
  queue: TcpProxy;
}

/** The place of one process of the service: the process that is there now, its networks, its logs. */
export class Slot {
  /** Where it answers; empty while nobody does. */
  url = '';
  /** Grows with everything that may keep a request from being answered. */
  changes = 0;
  /** Whether a process is there, is not stopped, and has no order to end. */
  isWell = false;
  private process: ServiceProcess | null = null;
  private readonly living = new Set<ServiceProcess>();
  private readonly told = new WeakSet<ServiceProcess>();
  private launched = 0;
  private isOver = false;

  private constructor(
    readonly number: number,
    readonly networks: Networks,
    private readonly environment: Record<string, string>,
    private readonly logFolder: string,
    private readonly findings: Findings,
  ) {}

  /** A place whose process reaches the parts of a world through networks of its own; nobody is there yet. */
  static async make(
    number: number,
    world: RealWorld,
    logFolder: string,
    environment: Record<string, string>,
    findings: Findings,
  ): Promise<Slot> {
    const networks = {
      redis: await TcpProxy.before(world.redis.url),
      postgres: await TcpProxy.before(world.postgres.url),
      queue: await TcpProxy.before(world.queue.endpoint),
    };
    const own = {
      ...world.environment,
      ...environment,
      REDIS_URL: networks.redis.through(world.redis.url),
      DATABASE_URL: networks.postgres.through(world.postgres.url),
      SQS_ENDPOINT: networks.queue.through(world.queue.endpoint),
    };
    return new Slot(number, networks, own, logFolder, findings);
  }

  get name(): string {
    return `process ${this.number}`;
  }

  /** The process that is there. */
  get service(): ServiceProcess {
    return this.process!;
  }

  /** Waits until its process says that it can do everything. */
  async isReady(withinMs: number): Promise<void> {
    await eventually(async () => {
      const { status, body } = await this.service.get('/health/ready');
      if (status !== 200) throw new Error(`${this.name} is not ready: ${JSON.stringify(body)}`);
    }, withinMs);
  }

  /** Starts a process and waits until it answers over HTTP. */
  async start(): Promise<void> {
    const started = await this.launch();
    this.changes++;
    this.process = started;
    this.url = started.url;
    this.isWell = true;
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    const { process } = this;
    this.leave(process);
    await process?.kill('SIGKILL');
  }

  /** SIGTERM, and waits for its end. */
  async terminate(process = this.process!): Promise<void> {
    if (process === this.process) this.leave(process);
    else this.told.add(process);
    const givenUp = setTimeout(() => process.child.kill('SIGKILL'), GIVEN_UP_AFTER_MS);
    const { code, signal, tookMs } = await process.kill('SIGTERM');
    clearTimeout(givenUp);
    const took = `${Math.round(tookMs)} ms`;
    const faults = [];
    if (code !== 0) faults.push(`${this.name} ended with ${code ?? signal} after SIGTERM, in ${took}`);
    if (tookMs > END_TIMEOUT_MS) faults.push(`${this.name} took ${took} to end after SIGTERM`);
    this.findings.checked('exits', faults);
  }

  /** Starts another process in this place, and ends the one that was there when the other one answers. */
  async replace(): Promise<void> {
    const before = this.process!;
    await this.start();
    await this.terminate(before);
  }

  /** SIGSTOP, for so long. */
  async pause(wait: () => Promise<void>): Promise<void> {
    const { process } = this;
    this.changes++;
    this.isWell = false;
    process!.child.kill('SIGSTOP');
    await wait();
    process!.child.kill('SIGCONT');
    this.changes++;
    this.isWell = true;
  }

  /** Ends all that runs here, however it fares; nothing is started any more. */
  async end(): Promise<void> {
    this.isOver = true;
    this.leave(this.process);
    await Promise.all([...this.living].map((process) => this.endNow(process)));
    for (const network of Object.values(this.networks) as TcpProxy[]) await network.close();
  }

  private async launch(): Promise<ServiceProcess> {
    if (this.isOver) throw new Error(`${this.name} is not started any more`);
    const process = ServiceProcess.launch({ environment: this.environment });
    this.living.add(process);
    const log = createWriteStream(join(this.logFolder, `process-${this.number}-${++this.launched}.log`));
    process.child.stdout!.pipe(log, { end: false });
    process.child.stderr!.pipe(log, { end: false });
    void process.exited.then(({ code, signal }) => {
      log.end(`It ended with ${code ?? signal}\n`);
      this.ended(process, code ?? signal);
    });
    await process.answers(START_TIMEOUT_MS);
    return process;
  }

  private ended(process: ServiceProcess, how: number | string | null): void {
    this.living.delete(process);
    if (this.told.has(process)) return;
    if (process === this.process) this.leave(process);
    this.findings.checked('exits', [`${this.name} ended with ${how}, and nobody had told it to:\n${tailOf(process)}`]);
  }

  private leave(process: ServiceProcess | null): void {
    this.changes++;
    this.isWell = false;
    this.url = '';
    if (process) this.told.add(process);
  }

  private async endNow(process: ServiceProcess): Promise<void> {
    this.told.add(process);
    await process.end();
  }
}

function tailOf({ output }: ServiceProcess): string {
  return output.slice(-2_000);
}
