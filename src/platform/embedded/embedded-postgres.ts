import { execFile } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { messageOf } from '../../shared/errors.js';
import { guarded, GuardedServer, reasonIn, ServerNotStarted } from './guarded-server.js';
import { endPredecessor, isServed } from './postgres-pid-file.js';
import { chooseHome, folderOf, NoPostgres, type PostgresHome } from './postgres-home.js';

/** The user and the database that every new server has. */
const NAME = 'postgres';
const PORT = '5432';
const SOCKET = `.s.PGSQL.${PORT}`;
/** Of the address of a unix socket on macOS; Linux allows four more. */
const MAX_ADDRESS_BYTES = 103;

const SETTINGS = {
  listen_addresses: '',
  port: PORT,
  // Relative to the data: their path may be longer than the address of a socket.
  unix_socket_directories: '../socket',
  unix_socket_permissions: '0700',
  fsync: 'on',
  synchronous_commit: 'on',
  max_connections: '40',
  shared_buffers: '64MB',
  // Bounds what is replayed after a crash: 450 MB took 6 s of CPU. The more frequent checkpoints write 9 % more.
  max_wal_size: '128MB',
  checkpoint_warning: '0',
  // Nobody replicates it.
  wal_level: 'minimal',
  max_wal_senders: '0',
};

/**
 * A private PostgreSQL server on a unix socket, child of this process, its data in a folder of its own.
 * What it has committed survives a power cut: `fsync` is on.
 */
export class EmbeddedPostgres {
  private constructor(
    private readonly server: GuardedServer,
    /** Works in this process only if the path of the data folder is too long for a socket. */
    readonly url: string,
    /** The folder of its files; outside the data folder where the server's user can't enter that. */
    readonly home: string,
  ) {}

  /**
   * Starts the server; the first start makes its data, which takes a second or two.
   * @param dataDir the data folder of the service, whose lock the caller holds
   * @param searchPath as PATH, where an installed PostgreSQL is looked for if the platform package is missing
   * @throws DamagedLedger @throws NoPostgres @throws OldDataFolder @throws OtherPostgresVersion @throws ServerNotStarted
   */
  static async start(dataDir: string, searchPath: string): Promise<EmbeddedPostgres> {
    const home = chooseHome(dataDir, searchPath);
    if (!existsSync(home.data)) await initialise(home);
    const url = urlAt(home.socketDir);
    const server = await GuardedServer.start({
      ...home.user,
      program: join(home.programs.bin, 'postgres'),
      args: ['-D', home.data, ...Object.entries(SETTINGS).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      logPath: join(home.folder, 'postgres.log'),
      stopSignal: 'INT',
      prepare: async () => {
        await endPredecessor(home.data);
        rmSync(join(home.socketDir, `${SOCKET}.lock`), { force: true });
      },
      probe: () => answers(url),
    });
    return new EmbeddedPostgres(server, url, home.folder);
  }

  /** Where the running embedded server of a data folder is reached, or null where none runs. */
  static urlOfRunning(dataDir: string): string | null {
    const folder = folderOf(dataDir);
    return isServed(join(folder, 'data')) ? urlAt(join(folder, 'socket')) : null;
  }

  /** Ends the server after it has written its files. */
  async stop(): Promise<void> {
    await this.server.stop();
  }
}

/** Renames the folder when initdb is done, so an interrupted one is never used. */
async function initialise({ folder, data, programs, user }: PostgresHome): Promise<void> {
  const unfinished = `${data}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  const program = join(programs.bin, 'initdb');
  const { file, args, options } = guarded({
    ...user,
    program,
    args: ['-D', unfinished, '-U', NAME, '--auth=trust', '--encoding=UTF8', '--locale=C'],
    stopSignal: 'KILL',
  });
  try {
    await promisify(execFile)(file, args, options);
  } catch (error) {
    const reason = reasonIn((error as { stderr?: string }).stderr ?? '') || messageOf(error);
    throw new ServerNotStarted(`${program} failed: ${reason}`, { cause: error });
  }
  renameSync(unfinished, data);
  for (const changed of [folder, dirname(folder)]) {
    const handle = openSync(changed, 'r');
    fsyncSync(handle);
    closeSync(handle);
  }
}

async function answers(url: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000, query_timeout: 2_000 });
  client.on('error', () => undefined); // the query below fails, too
  try {
    await client.connect();
    await client.query('select');
  } finally {
    await client.end();
  }
}

/**
 * Names what a client otherwise takes from PGHOST, PGPORT and PGSSLMODE.
 * @throws NoPostgres on macOS, where the path is too long for a socket
 */
function urlAt(socketDir: string): string {
  let host = socketDir;
  if (Buffer.byteLength(join(socketDir, SOCKET)) > MAX_ADDRESS_BYTES) {
    if (process.platform !== 'linux') throw new NoPostgres(`${socketDir} is too long for a socket: shorten DATA_DIR.`);
    host = `/proc/self/fd/${openSync(socketDir, 'r')}`; // stays open as long as this process lives
  }
  return `postgres://${NAME}@/${NAME}?host=${encodeURIComponent(host)}&port=${PORT}&sslmode=disable`;
}
