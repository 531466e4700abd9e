import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import type { AppendStatement } from '../../src/ledger/append-statement.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { DatabaseUnavailable } from '../../src/platform/database/database.js';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import type { ValidatedMessage } from '../../src/domain/order-event.js';
import { RunningService } from './app.js';
import { auditOf } from './audit.js';
import { MixedTraffic } from './mixed-traffic.js';
import type { RealWorld } from './real-world.js';
import type { SeededRandom } from './seeded-random.js';

/**
 * A service on servers that a test breaks, with a database, a key space and a queue that nobody else has, and with orders
 * that come over the queue. A message is dead-lettered after two receives, and comes again soon.
 */
export class ServiceUnderFaults {
  private readonly ends: (() => Promise<unknown>)[] = [];

  /** How many appends the database has not answered. */
  brokenAppends = 0;
  private appendBegins: () => void = () => undefined;

  private constructor(
    readonly world: RealWorld,
    /** Another one after {@link restart}. */
    public service: RunningService,
    readonly traffic: MixedTraffic,
    private readonly databaseUrl: string,
    private readonly environment: Record<string, string>,
  ) {}

  /** @param through gives the address by which the service is to reach its database */
  static async ready(
    world: RealWorld,
    random: SeededRandom,
    { through = (url: string) => url } = {},
  ): Promise<ServiceUnderFaults> {
    const id = randomBytes(6).toString('hex');
    const url = new URL(world.postgres.url);
    await query(url.href, `create database test_${id}`);
    url.pathname = `/test_${id}`;
    const own = {
      DATABASE_URL: through(url.href),
      REDIS_KEY_PREFIX: `test-${id}`,
      SQS_QUEUE_NAME: `orders-${id}`,
      SQS_MAX_RECEIVE_COUNT: '2',
      SQS_VISIBILITY_TIMEOUT: '5',
      SQS_WAIT_TIME_SECONDS: '0',
    };
    const service = await RunningService.ready({ world, environment: own });
    const traffic = new MixedTraffic(random);
    const under = new ServiceUnderFaults(world, service, traffic, url.href, own);
    under.attend();
    return under;
  }

  /** Resolves when the next append goes to the database, and after that when `ms` have passed. */
  async duringAppend(ms: number): Promise<void> {
    await new Promise<void>((resolve) => (this.appendBegins = resolve));
    if (ms > 0) await pause(ms);
  }

  /** Asks its database past the service, on a connection that is made for it. */
  query<Row>(text: string): Promise<Row[]> {
    return query<Row>(this.databaseUrl, text);
  }

  /** The last position of the ledger. */
  async head(): Promise<number> {
    const [head] = await this.query<{ position: number }>('select position::float8 as position from ledger_head');
    return head!.position;
  }

  /** How many appends' messages the service found in the ledger already without having been told that it had put them there. */
  async foundAgain(): Promise<number> {
    const { body } = await this.service.get('/metrics');
    const duplicates = Number(/^orders_processed_total\{outcome="duplicate"\} (\d+)$/m.exec(String(body))?.[1] ?? 0);
    return duplicates - this.traffic.repeats;
  }

  /** How many messages were received too often. */
  async deadLetters(): Promise<number> {
    const { visible, in_flight } = await queueDepth(
      this.service.sqs,
      deadLetterQueueOf(this.service.config.queue.name),
    );
    return visible + in_flight;
  }

  /**
   * Ends the traffic, waits until all is processed, and looks at what is left.
   * @returns what is wrong, one fact each
   */
  async faults(): Promise<string[]> {
    await this.traffic.stop();
    const faults = await auditOf(this.service);
    faults.push(...(await this.traffic.faults((text) => this.query(text))));
    const deadLetters = await this.deadLetters();
    if (deadLetters > 0) faults.push(`${deadLetters} messages are dead letters`);
    return faults;
  }

  /** Plants a bug: an append that is tried again stores its messages as if they were others. */
  repeatAppendsAsNew(): void {
    const tried = new Set<string>();
    this.changeAppends((statement, messages) =>
      statement(
        messages.map((message) => {
          if (!tried.has(message.messageId)) return (tried.add(message.messageId), message);
          const another = (hash: string): string => hash.replace(/^./, '0');
          const hashes = { contentHash: another(message.contentHash), failureHash: another(message.failureHash) };
          return { ...message, orderId: `${message.orderId}-2`, ...hashes };
        }),
      ),
    );
  }

  /** Does something while the service is down. */
  async restart(meanwhile: () => Promise<void>): Promise<void> {
    await this.service.stop();
    await meanwhile();
    this.service = await RunningService.ready({ world: this.world, environment: this.environment });
    this.attend();
  }

  /** Has something ended with the service. */
  beforeStop(end: () => Promise<unknown>): void {
    this.ends.push(end);
  }

  async stop(): Promise<void> {
    for (const end of this.ends) await end();
    await this.traffic.stop().catch(() => undefined); // it was told where it matters
    await this.service.stop();
    // Its files would count when the next test measures how much room there is.
    await query(this.world.postgres.url, `drop database ${new URL(this.databaseUrl).pathname.slice(1)} with (force)`);
  }

  private attend(): void {
    this.traffic.attend(this.service);
    this.changeAppends(async (statement, messages) => {
      this.appendBegins();
      try {
        return await statement(messages);
      } catch (error) {
        if (error instanceof DatabaseUnavailable) this.brokenAppends++;
        throw error;
      }
    });
  }

  private changeAppends(
    change: (statement: AppendStatement, messages: ValidatedMessage[]) => ReturnType<AppendStatement>,
  ): void {
    const queue = Reflect.get(this.service.app.get(Ledger), 'queue') as { statement: AppendStatement };
    const { statement } = queue;
    queue.statement = (messages) => change(statement, messages);
  }
}

async function query<Row>(url: string, text: string): Promise<Row[]> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 3_000, query_timeout: 10_000 });
  client.on('error', () => undefined); // whoever asks meets it
  await client.connect();
  try {
    return (await client.query(text)).rows as Row[];
  } finally {
    await client.end().catch(() => undefined);
  }
}
