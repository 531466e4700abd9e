import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  areGone,
  asContainerRoot,
  askPostgres,
  asNobody,
  asNumber,
  asPowerlessRoot,
  Builds,
  EmbeddedService,
  itUnless,
  noInstalled,
  noMounts,
  noNamespaces,
  noOtherUsers,
  noPackage,
  noPermissions,
  onDisk,
  PostgresAlone,
  type Setup,
} from '../support/embedded-service.js';
import { eventually } from '../support/eventually.js';
import { goesWithThisProcess } from '../support/own-process.js';
import { Program } from '../support/process.js';

const OUTSIDE_FOLDER = '/var/lib/order-pipeline';
const SHUTDOWN_LIMIT_MS = 10_000;
const ORDERS = 100;

let folder: string;
let builds: Builds;
const programs: Program[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-embedded-'));
  goesWithThisProcess(folder);
  chmodSync(folder, 0o755);
  builds = new Builds();
});

afterAll(async () => {
  for (const program of programs) await program.end();
  builds.remove();
  rmSync(folder, { recursive: true, force: true });
});

/** A new data folder. @param mode of its permissions */
function dataFolder(name: string, mode = 0o777): string {
  const made = join(folder, name);
  mkdirSync(made, { recursive: true });
  chmodSync(made, mode);
  return made;
}

function tracked<P extends Program>(program: P): P {
  programs.push(program);
  return program;
}

async function ready<P extends EmbeddedService | PostgresAlone>(program: P): Promise<P> {
  await tracked(program).isReady();
  return program;
}

/** Starts and stops the PostgreSQL of a data folder. @returns where its files are */
async function comesUp(setup: Setup): Promise<string> {
  const postgres = await ready(PostgresAlone.begin(setup));
  expect(await postgres.kill('SIGTERM')).toMatchObject({ code: 0 });
  return postgres.home;
}

/** Waits for the end of a program that can't start. @returns the one line that it printed */
async function refusal(program: Program): Promise<string> {
  const { code } = await tracked(program).exited;
  const [line, ...more] = program.output.trimEnd().split('\n');
  expect([code, more]).toEqual([1, []]);
  return line!;
}

describe('While a service runs, its PostgreSQL', () => {
  let place: Setup;
  let service: EmbeddedService;
  let orders = 0;

  beforeAll(async () => {
    const dataDir = dataFolder(`A shop's "daten" für $5, 注文`);
    // Few orders at a time, so that it is busy for a while; and what clients of PostgreSQL take from the environment.
    const environment = { SQS_MAX_NUMBER_OF_MESSAGES: '1', SQS_POLLERS: '2', PGPORT: '1', PGSSLMODE: 'require' };
    place = { dataDir, environment };
    service = await ready(EmbeddedService.begin(place));
  });

  async function counted(): Promise<number> {
    return (await service.get('/stats/global')).body.total_orders as number;
  }

  /** Has the service be busy with orders. */
  async function takesOrders(): Promise<void> {
    expect((await service.call('POST', '/produce', { count: ORDERS, invalid_rate: 0 })).status).toBe(200);
    await eventually(async () => expect(await counted()).toBeGreaterThan(orders));
    orders += ORDERS;
  }

  async function hasCountedAll(): Promise<void> {
    await eventually(async () => expect(await counted()).toBe(orders), 30_000);
  }

  it('flushes every commit to the disk, and listens on a socket in the data folder only', async () => {
    const settings = ['fsync', 'synchronous_commit', 'listen_addresses'];
    const values = await Promise.all(settings.map((name) => askPostgres(place.dataDir, `show ${name}`)));
    expect(values).toEqual(['on', 'on', '']);
    expect(service.home).toBe(join(place.dataDir, 'postgres'));
    expect(lstatSync(join(service.home, 'socket', '.s.PGSQL.5432')).isSocket()).toBe(true);
  });

  itUnless(noOtherUsers, 'lets no other user in', async () => {
    const connect = `require('net').connect(process.argv[1]).on('error', ({ code }) => console.log(code))`;
    const socket = join(service.home, 'socket', '.s.PGSQL.5432');
    const [file, ...args] = [...asNumber, process.execPath, '-e', connect, socket];
    expect(execFileSync(file, args, { encoding: 'utf8' })).toBe('EACCES\n');
  });

  it('is started again when it is killed, and has what it had committed', async () => {
    const { server } = service.postgres;
    await takesOrders();
    process.kill(server, 'SIGKILL');
    await hasCountedAll();
    expect(service.postgres.server).not.toBe(server);
  });

  it('is started again when its guard is killed, and has what it had committed', async () => {
    const { guard, server } = service.postgres;
    await takesOrders();
    process.kill(guard, 'SIGKILL');
    await hasCountedAll();
    await areGone([guard, server]);
  });

  it('goes on when its guard gets SIGTERM, as all processes of a unit do: that is for the service', async () => {
    const before = service.postgres;
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM']) process.kill(before.guard, signal);
    await takesOrders();
    await hasCountedAll();
    expect(service.postgres).toMatchObject({ guard: before.guard, server: before.server });
  });

  it('ends when the service is killed; the next service waits for that, and has what was committed', async () => {
    const { all } = service.postgres;
    await takesOrders();
    await service.kill('SIGKILL');
    service = await ready(EmbeddedService.begin(place));
    await areGone(all);
    await hasCountedAll();
  });

  it('ends when the service and its guard are killed', async () => {
    const { guard, all } = service.postgres;
    process.kill(guard, 'SIGKILL');
    await service.kill('SIGKILL');
    await areGone(all);
  });

  it('belongs to one of two services that begin at once; the other names it and ends', async () => {
    const both = [EmbeddedService.begin(place), EmbeddedService.begin(place)].map(tracked);
    await Promise.race(both.map(({ exited }) => exited));
    service = both.find(({ isRunning }) => isRunning)!;
    const line = await refusal(both.find((each) => each !== service)!);
    // By the first lines of the service, which the other may have met before it has written its pid.
    expect(line).toMatch(new RegExp(`is in use by another process \\(pid (${service.pid}|unknown)\\)`));
    await service.isReady();
  });

  it('does not mind that of another data folder, whose path is longer than the address of a socket', async () => {
    await comesUp({ dataDir: dataFolder(join('a-long-path'.repeat(10), 'data')) });
    expect((await service.get('/health/ready')).status).toBe(200);
  });

  it('writes its files and ends within 10 s of SIGTERM, also while the service is busy', async () => {
    const { all } = service.postgres;
    await takesOrders();
    const { code, tookMs } = await service.kill('SIGTERM');
    expect(code).toBe(0);
    expect(tookMs).toBeLessThan(SHUTDOWN_LIMIT_MS);
    await areGone(all);
    expect(readFileSync(join(service.home, 'postgres.log'), 'utf8')).toMatch(/database system is shut down\n$/);
  });
});

describe('A start succeeds', () => {
  it('after a kill at any moment of the first one, or of a later one', async () => {
    const dataDir = dataFolder('killed');
    // What is there, in this order, of the data being made and made, and of the server that begins and answers.
    for (const file of ['data.new/base/1', 'data/PG_VERSION', 'data/postmaster.pid', 'socket/.s.PGSQL.5432']) {
      const killed = tracked(PostgresAlone.begin({ dataDir }));
      await eventually(() => expect(existsSync(join(dataDir, 'postgres', file))).toBe(true));
      expect(await killed.kill('SIGKILL')).toMatchObject({ signal: 'SIGKILL' });
    }
    await comesUp({ dataDir });
    expect(readdirSync(join(dataDir, 'postgres')).sort()).toEqual(['data', 'postgres.log', 'socket']);
  });

  it('after everything was killed, whatever has the pid by now that PostgreSQL has left', async () => {
    const dataDir = dataFolder('killed');
    const pidFiles = ['data/postmaster.pid', 'socket/.s.PGSQL.5432.lock'].map((name) =>
      join(dataDir, 'postgres', name),
    );
    let running = await ready(PostgresAlone.begin({ dataDir }));
    for (const now of [(left: string) => left, () => String(process.pid), () => '']) {
      const { pid, postgres } = running;
      for (const each of [pid, ...postgres.all]) process.kill(each, 'SIGKILL');
      await areGone([pid, ...postgres.all]);
      for (const file of pidFiles) {
        const [left, ...rest] = readFileSync(file, 'utf8').split('\n');
        writeFileSync(file, [now(left!), ...rest].join('\n'));
      }
      running = await ready(PostgresAlone.begin({ dataDir }));
    }
  });

  itUnless(noInstalled, 'with an installed PostgreSQL where npm has none, and stays with its version', async () => {
    const dataDir = dataFolder('installed');
    await comesUp({ dataDir, build: builds.withoutPackage });
    const version = readFileSync(join(dataDir, 'postgres', 'data', 'PG_VERSION'), 'utf8').trim();
    expect(Number(version)).toBeGreaterThanOrEqual(15);
    await ready(PostgresAlone.begin({ dataDir }));
    expect(await askPostgres(dataDir, 'show server_version')).toMatch(new RegExp(`^${version}\\.`));
  });

  itUnless(noNamespaces, 'as root where the data folder is closed to others', async () => {
    const dataDir = join(dataFolder('closed', 0o700), 'data');
    mkdirSync(dataDir);
    expect(await comesUp({ dataDir })).toBe(join(dataDir, 'postgres'));
  });

  itUnless(noNamespaces, 'as a user without a name', async () => {
    await comesUp({ dataDir: dataFolder('number'), build: builds.whole, as: asNumber });
  });

  itUnless(noPackage, 'where node_modules is read-only', async () => {
    const dataDir = dataFolder('nobody');
    await comesUp({ dataDir, build: builds.ownPackage, as: asNobody });
    expect(existsSync(join(dataDir, 'postgres', 'programs'))).toBe(true);
  });

  itUnless(noPackage, 'as the root of a container, where node_modules is closed to others', async () => {
    const dataDir = dataFolder('container');
    chmodSync(join(builds.ownPackage, '..'), 0o700);
    expect(await comesUp({ dataDir, build: builds.ownPackage, as: asContainerRoot })).toBe(join(dataDir, 'postgres'));
  });
});

describe('Where root may make no user namespace and the data folder is closed to others', () => {
  const existed = existsSync(OUTSIDE_FOLDER);
  let place: Setup;
  let home = '';
  let identity: unknown;

  async function identityOf({ dataDir }: Setup): Promise<unknown> {
    return askPostgres(dataDir, 'select system_identifier from pg_control_system()');
  }

  afterAll(() => {
    if (home) rmSync(home, { recursive: true, force: true });
    if (!existed) rmSync(OUTSIDE_FOLDER, { recursive: true, force: true });
  });

  itUnless(noOtherUsers, 'the ledger is kept elsewhere, and the banner says where', async () => {
    place = { dataDir: join(dataFolder('closed', 0o700), 'moved'), as: asContainerRoot };
    const service = await ready(EmbeddedService.begin(place));
    ({ home } = service);
    expect(home).toMatch(new RegExp(`^${OUTSIDE_FOLDER}/[\\w-]+$`));
    expect(statSync(home).mode & 0o777).toBe(0o700);
    identity = await identityOf(place);
    await service.kill('SIGKILL');
  });

  itUnless(noOtherUsers, 'a later start finds it', async () => {
    const postgres = await ready(PostgresAlone.begin(place));
    expect([postgres.home, await identityOf(place)]).toEqual([home, identity]);
    await postgres.kill('SIGTERM');
  });

  itUnless(noOtherUsers, 'a start ends with one line where it is gone', async () => {
    renameSync(home, `${home}.away`);
    const line = await refusal(PostgresAlone.begin(place));
    expect(line).toMatch(new RegExp(`^The ledger of .+ was in ${home}, which is gone\\. .+ npm run reset\\.$`));
    renameSync(`${home}.away`, home);
  });

  itUnless(noOtherUsers, 'reset deletes it, and says so', async () => {
    const { dataDir } = place;
    const reset = tracked(Program.run('cli/reset.js', { DATA_DIR: dataDir }, ['--yes']));
    expect((await reset.exited).code).toBe(0);
    expect(reset.output).toContain(
      `This deletes the ledger, the queue and the statistics in ${dataDir} and ${home}.\n`,
    );
    expect([existsSync(home), readdirSync(dataDir)]).toEqual([false, ['owner.lock']]);
  });
});

describe('A start ends with one line', () => {
  const unused = (name: string): string => join(dataFolder('bad places'), name);

  it('where the data folder has a ledger of an earlier version, of which it changes nothing', async () => {
    const dataDir = dataFolder('old');
    mkdirSync(join(dataDir, 'ledger'));
    writeFileSync(join(dataDir, 'ledger', 'PG_VERSION'), '17\n');
    const listing = (): string => execFileSync('ls', ['-lAR', '--full-time', dataDir], { encoding: 'utf8' });
    const before = listing();
    const line = await refusal(EmbeddedService.begin({ dataDir }));
    expect(line).toMatch(/holds a ledger of an earlier development version, .+ DATA_DIR, .+ npm run reset\.$/);
    expect(listing()).toBe(before);
  });

  it('where the data are of a version of PostgreSQL that is not here', async () => {
    const dataDir = dataFolder('version 14');
    mkdirSync(join(dataDir, 'postgres', 'data'), { recursive: true });
    writeFileSync(join(dataDir, 'postgres', 'data', 'PG_VERSION'), '14\n');
    const line = await refusal(PostgresAlone.begin({ dataDir }));
    expect(line).toMatch(/are of PostgreSQL 14, and here is .+ Install PostgreSQL 14 to open them\.$/);
  });

  it.each([null, '', 'abc'])('where PG_VERSION is damaged (%j), and makes no other data instead', async (content) => {
    const dataDir = dataFolder('damaged');
    const data = join(dataDir, 'postgres', 'data');
    mkdirSync(data, { recursive: true });
    if (content !== null) writeFileSync(join(data, 'PG_VERSION'), content);
    const before = readdirSync(data);
    const line = await refusal(PostgresAlone.begin({ dataDir }));
    expect(line).toMatch(/data is damaged: its PG_VERSION names no version\. .+ npm run reset\.$/);
    expect(readdirSync(data)).toEqual(before);
  });

  itUnless(noMounts, 'where there is no PostgreSQL', async () => {
    const installed = '/usr/lib/postgresql';
    const as = existsSync(installed) ? onDisk('size=1m', installed) : [];
    const setup = { dataDir: unused('none'), build: builds.withoutPackage, as, environment: { PATH: '/usr/bin:/bin' } };
    const line = await refusal(EmbeddedService.begin(setup));
    expect(line).toMatch(/^npm has no PostgreSQL for .+ DATABASE_URL=postgres:/);
  });

  itUnless(noOtherUsers, 'where root can act as nobody else', async () => {
    const line = await refusal(PostgresAlone.begin({ dataDir: dataFolder('powerless'), as: asPowerlessRoot }));
    expect(line).toMatch(/^PostgreSQL does not run as root, .+ DATABASE_URL=postgres:/);
  });

  itUnless(noPermissions, 'where it may not use the data folder', async () => {
    const as = noOtherUsers === null ? asNobody : [];
    for (const mode of [0o555, 0o000]) {
      const dataDir = dataFolder(`mode ${mode}`, mode);
      const line = await refusal(EmbeddedService.begin({ dataDir, build: builds.whole, as }));
      expect(line).toMatch(/^The data folder .+ can't be used: EACCES: permission denied/);
    }
  });

  it('where the data folder is a file, or below one', async () => {
    writeFileSync(unused('file'), '');
    for (const [name, code] of Object.entries({ file: 'EEXIST', 'file/data': 'ENOTDIR' })) {
      const line = await refusal(EmbeddedService.begin({ dataDir: unused(name) }));
      expect(line).toMatch(new RegExp(`^The data folder .+ can't be used: ${code}: `));
    }
  });

  itUnless(noMounts, 'where the disk is read-only, or full', async () => {
    const dataDir = dataFolder('disk');
    const readOnly = EmbeddedService.begin({ dataDir, as: onDisk('ro', dataDir) });
    expect(await refusal(readOnly)).toMatch(/^The data folder .+ can't be used: EROFS: read-only file system/);
    const full = PostgresAlone.begin({ dataDir, as: onDisk('size=24m', dataDir) });
    expect(await refusal(full)).toMatch(/initdb failed: .+No space left on device/);
  });
});
