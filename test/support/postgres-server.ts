import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, cpSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { installedPrograms, packagedPrograms } from '../../src/platform/embedded/postgres-programs.js';
import { eventually } from './eventually.js';
import { childrenOf, endsWithThisProcess, freePort, goesWithThisProcess, signal } from './own-process.js';

const STARTS_WITHIN_MS = 60_000;
/** What a file of the write-ahead log must be able to have, see `walSegmentMb`. */
const MIN_FILE_BYTES = 1024 * 1024;

let folderOfPrograms: string | undefined;

/**
 * A PostgreSQL server of a test's own, to be killed, stopped from answering, filled up and put back. Its files are in a
 * temporary folder; a kill costs nothing that it had committed, since the machine goes on.
 */
export class PostgresServer {
  private server: ChildProcess | null = null;

  private constructor(
    private readonly folder: string,
    private readonly owner: Owner,
    private readonly port: number,
    private readonly settings: string[],
  ) {}

  /**
   * @param options.walSegmentMb how large a file of the write-ahead log is
   * @param options.settings as `name=value`
   */
  static async start(options: { walSegmentMb?: number; settings?: string[] } = {}): Promise<PostgresServer> {
    const folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-postgres-'));
    goesWithThisProcess(folder);
    const owner = ownerOfServer();
    if (owner.uid !== undefined) chownSync(folder, owner.uid, owner.gid!);
    const server = new PostgresServer(folder, owner, await freePort(), options.settings ?? []);
    execFileSync(
      program('initdb'),
      [
        ...['-D', server.data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
        `--wal-segsize=${options.walSegmentMb ?? 16}`,
      ],
      { ...owner, cwd: folder, stdio: 'pipe' },
    );
    await server.start();
    return server;
  }

  /** Of the database that every server has. */
  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }

  /** All of its processes. */
  get pids(): number[] {
    const pid = this.server?.pid;
    return pid === undefined ? [] : [pid, ...childrenOf(pid)];
  }

  /** Starts it again after a kill, on the same port. */
  async start(): Promise<void> {
    const settings = [
      `port=${this.port}`,
      'listen_addresses=127.0.0.1',
      'unix_socket_directories=',
      'fsync=off',
      ...this.settings,
    ];
    this.server = spawn(program('postgres'), ['-D', this.data, ...settings.flatMap((setting) => ['-c', setting])], {
      ...this.owner,
      cwd: this.folder,
      stdio: 'ignore',
    });
    endsWithThisProcess(this.server);
    await eventually(() => this.answers(), STARTS_WITHIN_MS);
  }

  /**
   * `kill -9`, all of it at once.
   * @param moment resolves when it is to happen: what runs then has no time to end, since it is known by then what to kill
   */
  async kill(moment?: () => Promise<void>): Promise<void> {
    const { server } = this;
    if (!server) return;
    const ended = server.exitCode === null && server.signalCode === null ? once(server, 'exit') : null;
    const { pids } = this;
    await moment?.();
    signal(pids, 'SIGKILL');
    // Those that came since; they would end by themselves, but not at once.
    signal(this.pids, 'SIGKILL');
    await ended;
    this.server = null;
  }

  /** Nothing that it is asked is answered any more; connections stay. */
  stall(): void {
    signal(this.pids, 'SIGSTOP');
  }

  /** Answers again after {@link stall}. */
  resume(): void {
    signal(this.pids, 'SIGCONT');
  }

  /** No file of its data can grow beyond what the largest has: a quota that is used up. What it writes in place goes well. */
  fill(): void {
    const sizes = readdirSync(join(this.data, 'base'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => statSync(join(entry.parentPath, entry.name)).size);
    this.limitFiles(String(Math.max(MIN_FILE_BYTES, ...sizes)));
  }

  /** Takes back {@link fill}. */
  makeRoom(): void {
    this.limitFiles('unlimited');
  }

  /** Writes down what it holds, for {@link restore}. It is down meanwhile. */
  async save(): Promise<void> {
    await this.kill();
    rmSync(this.saved, { recursive: true, force: true });
    this.copy(this.data, this.saved);
    await this.start();
  }

  /** Puts back what it held at the last {@link save}; all that came after is gone. */
  async restore(): Promise<void> {
    await this.kill();
    rmSync(this.data, { recursive: true, force: true });
    this.copy(this.saved, this.data);
    await this.start();
  }

  /** Ends it and takes its files away. */
  async remove(): Promise<void> {
    this.resume();
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Those that it starts from now on inherit it. Only the soft limit: not everybody could raise the other again. */
  private limitFiles(bytes: string): void {
    for (const pid of this.pids) {
      try {
        execFileSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`], { ...this.owner, stdio: 'pipe' });
      } catch (error) {
        if (this.pids.includes(pid)) throw error; // else it ended by itself meanwhile
      }
    }
  }

  private get data(): string {
    return join(this.folder, 'data');
  }

  private get saved(): string {
    return join(this.folder, 'saved');
  }

  /** As its owner, whose the files have to be. */
  private copy(from: string, to: string): void {
    if (this.owner.uid === undefined) cpSync(from, to, { recursive: true });
    else execFileSync('cp', ['-a', from, to], { ...this.owner, cwd: this.folder });
  }

  private async answers(): Promise<void> {
    if (this.server!.exitCode !== null) throw new Error(`PostgreSQL ended with code ${this.server!.exitCode}`);
    const client = new Client(this.url);
    await client.connect();
    await client.end();
  }
}

interface Owner {
  uid?: number;
  gid?: number;
}

/** The server refuses to run as root: `nobody` where there is no `postgres`. */
function ownerOfServer(): Owner {
  if (process.getuid!() !== 0) return {};
  const idOf = (which: string, user: string): number => Number(execFileSync('id', [which, user], { encoding: 'utf8' }));
  const user = userExists('postgres') ? 'postgres' : 'nobody';
  return { uid: idOf('-u', user), gid: idOf('-g', user) };
}

function userExists(name: string): boolean {
  try {
    execFileSync('id', [name], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** The programs that npm installed; where they can't be reached by the owner, those of this machine. */
function program(name: string): string {
  folderOfPrograms ??= findPrograms();
  return join(folderOfPrograms, name);
}

function findPrograms(): string {
  const packaged = packagedPrograms(join(tmpdir(), 'order-pipeline-test-programs'));
  const candidates = [...(packaged ? [packaged] : []), ...installedPrograms(process.env.PATH ?? '')];
  const found = candidates.find(({ bin }) => canRun(join(bin, 'postgres')));
  if (!found) throw new Error('No PostgreSQL 15 or later can be run on this machine');
  return found.bin;
}

function canRun(path: string): boolean {
  try {
    execFileSync(path, ['--version'], { ...ownerOfServer(), cwd: '/', stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
