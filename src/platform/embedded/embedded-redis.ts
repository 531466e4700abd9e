import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, mkdirSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PROGRAMS = ['redis-server', 'valkey-server'];
const START_TIMEOUT_MS = 10_000;
const RESTART_AFTER_MS = 500;

/**
 * Runs the server, and ends it when the shell's standard input closes: that pipe ends with this process, however it
 * ends. Node itself can't tie a child's life to its own.
 */
const GUARD = [
  'exec 3<&0',
  '"$0" "$@" 3<&- & server=$!',
  '(cat <&3 > /dev/null; kill "$server" 2> /dev/null; rm -rf "$SOCKET_DIR") &',
  'wait "$server"',
].join('\n');

/** Where an installed Redis or Valkey server is, or null where there is none. */
export function findRedisServer(searchPath: string): string | null {
  const folders = [...searchPath.split(delimiter), '/usr/bin', '/usr/sbin', '/usr/local/bin', '/opt/homebrew/bin'];
  for (const program of PROGRAMS) {
    for (const folder of folders) {
      const path = join(folder, program);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        continue; // not here: look in the next folder
      }
    }
  }
  return null;
}

/**
 * A private Redis server on a unix socket, child of this process, its data in a folder of its own.
 * It writes an append-only file, so live figures and consumer logs outlast a restart and `kill -9`.
 */
export class EmbeddedRedis {
  /** A unix socket's path may have about 100 characters, which a data folder's path easily exceeds. */
  private readonly socketDir = mkdtempSync(join(tmpdir(), 'orders-redis-'));
  readonly socketPath = join(this.socketDir, 'redis.sock');
  private readonly logPath: string;
  private guard!: ChildProcess;
  private stopping = false;

  private constructor(
    private readonly serverPath: string,
    private readonly dataDir: string,
  ) {
    this.logPath = join(dataDir, 'redis.log');
  }

  /** The program that runs, e.g. `redis-server`. */
  get program(): string {
    return basename(this.serverPath);
  }

  /**
   * @param serverPath from {@link findRedisServer}
   * @param dataDir the folder for its files, made if missing
   * @throws Error with the server's last words if it does not answer within 10 s
   */
  static async start(serverPath: string, dataDir: string): Promise<EmbeddedRedis> {
    mkdirSync(dataDir, { recursive: true });
    const redis = new EmbeddedRedis(serverPath, dataDir);
    redis.launch();
    try {
      await answers(redis.guard, redis.socketPath);
    } catch (error) {
      await redis.stop();
      throw new Error(`${serverPath} does not start: ${lastLine(redis.logPath)}`, { cause: error });
    }
    return redis;
  }

  /** Ends the server after it has written its files. */
  async stop(): Promise<void> {
    this.stopping = true;
    if (this.guard.exitCode === null && this.guard.signalCode === null) {
      const ended = new Promise((resolve) => this.guard.once('exit', resolve));
      this.guard.stdin?.end();
      await ended;
    }
    rmSync(this.socketDir, { recursive: true, force: true });
  }

  private launch(): void {
    mkdirSync(this.socketDir, { recursive: true, mode: 0o700 }); // the guard of a server that died has removed it
    const log = openSync(this.logPath, 'w');
    const settings = {
      port: '0',
      unixsocket: this.socketPath,
      unixsocketperm: '700',
      dir: this.dataDir,
      appendonly: 'yes',
      appendfsync: 'everysec',
      save: '',
      'maxmemory-policy': 'noeviction',
      daemonize: 'no',
    };
    this.guard = spawn(
      '/bin/sh',
      ['-c', GUARD, this.serverPath, ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])],
      // Detached: Ctrl+C in a terminal reaches the whole process group, and Redis must outlive the last write.
      { stdio: ['pipe', log, log], detached: true, env: { SOCKET_DIR: this.socketDir } },
    );
    closeSync(log);
    // A server that dies is started again; whoever is connected notices and comes back by itself.
    this.guard.once('exit', () => {
      this.guard.stdin?.destroy();
      if (!this.stopping) setTimeout(() => this.stopping || this.launch(), RESTART_AFTER_MS).unref();
    });
  }
}

async function answers(server: ChildProcess, socketPath: string): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  let failure: unknown = new Error('no answer');
  while (performance.now() < deadline && server.exitCode === null) {
    try {
      // +PONG only comes when the append-only file is loaded; before that the answer is -LOADING.
      if ((await ask(socketPath, 'PING\r\n')).startsWith('+PONG')) return;
    } catch (error) {
      failure = error;
    }
    await sleep(10);
  }
  throw failure;
}

function ask(socketPath: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(socketPath, () => socket.write(command));
    socket.once('data', (answer) => {
      socket.destroy();
      resolve(answer.toString());
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('connection closed')));
  });
}

function lastLine(path: string): string {
  return readFileSync(path, 'utf8').trim().split('\n').at(-1) ?? 'no output';
}
