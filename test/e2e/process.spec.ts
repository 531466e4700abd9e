import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { aWorld, type World } from '../support/app.js';
import {
  aBreakableLedger,
  aBreakableQueue,
  aBreakableRedis,
  type PartBehindNetwork,
} from '../support/breakable-parts.js';
import { eventually } from '../support/eventually.js';
import { hasRedisServer } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';
import { parts } from '../support/parts.js';
import { Program, searchPath, ServiceProcess } from '../support/process.js';

let folder: string;
const programs: Program[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-process-'));
  chmodSync(folder, 0o755);
});

afterAll(async () => {
  for (const program of programs) await program.end();
  rmSync(folder, { recursive: true, force: true });
});

function tracked<P extends Program>(program: P): P {
  programs.push(program);
  return program;
}

/** What a process needs to know that is on its own, with the embedded parts. @param name of its data folder */
function alone(name: string, environment: Record<string, string> = {}): Record<string, string> {
  const DATA_DIR = join(folder, name);
  mkdirSync(DATA_DIR, { recursive: true });
  return {
    PATH: searchPath,
    LOG_LEVEL: 'fatal',
    PORT: '0',
    EMBEDDED_SQS_PORT: '0',
    DEMO_DATA: 'off',
    DATA_DIR,
    ...environment,
  };
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

describe('A service on its own', () => {
  let environment: Record<string, string>;
  let service: ServiceProcess;

  beforeAll(async () => {
    environment = alone('own', { DEMO_DATA: 'on', CURRENCY: 'EUR' });
    service = tracked(await ServiceProcess.ready({ environment } as World));
  });

  afterAll(() => service.end());

  const portOf = (url: string): number => Number(new URL(url).port);

  it('has said where Swagger, its parts and its data are', () => {
    const { DATA_DIR } = environment;
    expect(service.output).toContain(`  API      http://localhost:${portOf(service.url)}/docs\n`);
    expect(service.output).toMatch(/ {2}Queue +http:\/\/127\.0\.0\.1:\d+ +orders-queue +\(embedded, kept in .+\)\n/);
    expect(service.output).toContain(`(embedded, kept in ${DATA_DIR})\n`);
    expect(service.output).toContain(`  Ledger   embedded PostgreSQL in ${join(DATA_DIR!, 'postgres')}\n`);
    expect(service.output).toMatch(
      hasRedisServer
        ? / {2}Redis +embedded (redis|valkey)-server, private to this service\n/
        : / {2}Redis +in memory: fine up to a few thousand users; install/,
    );
  });

  it('has said how to order something of its demo data', async () => {
    const order =
      /curl -X POST http:\/\/localhost:\d+(\/api\/v1\/orders) -H "Idempotency-Key: \S+" -H '.+' -d '(.+)'\n/;
    const [, path, body] = await service.says(order);
    expect(JSON.parse(body!)).toEqual({
      currency: 'EUR',
      items: [{ sku: 'A123', quantity: 1 }],
      shipping_address: '1 Main Street',
      payment_method: 'TEST-OK',
    });
    const answer = await service.call('POST', path!, JSON.parse(body!), { 'idempotency-key': 'try-1' });
    expect([answer.status, answer.body]).toEqual([202, expect.objectContaining({ status: 'accepted' })]);
    await hasCounted(service, 1);
  });

  it.each(['other', 'the same'])(
    'lets no second process on its data folder, with %s ports: that exits with code 1 at once, naming its pid',
    async (ports) => {
      const own = { PORT: String(portOf(service.url)), EMBEDDED_SQS_PORT: String(portOf(queueOf(service))) };
      const witness = join(folder, 'loads-no-nest.cjs');
      writeFileSync(
        witness,
        `const Module = require('node:module');
         const load = Module._load;
         Module._load = function (name, ...rest) {
           if (name.startsWith('@nestjs/')) process.stderr.write(name + ' was loaded\\n');
           return load.call(this, name, ...rest);
         };`,
      );
      const second = tracked(
        ServiceProcess.launch({
          environment: {
            ...environment,
            NODE_OPTIONS: `--require=${witness}`,
            ...(ports === 'the same' && own),
          },
        }),
      );
      expect((await second.exited).code).toBe(1);
      expect(second.output).toBe(
        `The data folder ${environment.DATA_DIR} is in use by another process (pid ${service.pid}). ` +
          'Stop that one first, or start this one with another DATA_DIR and other ports.\n',
      );
      expect((await service.get('/health/ready')).status).toBe(200);
    },
  );

  it('lets no other on its ports: those say what to do and exit with 1', async () => {
    const [port, queuePort] = [portOf(service.url), portOf(queueOf(service))];
    const others = [
      alone('other', { PORT: String(port) }),
      alone('third', { EMBEDDED_SQS_PORT: String(queuePort) }),
    ].map((environment) => tracked(ServiceProcess.launch({ environment })));
    expect(await Promise.all(others.map(({ exited }) => exited))).toMatchObject([{ code: 1 }, { code: 1 }]);
    expect(others.map(({ output }) => output)).toEqual([
      `Port ${port} is taken. Stop what uses it, or choose another one: PORT=${port + 1} npm start\n`,
      `Port ${queuePort}, meant for the embedded SQS, is taken. Stop what uses it, choose another one ` +
        `(EMBEDDED_SQS_PORT=${queuePort + 1} npm start), or use that queue (SQS_ENDPOINT=http://127.0.0.1:${queuePort} npm start).\n`,
    ]);
  });

  it('is reset by nobody while it runs', async () => {
    const reset = tracked(Program.run('cli/reset.js', environment, ['--yes']));
    expect((await reset.exited).code).toBe(1);
    expect(reset.output).toContain(`in use by another process (pid ${service.pid})`);
    expect(existsSync(join(environment.DATA_DIR!, 'queue'))).toBe(true);
    expect((await service.get('/health/ready')).status).toBe(200);
  });

  it('takes the servers that it has started along when it is killed', async () => {
    const children = descendantsOf(service.pid);
    if (hasRedisServer) {
      expect(children.map(({ command }) => command)).toContainEqual(expect.stringMatching(/(redis|valkey)-server/));
    }
    await service.kill('SIGKILL');
    await eventually(() => {
      const alive = processes().filter(({ pid }) => children.some((child) => child.pid === pid));
      expect(alive).toEqual([]);
    });
  });

  it('begins empty after a reset, which asks nothing with --yes', async () => {
    const reset = tracked(Program.run('cli/reset.js', environment, ['--yes']));
    expect((await reset.exited).code).toBe(0);
    expect(reset.output).not.toContain('Type yes');
    service = tracked(await ServiceProcess.ready({ environment } as World));
    await hasCounted(service, 0);
    expect((await service.get('/order-events')).body.items).toEqual([]);
  });
});

describe('A process that can’t start', () => {
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
    const pretence = join(folder, `node-${version}.cjs`);
    writeFileSync(pretence, `Object.defineProperty(process, 'versions', { value: { node: '${version}' } });`);
    const service = tracked(Program.run('main.js', { NODE_OPTIONS: `--require=${pretence}`, PORT: 'ninety' }));
    expect((await service.exited).code).toBe(1);
    expect(service.output).toMatch(says);
  });
});

describe('The service', () => {
  let world: World;
  let queue: PartBehindNetwork & { direct: string };
  let others: PartBehindNetwork[];
  let environment: Record<string, string>;
  /** One that runs in this environment. */
  let running: ServiceProcess | null = null;

  beforeAll(async () => {
    // A statement that hangs is to outlast the shutdown.
    world = await aWorld({ SQS_VISIBILITY_TIMEOUT: '15', SQS_POLLERS: '1', LOG_LEVEL: 'fatal' });
    queue = await aBreakableQueue();
    others = [await aBreakableLedger(world)];
    if (URL.canParse(parts.redisUrl)) others.push(await aBreakableRedis(world));
    environment = Object.assign({}, ...[queue, ...others].map((part) => part.environment)) as Record<string, string>;
  });

  afterAll(async () => {
    await running?.end();
    for (const part of [queue, ...others]) await part.remove();
    await world.destroy();
  });

  async function ready(): Promise<ServiceProcess> {
    running ??= tracked(await ServiceProcess.ready(world, environment));
    return running;
  }

  const ordersOf = async (service: ServiceProcess): Promise<number> =>
    (await service.get('/stats/global')).body.total_orders as number;

  /** From now on the queue hands out orders that were not deleted again after 2 s, whatever the service asks for. */
  async function forgetSooner(): Promise<void> {
    await new Promise<void>((nextReceive) => {
      queue.network.watch = ({ bytes, pass }) => {
        const at = bytes.indexOf('"VisibilityTimeout":15');
        if (at >= 0 && bytes.includes(`${world.environment.SQS_QUEUE_NAME}"`)) {
          bytes.write('"VisibilityTimeout": 2', at);
          nextReceive();
        }
        pass();
        return Promise.resolve();
      };
    });
  }

  it('loses and repeats nothing on SIGTERM under load, answers what it has received, and ends its streams', async () => {
    const service = await ready();
    const stream = streamOf(await fetch(`${service.url}/consumer_logs/stream`));
    const requests = Array.from({ length: 3 }, () => service.call('POST', '/produce', { count: 600, invalid_rate: 0 }));
    await eventually(async () => expect(await accepted(service)).toBeGreaterThan(100));
    await eventually(() => expect(stream.text()).toContain('data: {'));

    running = null;
    const ended = service.kill('SIGTERM');
    const states = await readinessUntilGone(service);
    for (const { status, body } of await Promise.all(requests)) {
      expect(status).toBe(200);
      expect(body.orders).toHaveLength(600);
    }
    await stream.ended; // and not broken off
    const { code } = await ended;
    expect([code, service.output.split('{').length - 1]).toEqual([0, 0]); // nothing in the log
    expect(states).toContain('503 shutting down');

    const next = await ready();
    await hasCounted(next, 1_800);
    expect(await next.metric('orders_processed_total{outcome="duplicate"}')).toBe(0);
  });

  it('keeps every order through kill -9, and counts none twice', async () => {
    const first = await ready();
    const [before, acceptedBefore] = [await ordersOf(first), await accepted(first)];
    await forgetSooner();
    const sending = first.send(someOrders(1_000));
    await eventually(async () => expect(await accepted(first)).toBeGreaterThan(acceptedBefore + 50));
    running = null;
    expect(await first.kill('SIGKILL')).toMatchObject({ signal: 'SIGKILL' });
    await sending;
    const second = await ready();
    await hasCounted(second, before + 1_000);
    expect(await accepted(second)).toBeGreaterThan(0);
  });

  it('ends on SIGTERM with code 0 while every part hangs, and what it had in hand is counted later', async () => {
    const service = await ready();
    const [before, acceptedBefore] = [await ordersOf(service), await accepted(service)];
    await forgetSooner();
    const sending = service.send(someOrders(400));
    await eventually(async () => expect(await accepted(service)).toBeGreaterThan(acceptedBefore + 50));
    await sending;
    await service.send(someOrders(100));
    for (const { network } of [queue, ...others]) network.stall();
    running = null;
    expect(await service.kill('SIGTERM')).toMatchObject({ code: 0 });

    const next = tracked(await ServiceProcess.ready(world, { SQS_ENDPOINT: queue.direct }));
    await hasCounted(next, before + 500);
    await next.end();
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
    const environment = alone('without parts', {
      DATABASE_URL: `postgres://nobody@127.0.0.1:${port}/nothing`,
      REDIS_URL: `redis://127.0.0.1:${port}`,
      SQS_ENDPOINT: `http://127.0.0.1:${port}`,
      LOG_LEVEL: 'info',
    });
    service = tracked(await ServiceProcess.start({ environment } as World));
  });

  afterAll(() => {
    for (const socket of calls) socket.destroy();
    listener.close();
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
    const names = ['PostgreSQL', 'Redis', ...queues];
    for (const name of names) {
      await service.says(new RegExp(`"${name} can't be used yet: [^"]+; waiting for it"`));
    }
    const { size } = calls;
    await eventually(() => expect(calls.size).toBeGreaterThan(size));
    expect(service.output.match(/; waiting for it"/g)).toHaveLength(names.length);
  });

  it('ends on SIGTERM with code 0', async () => {
    expect(await service.kill('SIGTERM')).toMatchObject({ code: 0 });
  });
});

describe('reset', () => {
  const folders = ['ledger', 'postgres', 'queue', 'redis'];
  let kept = 0;

  /** A data folder in which something is kept. */
  function someData(): Record<string, string> {
    const environment = alone(`kept ${kept++}`);
    for (const name of folders) mkdirSync(join(environment.DATA_DIR!, name));
    writeFileSync(join(environment.DATA_DIR!, 'notes.txt'), 'not ours');
    return environment;
  }

  const left = ({ DATA_DIR }: Record<string, string>): string[] =>
    folders.filter((name) => existsSync(join(DATA_DIR!, name)));

  it.each(['no', '', 'yess'])('deletes nothing where the answer is "%s"', async (answer) => {
    const environment = someData();
    const reset = tracked(Program.run('cli/reset.js', environment));
    await reset.says(`This deletes the ledger, the queue and the statistics in ${environment.DATA_DIR}.`);
    await reset.says('Delete it? Type yes:');
    reset.type(answer);
    expect((await reset.exited).code).toBe(1);
    expect(reset.output).toContain('Nothing was deleted.');
    expect(left(environment)).toEqual(folders);
  });

  it('deletes nothing, and says so, where nobody can answer', async () => {
    const environment = someData();
    const reset = tracked(Program.run('cli/reset.js', environment));
    reset.child.stdin!.end();
    expect((await reset.exited).code).toBe(1);
    expect(reset.output).toContain('Nothing was deleted.');
    expect(left(environment)).toEqual(folders);
  });

  it('deletes what the embedded parts keep and nothing else where the answer is yes', async () => {
    const environment = someData();
    const DATABASE_URL = 'postgres://nobody@127.0.0.1:9/nothing';
    const reset = tracked(Program.run('cli/reset.js', { ...environment, DATABASE_URL }));
    reset.type('yes');
    expect((await reset.exited).code).toBe(0);
    expect(reset.output).toContain('Deleted. The next npm start begins empty.');
    expect(reset.output).toContain('What DATABASE_URL point to was not touched.');
    expect(left(environment)).toEqual([]);
    expect(existsSync(join(environment.DATA_DIR!, 'notes.txt'))).toBe(true);
  });

  it('says that there is nothing to delete', async () => {
    const environment = alone('nothing kept');
    const reset = tracked(Program.run('cli/reset.js', environment));
    expect((await reset.exited).code).toBe(0);
    expect(reset.output).toBe(`Nothing to delete in ${environment.DATA_DIR}.\n`);
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
  });
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
