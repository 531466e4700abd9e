import type { SQSClient } from '@aws-sdk/client-sqs';
import { Redis as IORedis } from 'ioredis';
import { Pool } from 'pg';
import { deadLetterQueueOf, queueDepth } from '../../src/platform/queue/queue-setup.js';
import { createSqsClient } from '../../src/platform/queue/sqs-client.js';
import { RedisKeys } from '../../src/platform/redis/redis-keys.js';
import { audit, type AuditedParts } from './audit.js';
import { type Dump, dumpOfRedis } from './dump.js';
import { eventually } from './eventually.js';
import { ORDERS_QUEUE, type RealWorld } from './real-world.js';

/** What there is in a world, past the services that run on it. */
export class WorldView implements AuditedParts {
  readonly businessTimeZone = 'UTC';
  readonly redisKeyPrefix: string;
  readonly queueName = ORDERS_QUEUE;
  readonly sqs: SQSClient;
  readonly redis: IORedis;
  private readonly database: Pool;

  constructor({ postgres, redis, queue, environment }: RealWorld) {
    this.redisKeyPrefix = environment.REDIS_KEY_PREFIX!;
    this.redis = new IORedis(redis.url, { maxRetriesPerRequest: null });
    // Redis and PostgreSQL may be taken away before this is closed.
    this.redis.on('error', () => undefined);
    this.database = new Pool({ connectionString: postgres.url, max: 2 });
    this.database.on('error', () => undefined);
    this.sqs = createSqsClient({ sqsEndpoint: queue.endpoint, awsRegion: 'us-east-1', awsCredentialsGiven: false });
  }

  query = async <Row>(text: string): Promise<Row[]> => (await this.database.query(text)).rows as Row[];

  /** Where the ledger ends. */
  async position(): Promise<number> {
    const [head] = await this.query<{ position: number }>('select position::float8 as position from ledger_head');
    return head!.position;
  }

  /** How many messages wait, are in hand or are delayed. */
  async waiting(): Promise<number> {
    const { visible, in_flight, delayed } = await queueDepth(this.sqs, this.queueName);
    return visible + in_flight + delayed;
  }

  async deadLetters(): Promise<number> {
    return (await queueDepth(this.sqs, deadLetterQueueOf(this.queueName))).visible;
  }

  /** Waits until the queue is empty, in hand too, and the live figures have every entry of the ledger. */
  async settled(withinMs = 60_000): Promise<void> {
    await eventually(async () => {
      const waiting = await this.waiting();
      if (waiting > 0) throw new Error(`${waiting} messages are on the queue or in hand`);
      const [position, projected] = [await this.position(), await this.projected()];
      if (projected !== position) throw new Error(`The figures are at ${projected}, the ledger at ${position}`);
    }, withinMs);
  }

  /** {@link audit} of it, once it has settled. @returns what is wrong */
  async audit(): Promise<string[]> {
    await this.settled();
    return audit(this);
  }

  /** See {@link dumpOfRedis}. */
  async dump(): Promise<Dump> {
    return dumpOfRedis(this.redis, this.redisKeyPrefix, await this.generation());
  }

  async close(): Promise<void> {
    this.sqs.destroy();
    this.redis.disconnect();
    await this.database.end();
  }

  private async projected(): Promise<number> {
    const { checkpoint } = new RedisKeys(this.redisKeyPrefix).generation(await this.generation());
    return Number(await this.redis.hget(checkpoint, 'position'));
  }

  private async generation(): Promise<number> {
    const [row] = await this.query<{ generation: number }>('select generation::float8 as generation from projection');
    return row!.generation;
  }
}
