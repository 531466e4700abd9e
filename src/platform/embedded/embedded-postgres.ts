import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { messageOf } from '../../shared/errors.js';
import { GuardedServer } from './guarded-server.js';
import { endPredecessor, socketOf } from './postgres-pid-file.js';
import { chooseHome, type PostgresHome } from './postgres-home.js';

/** The user and the database that every new server has. */
const NAME = 'postgres';

/**
 * A private PostgreSQL server on a unix socket, child of this process, its data in a folder of its own.
 * What it has committed survives a power cut: `fsync` is on.
 */
export class EmbeddedPostgres {
  private constructor(
    private readonly server: GuardedServer,
    /** For any client on this machine that may enter the data folder. */
    readonly url: string,
    /** The folder of its files; outside the data folder where the server's user can't enter that. */
    readonly home: string,
  ) {}

  /**
   * Starts the server; the first start makes its data, which takes a second or two.
   * @param dataDir the data folder of the service, whose lock the caller holds
   * @param searchPath as PATH, where an installed PostgreSQL is looked for if the platform package is missing
   * @throws NoPostgres @throws OldDataFolder @throws OtherPostgresVersion; Error with the last line of the server's log
   */
  static async start(dataDir: string, searchPath: string): Promise<EmbeddedPostgres> {
    const home = chooseHome(dataDir, searchPath);
    if (!existsSync(join(home.data, 'PG_VERSION'))) await initialise(home);
    // A unix socket's path may have about 100 characters, which a data folder's path easily exceeds.
    const link = join(tmpdir(), `orders-postgres-${randomBytes(6).toString('hex')}`);
    const url = urlAt(link);
    const settings = {
      listen_addresses: '',
      unix_socket_directories: link,
      fsync: 'on',
      synchronous_commit: 'on',
      max_connections: '40',
      shared_buffers: '64MB',
      // Nobody replicates it.
      wal_level: 'minimal',
      max_wal_senders: '0',
    };
    const server = await GuardedServer.start({
      ...home.user,
      program: join(home.programs.bin, 'postgres'),
      args: ['-D', home.data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      logPath: join(home.folder, 'postgres.log'),
      stopSignal: 'INT',
      remove: link,
      prepare: async () => {
        await endPredecessor(home.data);
        rmSync(link, { force: true });
        symlinkSync(home.socketDir, link);
      },
      probe: () => answers(url),
    });
    return new EmbeddedPostgres(server, url, home.folder);
  }

  /** Where the running embedded server of a data folder is reached, or null where none runs. */
  static urlOfRunning(dataDir: string, searchPath: string): string | null {
    const link = socketOf(chooseHome(dataDir, searchPath).data);
    return link === null ? null : urlAt(link);
  }

  /** Ends the server after it has written its files. */
  async stop(): Promise<void> {
    await this.server.stop();
  }
}

/** A folder that was not made to its end is never taken for data. */
async function initialise({ folder, data, programs, user }: PostgresHome): Promise<void> {
  const unfinished = `${data}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  const program = join(programs.bin, 'initdb');
  const options = ['-D', unfinished, '-U', NAME, '--auth=trust', '--encoding=UTF8', '--locale=C'];
  const words = [...user.prefix, program, ...options];
  try {
    await promisify(execFile)(words[0]!, words.slice(1), { uid: user.uid, gid: user.gid, cwd: '/', env: {} });
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw new Error(`${program} failed: ${stderr?.trim().split('\n').at(-1) ?? messageOf(error)}`, { cause: error });
  }
  renameSync(unfinished, data);
  const handle = openSync(folder, 'r');
  fsyncSync(handle);
  closeSync(handle);
}

async function answers(url: string): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined); // the query below fails, too
  try {
    await client.connect();
    await client.query('select');
  } finally {
    await client.end();
  }
}

function urlAt(socketDir: string): string {
  return `postgres://${NAME}@/${NAME}?host=${encodeURIComponent(socketDir)}`;
}
