import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { aWorld, type World } from '../support/app.js';
import {
  aBreakableQueue,
  aBreakableRedis,
  aBreakableLedger,
  type PartBehindNetwork,
} from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { itWithRedis } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';
import { onServer, parts } from '../support/parts.js';
import { Program, ServiceProcess } from '../support/process.js';

const SHUTDOWN_LIMIT_MS = 10_000;

let worlds: World[] = [];
let programs: Program[] = [];
let hanging: PartBehindNetwork[] = [];

async function world(overrides: Record<string, string> = {}): Promise<World> {
  const made = await aWorld(overrides);
  worlds.push(made);
  return made;
}

function tracked<P extends Program>(program: P): P {
  programs.push(program);
  return program;
}

async function cleanUp(): Promise<void> {
  for (const program of programs) await program.end();
  for (const part of hanging) await part.remove();
  for (const each of worlds) await each.destroy();
  programs = [];
  hanging = [];
  worlds = [];
}

/** Waits until the figures have so many orders, and expects them to be each worth 10.00 and none failed. */
async function hasCounted(service: ServiceProcess, orders: number): Promise<void> {
  await eventually(async () => {
    const { body } = await service.get('/stats/global');
    expect(body).toMatchObject({ total_orders: orders, failed_orders: 0 });
  }, 30_000);
}

async function accepted(service: ServiceProcess): Promise<number> {
  return service.metric('orders_processed_total{outcome="accepted"}');
}

function someOrders(count: number): object[] {
  return Array.from({ length: count }, () => anOrderEvent());
}

describe('While the service runs', () => {
  let first: ServiceProcess;
  let home: World;

  beforeAll(async () => {
    home = await world();
    first = tracked(await ServiceProcess.ready(home));
  });

  afterAll(cleanUp);

  it('has said where Swagger and the queue are, what is embedded and its limits, and two commands to try', () => {
    const port = first.url.split(':').at(-1)!;
    expect(first.output).toContain(`http://localhost:${port}/docs\n`);
    expect(first.output).toMatch(/Queue +http:\/\/127\.0\.0\.1:\d+ +orders-queue +\(embedded, kept in .+\)\n/);
    expect(first.output).toMatch(
      onServer
        ? /Ledger +PostgreSQL at \S+\n/
        : /Ledger +embedded PostgreSQL in .+: survives kill -9; a power cut may cost the last moments\n/,
    );
    const redis = {
      embedded: /Redis +(embedded \w+-server, private|in memory: fine up to a few thousand users; install)/,
      memory: /Redis +in memory: fine up to a few thousand users; set REDIS_URL for more\n/,
    }[parts.redisUrl];
    expect(first.output).toMatch(redis ?? /Redis +at \S+\n/);
    expect(first.output).toContain(`curl -X POST http://localhost:${port}/produce\n`);
    expect(first.output).toContain(`curl http://localhost:${port}/stats/global\n`);
    expect(first.output).not.toContain(`curl -X POST http://localhost:${port}/api/v1/orders`);
  });

  it.each(['other', 'the same'])(
    'a second process on its data folder and %s ports exits within 2 s with code 1, naming its pid',
    async (ports) => {
      const own = { PORT: first.url.split(':').at(-1)!, EMBEDDED_SQS_PORT: new URL(queueOf(first)).port };
      const second = tracked(ServiceProcess.launch(home, ports === 'other' ? {} : own));
      const { code } = await second.exited;
      expect(performance.now() - second.startedAt).toBeLessThan(2_000);
      expect(code).toBe(1);
      expect(second.output).toBe(
        `The data folder ${home.dataDir} is in use by another process (pid ${first.pid}). ` +
          'Stop that one first, or start this one with another DATA_DIR and other ports.\n',
      );
      expect((await first.get('/health/ready')).status).toBe(200);
    },
  );

  it('one on another data folder but its HTTP port says what to do and exits with 1', async () => {
    const port = Number(new URL(first.url).port);
    const other = tracked(ServiceProcess.launch(await world(), { PORT: String(port) }));
    expect((await other.exited).code).toBe(1);
    expect(other.output).toBe(
      `Port ${port} is taken. Stop what uses it, or choose another one: PORT=${port + 1} npm start\n`,
    );
  });

  it('one on another data folder but the port of its queue says what to do and exits with 1', async () => {
    const port = Number(new URL(queueOf(first)).port);
    const other = tracked(ServiceProcess.launch(await world(), { EMBEDDED_SQS_PORT: String(port) }));
    expect((await other.exited).code).toBe(1);
    expect(other.output).toBe(
      `Port ${port}, meant for the embedded SQS, is taken. Stop what uses it, choose another one ` +
        `(EMBEDDED_SQS_PORT=${port + 1} npm start), or use that queue (SQS_ENDPOINT=http://127.0.0.1:${port} npm start).\n`,
    );
  });

  it('reset refuses and names its pid', async () => {
    const reset = tracked(Program.run('cli/reset.js', home.environment, ['--yes']));
    expect((await reset.exited).code).toBe(1);
    expect(reset.output).toContain(`in use by another process (pid ${first.pid})`);
    expect(existsSync(join(home.dataDir, 'queue'))).toBe(true);
    expect((await first.get('/health/ready')).status).toBe(200);
  });
});

describe('The service', () => {
  afterEach(cleanUp);

  it('says how to order something where there is demo data', async () => {
    const service = tracked(await ServiceProcess.start(await world({ DEMO_DATA: 'on', CURRENCY: 'EUR' })));
    const order = /curl -X POST http:\/\/localhost:\d+\/api\/v1\/orders .*-H "Idempotency-Key: \S+" .*-d '(.+)'\n/;
    const [, body] = await service.says(order);
    expect(JSON.parse(body!)).toEqual({
      currency: 'EUR',
      items: [{ sku: 'A123', quantity: 1 }],
      shipping_address: '1 Main Street',
      payment_method: 'TEST-OK',
    });
  });

  it('names every problem of its configuration and exits with 1', async () => {
    const environment = { PORT: 'ninety', HOST: 'shop.example', CURRENCY: 'JPY', SQS_ENDPOINT: 'somewhere' };
    const service = tracked(ServiceProcess.launch({ environment: {} }, environment));
    expect((await service.exited).code).toBe(1);
    expect(service.output).toContain('The configuration has 4 problems:\n');
    for (const name of Object.keys(environment)) expect(service.output).toMatch(new RegExp(`^ {2}- ${name} `, 'm'));
    expect(service.output.trim().split('\n')).toHaveLength(5);
  });

  it.each([
    ['20.19.5', /^Node 22\.13 or later is needed, this is 20\.19\.5: start with npm start, .*\n$/],
    ['22.12.0', /^Node 22\.13 or later is needed, this is 22\.12\.0: .*\n$/],
    ['22.13.0', /^The configuration has a problem:\n/],
  ])('says in one line whether Node is too old: %s', async (version, says) => {
    const { dataDir } = await world();
    const pretence = join(dataDir, 'older-node.cjs');
    writeFileSync(pretence, `Object.defineProperty(process, 'versions', { value: { node: '${version}' } });`);
    const service = tracked(Program.run('main.js', { NODE_OPTIONS: `--require=${pretence}`, PORT: 'ninety' }));
    expect((await service.exited).code).toBe(1);
    expect(service.output).toMatch(says);
  });

  it('keeps every order through kill -9, counts none twice, and leaves its data folder free', async () => {
    const home = await world({ SQS_VISIBILITY_TIMEOUT: '5' });
    // Few at a time, so that it dies with much in hand.
    const slowly = { SQS_MAX_NUMBER_OF_MESSAGES: '1', SQS_POLLERS: '2' };
    const first = tracked(await ServiceProcess.ready(home, slowly));
    await first.send(someOrders(400));
    await eventually(async () => expect(await accepted(first)).toBeGreaterThan(50));
    expect(await first.kill('SIGKILL')).toMatchObject({ signal: 'SIGKILL' });
    const second = tracked(await ServiceProcess.ready(home));
    await hasCounted(second, 400);
    expect((await second.get('/stats/global')).body.total_revenue).toBe(4_000);
    expect(await accepted(second)).toBeGreaterThan(0);
  });

  itWithRedis('takes its private Redis server along when it is killed', async () => {
    const service = tracked(await ServiceProcess.start(await world()));
    const children = descendantsOf(service.pid);
    expect(children.some(({ command }) => /(redis|valkey)-server/.test(command))).toBe(true);
    await service.kill('SIGKILL');
    await eventually(() => {
      const alive = processes().filter(({ pid }) => children.some((child) => child.pid === pid));
      expect(alive).toEqual([]);
    }, 5_000);
  });

  it('loses and repeats nothing on SIGTERM under load, answers what it has received, and ends its streams', async () => {
    const home = await world();
    const service = tracked(await ServiceProcess.ready(home, { LOG_LEVEL: 'fatal' }));
    const stream = streamOf(await fetch(`${service.url}/consumer_logs/stream`));
    const requests = Array.from({ length: 3 }, () => service.call('POST', '/produce', { count: 600, invalid_rate: 0 }));
    await eventually(async () => expect(await accepted(service)).toBeGreaterThan(100));
    await eventually(() => expect(stream.text()).toContain('data: {'));

    const ended = service.kill('SIGTERM');
    const states = await readinessUntilGone(service);
    for (const { status, body } of await Promise.all(requests)) {
      expect(status).toBe(200);
      expect(body.orders).toHaveLength(600);
    }
    await stream.ended; // and not broken off
    const { code, tookMs } = await ended;
    expect([code, service.output.split('{').length - 1]).toEqual([0, 0]); // nothing in the log
    expect(tookMs).toBeLessThan(SHUTDOWN_LIMIT_MS);
    expect(states).toContain('503 shutting down');

    const next = tracked(await ServiceProcess.ready(home));
    await eventually(async () => {
      expect((await next.get('/stats/global')).body).toMatchObject({ total_orders: 1_800, failed_orders: 0 });
    }, 30_000);
    expect(await next.metric('orders_processed_total{outcome="duplicate"}')).toBe(0);
  });

  it('ends on SIGTERM with code 0 within 10 s while every part hangs, and what it had in hand is counted later', async () => {
    // Long enough for a statement that hangs to outlast the shutdown.
    const home = await world({ SQS_VISIBILITY_TIMEOUT: '15' });
    const queue = await aBreakableQueue();
    hanging = [queue, await aBreakableLedger(home)];
    if (URL.canParse(parts.redisUrl)) hanging.push(await aBreakableRedis(home));
    const environment = Object.assign({}, ...hanging.map((part) => part.environment)) as Record<string, string>;
    const service = tracked(await ServiceProcess.ready(home, environment));
    const sending = service.send(someOrders(400));
    await eventually(async () => expect(await accepted(service)).toBeGreaterThan(50));
    await sending;
    await service.send(someOrders(100));
    for (const { network } of hanging) network.stall();
    const { code, tookMs } = await service.kill('SIGTERM');
    expect(code).toBe(0);
    expect(tookMs).toBeLessThan(SHUTDOWN_LIMIT_MS);

    const next = tracked(await ServiceProcess.ready(home, { SQS_ENDPOINT: queue.direct }));
    await hasCounted(next, 500);
  });
});

describe.each([
  ['hangs up', (socket: Socket): void => void socket.destroy()],
  ['never answers', (socket: Socket): void => void socket.on('error', () => undefined)],
])('Where every part %s, the service', (_how, treat) => {
  const calls = new Set<Socket>();
  let listener: Server;
  let service: ServiceProcess;

  beforeAll(async () => {
    listener = createServer((socket) => {
      calls.add(socket);
      treat(socket);
    });
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const { port } = listener.address() as AddressInfo;
    service = tracked(
      await ServiceProcess.start(await world(), {
        DATABASE_URL: `postgres://nobody@127.0.0.1:${port}/nothing`,
        REDIS_URL: `redis://127.0.0.1:${port}`,
        SQS_ENDPOINT: `http://127.0.0.1:${port}`,
        LOG_LEVEL: 'info',
      }),
    );
  });

  afterAll(async () => {
    for (const socket of calls) socket.destroy();
    listener.close();
    await cleanUp();
  });

  it('answers over HTTP, is alive, and names each as the reason why it is not ready', async () => {
    expect((await service.get('/health/live')).status).toBe(200);
    const { status, body } = await service.get('/health/ready');
    expect([status, body.code]).toEqual([503, 'not_ready']);
    const queues = ['inventory_queue', 'payment_queue', 'queue', 'shipment_queue'];
    expect(Object.keys(body.error).sort()).toEqual([...queues, 'ledger', 'redis', 'statistics'].sort());
    const stats = await service.get('/stats/global');
    expect([stats.status, stats.body.code]).toEqual([
      503,
      expect.stringMatching(/^(redis_unavailable|stats_rebuilding)$/),
    ]);
  });

  it('says so once for each, however often it tries', async () => {
    const queues = ['inventory', 'orders', 'payment', 'shipment'].map((name) => `the queue ${name}-queue`);
    const parts = ['PostgreSQL', 'Redis', ...queues];
    for (const part of parts) {
      await service.says(new RegExp(`"${part} can't be used yet: [^"]+; waiting for it"`));
    }
    const { size } = calls;
    await eventually(() => expect(calls.size).toBeGreaterThan(size));
    expect(service.output.match(/; waiting for it"/g)).toHaveLength(parts.length);
  });

  it('ends on SIGTERM with code 0 within 10 s', async () => {
    const { code, tookMs } = await service.kill('SIGTERM');
    expect(code).toBe(0);
    expect(tookMs).toBeLessThan(SHUTDOWN_LIMIT_MS);
  });
});

describe('reset', () => {
  afterEach(cleanUp);

  const folders = ['ledger', 'queue', 'redis'];

  async function aKeptWorld(): Promise<World> {
    const home = await world();
    for (const folder of folders) mkdirSync(join(home.dataDir, folder), { recursive: true });
    writeFileSync(join(home.dataDir, 'notes.txt'), 'not ours');
    return home;
  }

  const kept = ({ dataDir }: World): string[] => folders.filter((folder) => existsSync(join(dataDir, folder)));

  it.each(['no', '', 'yess'])('deletes nothing where the answer is "%s"', async (answer) => {
    const home = await aKeptWorld();
    const reset = tracked(Program.run('cli/reset.js', home.environment));
    await reset.says(`This deletes the ledger, the queue and the statistics in ${home.dataDir}.`);
    await reset.says('Delete it? Type yes:');
    reset.type(answer);
    expect((await reset.exited).code).toBe(1);
    expect(reset.output).toContain('Nothing was deleted.');
    expect(kept(home)).toEqual(folders);
  });

  it('deletes nothing, and says so, where nobody can answer', async () => {
    const home = await aKeptWorld();
    const reset = tracked(Program.run('cli/reset.js', home.environment));
    reset.child.stdin!.end();
    expect((await reset.exited).code).toBe(1);
    expect(reset.output).toContain('Nothing was deleted.');
    expect(kept(home)).toEqual(folders);
  });

  it('deletes what the embedded parts keep and nothing else where the answer is yes', async () => {
    const home = await aKeptWorld();
    const reset = tracked(Program.run('cli/reset.js', home.environment));
    reset.type('yes');
    expect((await reset.exited).code).toBe(0);
    expect(reset.output).toContain('Deleted. The next npm start begins empty.');
    expect(kept(home)).toEqual([]);
    expect(existsSync(join(home.dataDir, 'notes.txt'))).toBe(true);
    expect(reset.output.includes('DATABASE_URL')).toBe(onServer);
  });

  it('asks nothing with --yes, and the next start is empty', async () => {
    const home = await world();
    const before = tracked(await ServiceProcess.ready(home));
    await before.send(someOrders(20));
    await hasCounted(before, 20);
    expect((await before.kill('SIGTERM')).code).toBe(0);

    const reset = tracked(Program.run('cli/reset.js', home.environment, ['--yes']));
    expect((await reset.exited).code).toBe(0);
    expect(reset.output).not.toContain('Type yes');
    const after = tracked(await ServiceProcess.ready(home));
    // A ledger on a server is not ours to empty.
    await hasCounted(after, onServer ? 20 : 0);
  });

  it('says that there is nothing to delete', async () => {
    const { dataDir, environment } = await world();
    rmSync(join(dataDir, 'ledger'), { recursive: true, force: true });
    const reset = tracked(Program.run('cli/reset.js', environment));
    expect((await reset.exited).code).toBe(0);
    expect(reset.output).toBe(`Nothing to delete in ${dataDir}.\n`);
  });
});

function queueOf(service: ServiceProcess): string {
  return /Queue +(http:\S+)/.exec(service.output)![1]!;
}

/** A response as it comes in; `ended` rejects where it breaks off. */
function streamOf(response: Response): { text(): string; ended: Promise<void> } {
  let text = '';
  const read = async (): Promise<void> => {
    for await (const bytes of response.body!) text += Buffer.from(bytes).toString();
  };
  return { text: () => text, ended: read() };
}

/** What `/health/ready` says until nobody answers any more. */
async function readinessUntilGone(service: ServiceProcess): Promise<Set<string>> {
  const states = new Set<string>();
  await eventually(async () => {
    const answer = await service.get('/health/ready').catch(() => null);
    if (answer) states.add(`${answer.status} ${answer.body.error?.process?.reason ?? ''}`.trim());
    expect(answer).toBeNull();
  }, SHUTDOWN_LIMIT_MS);
  return states;
}

interface ListedProcess {
  pid: number;
  parent: number;
  command: string;
}

/** All processes that are not dead and merely waited for. */
function processes(): ListedProcess[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,stat=,command='], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const [, pid, parent, state, command] = /^ *(\d+) +(\d+) +(\S+) +(.*)$/.exec(line) ?? [];
    return pid && !state!.startsWith('Z') ? [{ pid: Number(pid), parent: Number(parent), command: command! }] : [];
  });
}

function descendantsOf(pid: number): ListedProcess[] {
  const all = processes();
  const below = (parent: number): ListedProcess[] =>
    all.filter((each) => each.parent === parent).flatMap((child) => [child, ...below(child.pid)]);
  return below(pid);
}
