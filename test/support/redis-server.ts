import { Redis as IORedis } from 'ioredis';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findRedisServer } from '../../src/platform/embedded/redis-programs.js';
import { eventually } from './eventually.js';
import { endsWithThisProcess, freePort, goesWithThisProcess, signal } from './own-process.js';

/** As a Redis server names their folder where it is not told otherwise. */
const APPEND_ONLY_FILES = 'appendonlydir';

/** Whether a Redis server can be started on this machine. */
export function canStartRedis(): boolean {
  return findRedisServer(process.env.PATH ?? '') !== null;
}

/** A Redis server of a test's own, to be killed, stopped from answering, misconfigured and put back. */
export class RedisServer {
  private server: ChildProcess | null = null;
  private control: IORedis | null = null;

  private constructor(
    private readonly folder: string,
    readonly port: number,
    private readonly appendOnly: 'yes' | 'no',
  ) {}

  /** It keeps nothing on disk by itself: after a kill it is empty, or what {@link save} wrote down. */
  static async start(): Promise<RedisServer> {
    const server = new RedisServer(aFolder(), await freePort(), 'no');
    await server.start();
    return server;
  }

  /**
   * Starts one that holds what another server has left in its append-only files. It works on a copy of them.
   * @param left the folder of that server
   */
  static async startOnCopyOf(left: string): Promise<RedisServer> {
    const folder = aFolder();
    cpSync(join(left, APPEND_ONLY_FILES), join(folder, APPEND_ONLY_FILES), { recursive: true });
    const server = new RedisServer(folder, await freePort(), 'yes');
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** A connection beside the service's. */
  get client(): IORedis {
    return this.control!;
  }

  /** Starts it again after a kill, on the same port, with what was last saved. */
  async start(): Promise<void> {
    const settings = {
      port: String(this.port),
      bind: '127.0.0.1',
      dir: this.folder,
      save: '',
      appendonly: this.appendOnly,
      'maxmemory-policy': 'noeviction',
    };
    this.server = spawn(
      findRedisServer(process.env.PATH ?? '')!,
      Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
      { stdio: 'ignore' },
    );
    endsWithThisProcess(this.server);
    this.control = new IORedis(this.url, { lazyConnect: true, maxRetriesPerRequest: null });
    // What breaks is broken by the test, which knows.
    this.control.on('error', () => undefined);
    await eventually(async () => expectAnswer(await this.control!.ping()), 30_000);
  }

  /** Starts it again after a kill, empty. */
  async startEmpty(): Promise<void> {
    rmSync(join(this.folder, 'dump.rdb'), { force: true });
    await this.start();
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    const { server } = this;
    this.control?.disconnect();
    if (!server) return;
    const ended = server.exitCode === null && server.signalCode === null ? once(server, 'exit') : null;
    server.kill('SIGKILL');
    await ended;
    this.server = null;
  }

  /** Nothing that it is asked is answered any more; connections stay. */
  stall(): void {
    signal([this.server!.pid!], 'SIGSTOP');
  }

  /** Answers again after {@link stall}. */
  resume(): void {
    if (this.server?.pid !== undefined) signal([this.server.pid], 'SIGCONT');
  }

  /** Writes down what it holds, for {@link restore} and every later start. */
  async save(): Promise<void> {
    await this.client.save();
    copyFileSync(join(this.folder, 'dump.rdb'), join(this.folder, 'saved.rdb'));
  }

  /** Puts back what it held at the last {@link save}; all that came after is gone. */
  async restore(): Promise<void> {
    await this.kill();
    copyFileSync(join(this.folder, 'saved.rdb'), join(this.folder, 'dump.rdb'));
    await this.start();
  }

  /** Ends it and takes its files away. */
  async remove(): Promise<void> {
    this.resume();
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function aFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-redis-'));
  goesWithThisProcess(folder);
  return folder;
}

function expectAnswer(answer: string): void {
  if (answer !== 'PONG') throw new Error(`Redis answered ${answer}`);
}
