import { mkdirSync, mkdtempSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { GuardedServer } from './guarded-server.js';

const ANSWER_TIMEOUT_MS = 2_000;

/**
 * A private Redis server on a unix socket, child of this process, its data in a folder of its own.
 * It writes an append-only file, so live statistics and consumer logs outlast a restart and `kill -9`.
 */
export class EmbeddedRedis {
  private constructor(
    private readonly server: GuardedServer,
    readonly socketPath: string,
    /** The program that runs, e.g. `redis-server`. */
    readonly program: string,
  ) {}

  /**
   * @param serverPath from findRedisServer
   * @param dataDir the folder for its files, made if missing
   * @throws ServerNotStarted with the reason from its log
   */
  static async start(serverPath: string, dataDir: string): Promise<EmbeddedRedis> {
    mkdirSync(dataDir, { recursive: true });
    // A unix socket's path may have about 100 characters, which a data folder's path easily exceeds.
    const socketDir = mkdtempSync(join(tmpdir(), 'orders-redis-'));
    const socketPath = join(socketDir, 'redis.sock');
    const settings = {
      port: '0',
      unixsocket: socketPath,
      unixsocketperm: '700',
      dir: dataDir,
      appendonly: 'yes',
      appendfsync: 'everysec',
      save: '',
      'maxmemory-policy': 'noeviction',
      daemonize: 'no',
    };
    const server = await GuardedServer.start({
      program: serverPath,
      args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
      logPath: join(dataDir, 'redis.log'),
      stopSignal: 'TERM',
      remove: socketDir,
      // The guard of a dead server removed this folder.
      prepare: () => void mkdirSync(socketDir, { recursive: true, mode: 0o700 }),
      probe: async () => {
        // +PONG only comes when the append-only file is loaded; before that the answer is -LOADING.
        const answer = await ask(socketPath, 'PING\r\n');
        if (!answer.startsWith('+PONG')) throw new Error(answer.trim());
      },
    });
    return new EmbeddedRedis(server, socketPath, basename(serverPath));
  }

  /** Ends the server after it has written its files. */
  async stop(): Promise<void> {
    await this.server.stop();
  }
}

function ask(socketPath: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(socketPath, () => socket.write(command));
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
    socket.once('data', (answer) => {
      socket.destroy();
      resolve(answer.toString());
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('connection closed')));
  });
}
