import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { CreateQueueCommand, PurgeQueueCommand, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { run as bulkOrders } from '../../src/cli/bulk-orders.js';
import type { Command } from '../../src/cli/command.js';
import { run as populate } from '../../src/cli/populate.js';
import { run as rebuild } from '../../src/cli/rebuild.js';
import { run as seed } from '../../src/cli/seed.js';
import { run as sendOrder } from '../../src/cli/send-order.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { parts } from '../support/parts.js';

const SAMPLE = join(__dirname, '../../sample/online-retail-sample.jsonl');

const QUEUE = `orders-${randomBytes(6).toString('hex')}`;
const ENVIRONMENT = { SQS_ENDPOINT: parts.sqsEndpoint, SQS_QUEUE_NAME: QUEUE };

let sqs: SQSClient;
let folder: string;

beforeAll(async () => {
  sqs = createSqsClient({ sqsEndpoint: parts.sqsEndpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
  await sqs.send(new CreateQueueCommand({ QueueName: QUEUE }));
  folder = mkdtempSync(join(tmpdir(), 'commands-'));
});

afterAll(() => {
  rmSync(folder, { recursive: true });
  sqs.destroy();
});

afterEach(async () => void (await sentBodies()));

interface Ran {
  exitCode: number;
  out: string;
  err: string;
}

async function ran(
  command: Command,
  argv: string[],
  environment: NodeJS.ProcessEnv = ENVIRONMENT,
  isTTY = false,
): Promise<Ran> {
  const out = new PassThrough();
  const err = Object.assign(new PassThrough(), { isTTY, columns: 100 });
  const exitCode = await command(argv, { out, err, environment });
  return { exitCode, out: String(out.read() ?? ''), err: String(err.read() ?? '') };
}

/** The bodies on the queue, which is empty afterwards. */
async function sentBodies(): Promise<string[]> {
  const bodies: string[] = [];
  while (true) {
    const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl: QUEUE, MaxNumberOfMessages: 10 }));
    if (!Messages?.length) break;
    bodies.push(...Messages.map(({ Body }) => Body!));
  }
  if (bodies.length > 0) await sqs.send(new PurgeQueueCommand({ QueueUrl: QUEUE }));
  return bodies.sort();
}

async function sentOrder(): Promise<Record<string, unknown>> {
  const [body, ...others] = await sentBodies();
  expect(others).toEqual([]);
  return JSON.parse(body!) as Record<string, unknown>;
}

function fileOf(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describe('send-order', () => {
  it('sends a valid sample order and says where to look', async () => {
    const { exitCode, out, err } = await ran(sendOrder, []);
    const order = await sentOrder();
    expect([exitCode, err]).toEqual([0, '']);
    expect(order).toMatchObject({ order_id: expect.stringMatching(/^ORD-/), user_id: expect.stringMatching(/^U\d/) });
    expect(out).toMatch(new RegExp(`^Sent ${String(order.order_id)} as message [0-9a-f-]{36}\n`));
    expect(out).toContain(`See http://127.0.0.1:9000/order-events?order_id=${String(order.order_id)}\n`);
  });

  it('changes the sample as it is told', async () => {
    await ran(sendOrder, ['--user', 'U7', '--value', '12.50', '--id', 'ORD-A', '--time', '2026-01-31T12:00:00Z']);
    expect(await sentOrder()).toMatchObject({
      order_id: 'ORD-A',
      user_id: 'U7',
      order_timestamp: '2026-01-31T12:00:00Z',
      order_value: 12.5,
      items: [{ quantity: 1, price_per_unit: 12.5 }],
    });
  });

  it('adds up the items it is given', async () => {
    await ran(sendOrder, ['--item', 'P1:3:0.10', '--item', 'P:2:1:0.30']);
    expect(await sentOrder()).toMatchObject({
      order_value: 0.6,
      items: [
        { product_id: 'P1', quantity: 3, price_per_unit: 0.1 },
        { product_id: 'P:2', quantity: 1, price_per_unit: 0.3 },
      ],
    });
  });

  it.each([
    ['--value=-5', { order_value: -5 }],
    ['--value=a lot', { order_value: 'a lot' }],
    ['--user=', { user_id: '' }],
    ['--item=P1:0:1', { order_value: 0 }],
  ])('sends a bad order as it is: %s', async (option, fields) => {
    expect(await ran(sendOrder, [option])).toMatchObject({ exitCode: 0 });
    expect(await sentOrder()).toMatchObject(fields);
  });

  it('sends text as it is, even what is no JSON', async () => {
    const { exitCode, out } = await ran(sendOrder, ['--json', ' {broken']);
    expect([exitCode, await sentBodies()]).toEqual([0, [' {broken']]);
    expect(out).toContain('Sent an order without a readable id as message');
  });

  it('sends the content of a file as it is', async () => {
    const content = '{\n  "order_id": "ORD-F"\n}\n';
    const { out } = await ran(sendOrder, ['--file', fileOf('order.json', `\uFEFF${content}`)]);
    expect(await sentBodies()).toEqual([content]);
    expect(out).toContain('Sent ORD-F as');
  });

  it('says why the queue does not take an order', async () => {
    const { exitCode, err } = await ran(sendOrder, ['--json', '\u0000']);
    expect([exitCode, err]).toEqual([1, expect.stringContaining('The order was not sent, InvalidMessageContents')]);
  });

  it('says which file it can not read', async () => {
    const { exitCode, err } = await ran(sendOrder, ['--file', join(folder, 'missing.json')]);
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/missing\.json does not exist\n$/)]);
  });

  it.each([[['--json', '{}', '--user', 'U1']], [['--json', '{}', '--file', 'x']], [['--item', 'P1']], [['stray']]])(
    'refuses %j with its usage',
    async (argv) => {
      const { exitCode, err } = await ran(sendOrder, argv);
      expect([exitCode, err]).toEqual([2, expect.stringContaining('Usage: npm run send-order')]);
      expect(await sentBodies()).toEqual([]);
    },
  );
});

describe('bulk-orders', () => {
  it('sends as many orders as it is told and sums up', async () => {
    const { exitCode, out, err } = await ran(bulkOrders, ['1234', '--run-id', 'x']);
    expect([exitCode, err]).toEqual([0, '']);
    expect(out).toMatch(/^Sent +1,234\nNot sent +0\nTime +[\d.]+ s \([\d,]+ orders\/s\)\nRun id +x\n/);
    expect(out).toContain('See http://127.0.0.1:9000/stats/global\n');
    expect((await sentBodies()).filter((body) => /"(ORD|INV)-X-\d{6}"/.test(body))).toHaveLength(1_234);
  });

  it('sends the same again for the same seed, run and time', async () => {
    const argv = ['50', '--seed=-3', '--run-id', 'r', '--as-of', '2026-01-31', '--invalid-rate', '0.5'];
    await ran(bulkOrders, argv);
    const first = await sentBodies();
    await ran(bulkOrders, argv);
    expect(await sentBodies()).toEqual(first);
  });

  it.each([
    [['0']],
    [['many']],
    [['1.5']],
    [['5', '6']],
    [['5', '--invalid-rate', '2']],
    [['5', '--invalid-rate', '']],
    [['5', '--seed', 'x']],
    [['5', '--run-id', 'a b']],
    [['5', '--as-of', 'soon']],
    [['5', '--unknown']],
  ])('refuses %j with its usage', async (argv) => {
    const { exitCode, err } = await ran(bulkOrders, argv);
    expect([exitCode, err]).toEqual([2, expect.stringContaining('Usage: npm run bulk-orders')]);
    expect(await sentBodies()).toEqual([]);
  });

  it('shows a bar on a terminal', async () => {
    const { err } = await ran(bulkOrders, ['100'], ENVIRONMENT, true);
    expect(err).toContain('█ 100% | 100 sent');
  });
});

describe('populate', () => {
  it('sends the sample of real orders, each line byte by byte', async () => {
    const { exitCode, out, err } = await ran(populate, [SAMPLE]);
    expect([exitCode, err]).toEqual([0, '']);
    expect(out).toMatch(/^Rows read +150\nSent +150\nSkipped +0\nNot sent +0\nTime .*\nSee http:.*\/stats\/global\n$/);
    expect(await sentBodies()).toEqual(readFileSync(SAMPLE, 'utf8').trim().split('\n').sort());
  });

  it('names what it can not read, sends the rest, bad orders too, and exits with 1', async () => {
    const { exitCode, out, err } = await ran(populate, [fileOf('a.jsonl', '{"a":1}\n{broken\n{}\n{"user_id":5}\n')]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(/^line 2: skipped, not JSON \(.*\)\n$/);
    expect(out).toMatch(/^Rows read +4\nSent +3\nSkipped +1\nNot sent +0\n/);
    expect(await sentBodies()).toEqual(['{"a":1}', '{"user_id":5}', '{}']);
  });

  it('names the line of an order that the queue does not take, and exits with 1', async () => {
    const long = `{"a":"${'x'.repeat(1_048_576)}"}`;
    const { exitCode, out, err } = await ran(populate, [fileOf('a.jsonl', `{"a":1}\n\n${long}\n{"a":4}\n`)]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(/^line 3: not sent, MessageTooLong: .*\n$/);
    expect(out).toMatch(/^Rows read +3\nSent +2\nSkipped +0\nNot sent +1\n/);
  });

  it('names the first twenty orders that the queue does not take, and counts the rest', async () => {
    const { err, out } = await ran(populate, [fileOf('a.jsonl', '"\uFFFF"\n'.repeat(50))]);
    expect(err.match(/^line \d+: not sent/gm)).toHaveLength(20);
    expect(err).toContain('only counted');
    expect(out).toMatch(/Not sent +50\n/);
  });

  it('sends the orders of a table', async () => {
    const { exitCode } = await ran(populate, [fileOf('a.csv', 'order_id;items\nORD1;"[{""quantity"":2}]"\n')]);
    expect([exitCode, await sentBodies()]).toEqual([0, ['{"order_id":"ORD1","items":[{"quantity":2}]}']]);
  });

  it('names what it can not read above the bar on a terminal', async () => {
    const path = fileOf('a.jsonl', '{broken\n{}\n');
    const { err } = await ran(populate, [path], ENVIRONMENT, true);
    expect(err).toContain('line 1: skipped, not JSON');
    expect(err).toContain('100% | 1 sent');
  });

  it.each([
    ['header.csv', 'order_id,items\n'],
    ['blank.jsonl', '\n\n'],
    ['none.json', '[]'],
  ])('says that a file has no orders: %s', async (name, content) => {
    const { exitCode, err } = await ran(populate, [fileOf(name, content)]);
    expect([exitCode, err]).toEqual([1, expect.stringContaining(`${name} has no orders\n`)]);
  });

  it.each([
    ['missing.jsonl', 'does not exist'],
    ['orders.txt', 'must end in'],
  ])('says what is wrong with a file: %s', async (name, problem) => {
    const { exitCode, err } = await ran(populate, [join(folder, name)]);
    expect([exitCode, err]).toEqual([1, expect.stringMatching(new RegExp(`^.*${name} ${problem}.*\n$`))]);
  });

  it.each([[[]], [['a.csv', 'b.csv']], [['--fast', 'a.csv']]])('refuses %j with its usage', async (argv) => {
    const { exitCode, err } = await ran(populate, argv);
    expect([exitCode, err]).toEqual([2, expect.stringContaining('Usage: npm run populate')]);
  });
});

/** A service that answers what it is told to. */
class PretendedService {
  readonly asked: string[] = [];
  /** What it answers, in turn; the last of it again and again. */
  answers: [status: number, body: object][] = [];

  private readonly server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += String(chunk)));
    request.on('end', () => {
      this.asked.push([request.method, request.url, body].join(' ').trim());
      const [status, answer] = this.answers.length > 1 ? this.answers.shift()! : this.answers[0]!;
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    });
  });

  get port(): string {
    return `${(this.server.address() as AddressInfo).port}`;
  }

  start(): Promise<void> {
    return new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
  }

  stop(): Promise<unknown> {
    return new Promise((resolve) => this.server.close(resolve));
  }
}

describe('rebuild', () => {
  let service: PretendedService;

  const resource = {
    id: 'b1c5a7de-8a53-4f0e-9a38-0c4f4a0d2f11',
    state: 'requested',
    from_beginning: false,
    started_at: null,
    finished_at: null,
    done: null,
    total: null,
    position: null,
    error: null,
  };
  const running = { ...resource, state: 'running', done: 1_500, total: 6_000 };
  const times = { started_at: '2026-01-31T12:00:00.000Z', finished_at: '2026-01-31T12:00:01.500Z' };
  const done = { ...running, ...times, state: 'done', done: 6_000, position: 6_000 };

  beforeEach(() => (service = new PretendedService()).start());
  afterEach(() => service.stop());

  const rebuildRan = (argv: string[] = [], isTTY = false): Promise<Ran> =>
    ran(rebuild, argv, { PORT: service.port }, isTTY);

  it('asks the running service, shows how far it is, and sums up', async () => {
    service.answers = [
      [202, resource],
      [200, running],
      [200, done],
    ];
    const { exitCode, out, err } = await rebuildRan([], true);
    expect(exitCode).toBe(0);
    expect(err).toContain('25% | 1,500 read');
    expect(err).toContain('100% | 6,000 read');
    expect(out).toMatch(/^Entries +6,000\nPosition +6,000\nTime +1\.5 s\nSee http:.*\/stats\/global\n$/);
    const progress = `GET /stats/rebuild/${resource.id}`;
    expect(service.asked).toEqual(['POST /stats/rebuild {"from_beginning":false}', progress, progress]);
  });

  it('asks for a clearing to be undone', async () => {
    service.answers = [[202, { ...done, from_beginning: true }]];
    expect(await rebuildRan(['--from-beginning'])).toMatchObject({ exitCode: 0, err: '' });
    expect(service.asked).toEqual(['POST /stats/rebuild {"from_beginning":true}']);
  });

  it('says in one line why a rebuild failed', async () => {
    service.answers = [
      [202, resource],
      [200, { ...running, ...times, state: 'failed', error: 'Redis: connection refused' }],
    ];
    expect(await rebuildRan()).toEqual({
      exitCode: 1,
      out: '',
      err: 'The rebuild failed: Redis: connection refused\n',
    });
  });

  it('follows a rebuild that is under way, which is as good if it was asked for the same', async () => {
    service.answers = [
      [409, { code: 'rebuild_running' }],
      [200, { items: [running] }],
      [200, done],
    ];
    const { exitCode, out, err } = await rebuildRan();
    expect([exitCode, err]).toEqual([0, 'Another rebuild is under way already; this follows it.\n']);
    expect(out).toContain('6,000');
    expect(service.asked[1]).toBe('GET /stats/rebuild?limit=1');
  });

  it.each([
    [[], true, 'undid a clearing'],
    [['--from-beginning'], false, 'did not undo a clearing'],
  ])('does not take a rebuild under way for another: %j', async (argv, from_beginning, what) => {
    service.answers = [
      [409, { code: 'rebuild_running' }],
      [200, { items: [{ ...done, from_beginning }] }],
    ];
    const { exitCode, out, err } = await rebuildRan(argv);
    expect([exitCode, out, err.split('\n')[1]]).toEqual([1, '', expect.stringContaining(what)]);
  });

  it('says why the service refuses', async () => {
    service.answers = [[503, { detail: 'Redis: connection refused' }]];
    const { exitCode, err } = await rebuildRan();
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/^http:.* refuses: Redis: connection refused\n$/)]);
  });

  it('says in one line that no service answers, and what to do', async () => {
    expect(await ran(rebuild, [], { PORT: '9' })).toEqual({
      exitCode: 1,
      out: '',
      err: 'No service answers at http://127.0.0.1:9. Start it with npm start, or set PORT and HOST to where it runs.\n',
    });
  });

  it('explains itself, and refuses what it does not know', async () => {
    const usage = expect.stringContaining('Usage: npm run rebuild');
    expect(await ran(rebuild, ['--help'], {})).toEqual({ exitCode: 0, out: usage, err: '' });
    for (const argv of [['stray'], ['--from-begining']]) {
      expect(await ran(rebuild, argv, {})).toEqual({ exitCode: 2, out: '', err: usage });
    }
  });
});

describe('seed', () => {
  let service: PretendedService;

  const customer = { email: 'customer@demo.example', role: 'customer', state: 'made', password: 'demo_1', note: null };
  const vendor = { email: 'vendor@demo.example', role: 'vendor', state: 'reset', password: 'demo_2', note: null };
  const planted = {
    accounts: [customer, vendor],
    warehouses: [{ code: 'EAST', state: 'there' }],
    products: [{ sku: 'SKU-HEADPHONES', state: 'made' }],
  };

  beforeEach(() => (service = new PretendedService()).start());
  afterEach(() => service.stop());

  const seedRan = (argv: string[] = [], environment: NodeJS.ProcessEnv = {}): Promise<Ran> =>
    ran(seed, argv, { PORT: service.port, ...environment });

  it('says what was made and what was there, and how to log in', async () => {
    service.answers = [[200, planted]];
    expect(await seedRan()).toEqual({
      exitCode: 0,
      err: '',
      out: [
        'Warehouse  EAST                   was there already',
        'Product    SKU-HEADPHONES         made',
        'Customer   customer@demo.example  made',
        'Vendor     vendor@demo.example    was there already, has a new password',
        '',
        'Log in  customer@demo.example  demo_1',
        'Log in  vendor@demo.example    demo_2',
        '',
        `See http://127.0.0.1:${service.port}/api/v1/inventory`,
        '',
      ].join('\n'),
    });
    expect(service.asked).toEqual(['POST /api/v1/system/demo-data {"reset_passwords":true}']);
  });

  it('leaves passwords as they are if told to', async () => {
    const kept = { ...customer, state: 'there', password: null };
    service.answers = [[200, { ...planted, accounts: [kept] }]];
    const { exitCode, out } = await seedRan(['--keep-passwords']);
    expect([exitCode, out]).toEqual([
      0,
      expect.stringMatching(/^Log in {2}customer@demo\.example {2}with the password/m),
    ]);
    expect(service.asked).toEqual(['POST /api/v1/system/demo-data {"reset_passwords":false}']);
  });

  it('says why there is no log-in', async () => {
    const taken = { ...vendor, state: 'taken', password: null, note: 'This address is taken.' };
    service.answers = [[200, { ...planted, accounts: [customer, taken] }]];
    const { exitCode, out } = await seedRan();
    expect([exitCode, out]).toEqual([0, expect.stringMatching(/^Vendor +vendor@demo\.example +not made$/m)]);
    expect(out).toMatch(/^Log in +vendor@demo\.example +This address is taken\.$/m);
  });

  it.each([
    [401, 'Log in first.', ' Set API_KEY to a key with the scope demo-data:plant.'],
    [403, 'This needs a scope.', ' Set API_KEY to a key with the scope demo-data:plant.'],
    [503, 'PostgreSQL: connect ECONNREFUSED', ''],
  ])('says in one line why the service refuses with %i', async (status, detail, hint) => {
    service.answers = [[status, { detail }]];
    const err = `http://127.0.0.1:${service.port} refuses: ${detail}${hint}\n`;
    expect(await seedRan()).toEqual({ exitCode: 1, out: '', err });
  });

  it('says in one line that no service answers, and what to do', async () => {
    expect(await seedRan([], { PORT: '9' })).toEqual({
      exitCode: 1,
      out: '',
      err: 'No service answers at http://127.0.0.1:9. Start it with npm start, or set PORT and HOST to where it runs.\n',
    });
  });

  it('explains itself, and refuses what it does not know', async () => {
    const usage = expect.stringContaining('Usage: npm run seed');
    expect(await seedRan(['--help'])).toEqual({ exitCode: 0, out: usage, err: '' });
    expect(await seedRan(['stray'])).toEqual({ exitCode: 2, out: '', err: usage });
  });
});

describe('Every command', () => {
  const commands: [string, Command, string[]][] = [
    ['send-order', sendOrder, []],
    ['bulk-orders', bulkOrders, ['5']],
    ['populate', populate, [SAMPLE]],
  ];

  it.each(commands)('explains itself: %s', async (name, command) => {
    const { exitCode, out } = await ran(command, ['--help'], {});
    expect([exitCode, out]).toEqual([0, expect.stringContaining(`Usage: npm run ${name}`)]);
  });

  it.each(commands)('says in one line that no queue answers, and what to do: %s', async (_name, command, argv) => {
    expect(await ran(command, argv, { EMBEDDED_SQS_PORT: '9' })).toEqual({
      exitCode: 1,
      out: '',
      err: 'No queue answers at http://127.0.0.1:9. Start the service with npm start, or set SQS_ENDPOINT.\n',
    });
  });

  it.each(commands)('says that the queue does not exist: %s', async (_name, command, argv) => {
    const environment = { ...ENVIRONMENT, SQS_QUEUE_NAME: 'other' };
    const { exitCode, err } = await ran(command, argv, environment);
    expect([exitCode, err]).toEqual([1, expect.stringMatching(/^http:.* has no queue named other\..*\n$/)]);
  });

  it.each(commands)('names what is wrong with the configuration: %s', async (_name, command, argv) => {
    const { exitCode, err } = await ran(command, argv, { SQS_ENDPOINT: 'somewhere' });
    expect([exitCode, err]).toEqual([1, expect.stringContaining('SQS_ENDPOINT must be')]);
  });

  it('asks for the address of a queue whose port is not known', async () => {
    const { exitCode, err } = await ran(sendOrder, [], { EMBEDDED_SQS_PORT: '0' });
    expect([exitCode, err]).toEqual([1, expect.stringContaining('Set SQS_ENDPOINT')]);
  });
});
