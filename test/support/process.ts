import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { spawn, type ChildProcess } from 'node:child_process';
import { dirname, join } from 'node:path';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import type { Answer, World } from './app.js';
import { eventually } from './eventually.js';
import { endsWithThisProcess } from './own-process.js';
import { parts } from './parts.js';

const BATCH = 10;

/** Where a process finds the programs that it starts. */
export const searchPath = process.env.PATH ?? '';

let build = parts.build;

/**
 * Has processes run a build.
 * @param made where the programs are; its parent, which holds what a build needs beside it, is where they run
 */
export function useBuild(made: string): void {
  build = made;
}

/** A program of the built service, as a process of its own. */
export class Program {
  output = '';
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;

  protected constructor(
    readonly child: ChildProcess,
    readonly startedAt = performance.now(),
  ) {
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
        if (process.env.TEST_LOG_LEVEL) process.stdout.write(text);
      });
    }
    // `close`, not `exit`: what it said last must have arrived.
    this.exited = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
  }

  /** @param file below src, as JavaScript @param environment all of it; nothing is inherited */
  static run(file: string, environment: Record<string, string>, argv: string[] = []): Program {
    return new Program(launch(file, environment, argv));
  }

  get pid(): number {
    return this.child.pid!;
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Types a line at its prompt. */
  type(line: string): void {
    this.child.stdin!.write(`${line}\n`);
  }

  /** Waits until it has printed something. @returns the match */
  async says(what: string | RegExp, withinMs = 30_000): Promise<string[]> {
    return eventually(() => {
      const found = typeof what === 'string' ? this.output.includes(what) && [what] : this.output.match(what);
      if (!found) throw new Error(`"${String(what)}" is not in its output:\n${this.output}`);
      return found;
    }, withinMs);
  }

  /** Sends a signal and waits for its end. @returns how it ended, and after how many ms */
  async kill(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null; tookMs: number }> {
    const began = performance.now();
    this.child.kill(signal);
    const end = await this.exited;
    return { ...end, tookMs: performance.now() - began };
  }

  /** Ends it, however it fares. */
  async end(): Promise<void> {
    if (this.isRunning) await this.kill('SIGKILL');
  }
}

/** The service as a process of its own, on ports that it chose itself. */
export class ServiceProcess extends Program {
  /** Where it answers over HTTP; known once it is up. */
  url = '';
  private queueName = '';
  private client: SQSClient | null = null;

  /** Starts it and waits until its banner is there. @throws Error with its output where it ends instead */
  static async start(world: World, environment: Record<string, string> = {}): Promise<ServiceProcess> {
    const service = ServiceProcess.launch(world, environment);
    await service.answers();
    return service;
  }

  /** Starts it and waits until it is ready for traffic. */
  static async ready(world: World, environment: Record<string, string> = {}): Promise<ServiceProcess> {
    const service = await ServiceProcess.start(world, environment);
    await eventually(async () => {
      const { status, body } = await service.get('/health/ready');
      if (status !== 200) throw new Error(`Not ready: ${JSON.stringify(body)}`);
    }, 30_000);
    return service;
  }

  /** Starts it and waits for nothing. */
  static launch(world: Pick<World, 'environment'>, environment: Record<string, string> = {}): ServiceProcess {
    const all = { ...world.environment, ...environment };
    const service = new ServiceProcess(launch('main.js', all));
    service.queueName = all.SQS_QUEUE_NAME ?? 'orders-queue';
    return service;
  }

  /** Waits until its banner is there. @throws Error with its output where it ends instead */
  async answers(withinMs = 30_000): Promise<void> {
    const ended = this.exited.then(({ code }) => {
      throw new Error(`The service ended with code ${code}:\n${this.output}`);
    });
    const [, address] = await Promise.race([this.says(/API +http:\/\/localhost:(\d+)\/docs/, withinMs), ended]);
    ended.catch(() => undefined);
    this.url = `http://127.0.0.1:${address}`;
  }

  async get(path: string): Promise<Answer> {
    return this.call('GET', path);
  }

  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }

  /** A client of its queue. */
  get sqs(): SQSClient {
    const endpoint = /Queue +(http:\S+)/.exec(this.output)![1]!;
    this.client ??= createSqsClient({ sqsEndpoint: endpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
    return this.client;
  }

  /** Puts bodies on its orders queue; resolves when the queue has taken all of them. */
  async send(bodies: object[]): Promise<void> {
    for (let start = 0; start < bodies.length; start += BATCH) {
      const Entries = bodies
        .slice(start, start + BATCH)
        .map((body, i) => ({ Id: String(i), MessageBody: JSON.stringify(body) }));
      const { Failed = [] } = await this.sqs.send(new SendMessageBatchCommand({ QueueUrl: this.queueName, Entries }));
      if (Failed.length > 0) throw new Error(`SQS refused ${Failed.length} messages: ${Failed[0]!.Message}`);
    }
  }

  /** A metric's value; 0 where it has none. @param series with its labels, as Prometheus writes it */
  async metric(series: string): Promise<number> {
    const { body } = await this.get('/metrics');
    const line = String(body)
      .split('\n')
      .find((each) => each.startsWith(`${series} `));
    return Number(line?.slice(series.length + 1) ?? 0);
  }

  override async end(): Promise<void> {
    this.client?.destroy();
    await super.end();
  }
}

function launch(file: string, environment: Record<string, string>, argv: string[] = []): ChildProcess {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', join(build, file), ...argv], {
    cwd: dirname(build), // no .env there
    env: environment,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  endsWithThisProcess(child);
  return child;
}
