import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Client } from 'pg';
import { EmbeddedPostgres } from '../../src/platform/embedded/embedded-postgres.js';
import { installedPrograms, packagedPrograms } from '../../src/platform/embedded/postgres-programs.js';
import { eventually } from './eventually.js';
import { endsWithThisProcess, goesWithThisProcess } from './own-process.js';
import { parts } from './parts.js';
import { Program, ServiceProcess } from './process.js';

const REPOSITORY = join(__dirname, '..', '..');
const PACKAGE = join('@embedded-postgres', `${process.platform}-${process.arch}`);
const READY_TIMEOUT_MS = 60_000;

/** Runs a command line as another user, or with less power: its arguments follow. */
export type As = string[];

/** A user who has a name. */
export const asNobody: As = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
/** A user without one, as in a container that runs as a number. */
export const asNumber: As = ['setpriv', '--reuid=12345', '--regid=12345', '--clear-groups'];
/** Root as in a container, which may make no user namespace. */
export const asContainerRoot: As = asRootWith('chown', 'dac_override', 'fowner', 'kill', 'setgid', 'setuid');
/** Root that may not act as another user either. */
export const asPowerlessRoot: As = asRootWith();

function asRootWith(...capabilities: string[]): As {
  return ['setpriv', `--bounding-set=${['-all', ...capabilities.map((name) => `+${name}`)].join()}`, '--inh-caps=-all'];
}

const isRoot = process.getuid!() === 0;

/** Why tests that act as other users are skipped, or null where they are not. */
export const noOtherUsers = !isRoot
  ? 'only root can act as other users'
  : !runs(asNobody, process.execPath, '--version')
    ? 'other users can run neither setpriv nor this Node'
    : null;

/** Why tests of permissions are skipped, or null where they are not. */
export const noPermissions = isRoot ? noOtherUsers : null;

/** Why tests of user namespaces are skipped, or null where they are not. */
export const noNamespaces = runs(['unshare', '--user', '--map-user=65534'], 'true')
  ? noOtherUsers
  : 'this system allows no user namespaces';

/** Why tests of full disks are skipped, or null where they are not. */
export const noMounts = runs(onDisk('size=1m', '/tmp'), 'true') ? noOtherUsers : 'no file system can be mounted here';

/** Why tests with an installed PostgreSQL are skipped, or null where they are not. */
export const noInstalled =
  installedPrograms(process.env.PATH ?? '').length > 0 ? null : 'no PostgreSQL 15 or later is installed';

/** Why tests with the programs that npm installs are skipped, or null where they are not. */
export const noPackage = packagedPrograms(join(tmpdir(), 'order-pipeline-test-programs'))
  ? noOtherUsers
  : 'npm has no PostgreSQL for this';

/** A test that is listed as skipped, with the reason in its name, where there is one. */
export function itUnless(reason: string | null, name: string, test: () => Promise<void>): void {
  if (reason === null) it(name, test);
  else it.skip(`${name} (not shown here: ${reason})`, test);
}

/** Runs a command line where a folder is a disk of its own. @param options of mount, e.g. `size=20m` */
export function onDisk(options: string, folder: string): As {
  const script = 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"';
  return ['unshare', '--mount', '/bin/sh', '-c', script, options, folder];
}

function runs(as: As, ...command: string[]): boolean {
  const [file, ...args] = [...as, ...command];
  return spawnSync(file!, args, { stdio: 'ignore' }).status === 0;
}

/** Copies of the built service, which other users can read and which differ in their node_modules. */
export class Builds {
  private readonly folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-builds-'));
  private readonly made = new Map<string, string>();

  constructor() {
    goesWithThisProcess(this.folder);
    chmodSync(this.folder, 0o755);
  }

  /** As npm installed it. */
  get whole(): string {
    return this.make('whole', (modules) => symlinkSync(join(REPOSITORY, 'node_modules'), modules));
  }

  /** Without the platform package of PostgreSQL. */
  get withoutPackage(): string {
    return this.make('without package', (modules) => this.linkModules(modules));
  }

  /** With a platform package of its own, as the tarball has it, which may not be written to. */
  get ownPackage(): string {
    return this.make('own package', (modules) => {
      this.linkModules(modules);
      const copy = join(modules, PACKAGE);
      cpSync(join(REPOSITORY, 'node_modules', PACKAGE), copy, { recursive: true, verbatimSymlinks: true });
      const links = JSON.parse(readFileSync(join(copy, 'native', 'pg-symlinks.json'), 'utf8')) as { target: string }[];
      for (const { target } of links) rmSync(join(copy, target), { force: true });
      execFileSync('chmod', ['-R', 'a-w', copy]);
    });
  }

  remove(): void {
    execFileSync('chmod', ['-R', 'u+w', this.folder]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** @returns the folder of its programs */
  private make(name: string, makeModules: (path: string) => void): string {
    const known = this.made.get(name);
    if (known) return known;
    const folder = join(this.folder, name);
    cpSync(parts.build, join(folder, 'src'), { recursive: true });
    for (const each of ['package.json', 'migrations']) symlinkSync(join(REPOSITORY, each), join(folder, each));
    makeModules(join(folder, 'node_modules'));
    this.made.set(name, join(folder, 'src'));
    return join(folder, 'src');
  }

  private linkModules(into: string): void {
    const modules = join(REPOSITORY, 'node_modules');
    mkdirSync(into);
    for (const name of readdirSync(modules)) {
      if (name !== dirname(PACKAGE)) symlinkSync(join(modules, name), join(into, name));
    }
  }
}

/** Where a service keeps its data, and what else sets it apart. */
export interface Setup {
  dataDir: string;
  as?: As;
  /** The folder of the programs. */
  build?: string;
  environment?: Record<string, string>;
}

/** A process of the machine. */
interface ListedProcess {
  pid: number;
  parent: number;
  command: string;
}

/** A service with an embedded PostgreSQL, as a process of its own. Its statistics are in memory, its queue is that of the run. */
export class EmbeddedService extends ServiceProcess {
  /** Starts it and waits for nothing. */
  static begin(setup: Setup): EmbeddedService {
    const id = createHash('sha256').update(setup.dataDir).digest('hex').slice(0, 12);
    const { build = parts.build } = setup;
    return new EmbeddedService(
      launch(setup, [join(build, 'main.js')], {
        NODE_ENV: 'test',
        LOG_LEVEL: process.env.TEST_LOG_LEVEL ?? 'fatal',
        PORT: '0',
        DATABASE_URL: 'embedded',
        REDIS_URL: 'memory',
        SQS_ENDPOINT: parts.sqsEndpoint,
        SQS_WAIT_TIME_SECONDS: '1',
        SQS_VISIBILITY_TIMEOUT: '5',
        SQS_QUEUE_NAME: `orders-${id}`,
        INVENTORY_QUEUE_NAME: `inventory-${id}`,
        PAYMENT_QUEUE_NAME: `payment-${id}`,
        SHIPMENT_QUEUE_NAME: `shipment-${id}`,
        DEMO_DATA: 'off',
      }),
    );
  }

  /** Waits until it is ready for traffic. */
  async isReady(): Promise<void> {
    await this.answers(READY_TIMEOUT_MS);
    await eventually(async () => {
      const { status, body } = await this.get('/health/ready');
      if (status !== 200) throw new Error(`Not ready: ${JSON.stringify(body)}`);
    }, READY_TIMEOUT_MS);
  }

  /** Where its banner says that the files of its PostgreSQL are. */
  get home(): string {
    return /Ledger +embedded PostgreSQL in (.+)/.exec(this.output)![1]!;
  }

  get postgres(): PostgresProcesses {
    return postgresOf(this.pid);
  }
}

/** Starts the PostgreSQL of a data folder as the service would, and stops it on SIGTERM. */
const POSTGRES_ALONE = `
  const [build, dataDir] = process.argv.slice(1);
  const { EmbeddedPostgres } = require(build + '/platform/embedded/embedded-postgres.js');
  const { describeFailure } = require(build + '/shared/failed-start.js');
  const refuse = (error) => { console.error(describeFailure(error)); process.exit(1); };
  EmbeddedPostgres.start(dataDir, process.env.PATH).then((postgres) => {
    process.once('SIGTERM', () => postgres.stop().then(() => process.exit(0)));
    setInterval(() => undefined, 60_000);
    console.log('It is up in ' + postgres.home);
  }, refuse);`;

/** An embedded PostgreSQL without a service around it, which is up in a fraction of the time. */
export class PostgresAlone extends Program {
  /** Starts it and waits for nothing. */
  static begin(setup: Setup): PostgresAlone {
    const { build = parts.build, dataDir } = setup;
    return new PostgresAlone(launch(setup, ['-e', POSTGRES_ALONE, build, dataDir]));
  }

  /** Waits until it is up. @throws Error with its output where it ends instead */
  async isReady(): Promise<void> {
    const ended = this.exited.then(() => {
      throw new Error(`It has ended: ${this.output}`);
    });
    await Promise.race([this.says('It is up in', READY_TIMEOUT_MS), ended]);
    ended.catch(() => undefined);
  }

  /** The folder of its files. */
  get home(): string {
    return /It is up in (.+)/.exec(this.output)![1]!;
  }

  get postgres(): PostgresProcesses {
    return postgresOf(this.pid);
  }
}

function launch(
  { dataDir, as = [], build = parts.build, environment = {} }: Setup,
  words: string[],
  defaults: Record<string, string> = {},
): ChildProcess {
  const [file, ...args] = [...as, process.execPath, '--disable-warning=ExperimentalWarning', ...words];
  const child = spawn(file!, args, {
    cwd: dirname(build),
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH ?? '', HOME: '/', DATA_DIR: dataDir, ...defaults, ...environment },
  });
  endsWithThisProcess(child);
  return child;
}

/** The guard of an embedded PostgreSQL, the server, and all processes that belong to them. */
interface PostgresProcesses {
  guard: number;
  server: number;
  all: number[];
}

function postgresOf(parent: number): PostgresProcesses {
  const listed = processes();
  const below = (pid: number): ListedProcess[] =>
    listed.filter((each) => each.parent === pid).flatMap((child) => [child, ...below(child.pid)]);
  const all = below(parent);
  const guard = all.find((each) => each.parent === parent && each.command.includes('/postgres/data'));
  const server = all.find((each) => each.parent === guard?.pid && /^\S*\/postgres -D/.test(each.command));
  if (!guard || !server) throw new Error('Its PostgreSQL does not run');
  return { guard: guard.pid, server: server.pid, all: all.map(({ pid }) => pid) };
}

/** Asks the running PostgreSQL of a data folder. @returns the first value */
export async function askPostgres(dataDir: string, statement: string): Promise<unknown> {
  const client = new Client(EmbeddedPostgres.urlOfRunning(dataDir)!);
  await client.connect();
  try {
    const { rows } = await client.query<unknown[]>({ text: statement, rowMode: 'array' });
    return rows[0]![0];
  } finally {
    await client.end();
  }
}

/** Waits until none of some processes is left. */
export async function areGone(pids: number[]): Promise<void> {
  await eventually(() => {
    const left = processes().filter(({ pid }) => pids.includes(pid));
    if (left.length > 0) throw new Error(`Still there: ${JSON.stringify(left)}`);
  });
}

/** All processes that are not dead and merely waited for. */
function processes(): ListedProcess[] {
  const lines = execFileSync('ps', ['-A', '-ww', '-o', 'pid=,ppid=,stat=,args='], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const [, pid, parent, state, command] = /^ *(\d+) +(\d+) +(\S+) +(.*)$/.exec(line) ?? [];
    return pid && !state!.startsWith('Z') ? [{ pid: Number(pid), parent: Number(parent), command: command! }] : [];
  });
}
