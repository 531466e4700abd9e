import type { EmbeddedParts } from '../embedded/embedded-parts.js';
import { loadConfig } from '../../shared/config.js';
import { banner } from './banner.js';

const DATABASE_URL = 'postgres://orders:s3cret@db.example:5433/orders';

/** What a service says that is configured like this. */
function bannerOf(environment: Record<string, string>, parts: Partial<EmbeddedParts> = {}): string {
  const config = loadConfig({ DATA_DIR: '/data', DEMO_DATA: 'off', ...environment });
  const given = {
    sqsEndpoint: config.sqsEndpoint,
    postgres: null,
    redis: { kind: 'memory' },
    ...parts,
  } as EmbeddedParts;
  return banner(config, given, 'http://127.0.0.1:9000');
}

describe('The banner', () => {
  it('says where Swagger and the dashboard are, and which two commands to try', () => {
    const text = bannerOf({ DATABASE_URL });
    expect(text).toContain('API      http://localhost:9000/docs\n');
    expect(text).toContain('Page     http://localhost:9000/dashboard\n');
    expect(text).toContain('curl -X POST http://localhost:9000/produce\n');
    expect(text).toContain('curl http://localhost:9000/stats/global\n');
    expect(text).not.toContain('/api/v1/orders');
  });

  it('says where the queue is', () => {
    expect(bannerOf({ DATABASE_URL }, { sqsEndpoint: 'http://127.0.0.1:9324' })).toContain(
      'Queue    http://127.0.0.1:9324  orders-queue  (embedded, kept in /data)\n',
    );
    const SQS_ENDPOINT = 'http://sqs.example:9324';
    expect(bannerOf({ DATABASE_URL, SQS_ENDPOINT, SQS_QUEUE_NAME: 'shop' })).toContain(
      `Queue    ${SQS_ENDPOINT}  shop\n`,
    );
    expect(bannerOf({ DATABASE_URL, SQS_ENDPOINT: 'aws', AWS_REGION: 'eu-central-1' })).toContain(
      'Queue    AWS SQS, eu-central-1  orders-queue\n',
    );
  });

  it('says where the ledger is, without its password', () => {
    const text = bannerOf({ DATABASE_URL });
    expect(text).toContain('Ledger   PostgreSQL at db.example:5433\n');
    expect(text).not.toContain('s3cret');
    expect(text).toContain('Stop with Ctrl+C.\n');
    const embedded = bannerOf({}, { postgres: { home: '/data/postgres' } as EmbeddedParts['postgres'] });
    expect(embedded).toContain('Ledger   embedded PostgreSQL in /data/postgres\n');
    expect(embedded).toContain('Stop with Ctrl+C. Data stays; npm run reset starts over.\n');
  });

  it('says where the statistics are, and the limit of those in memory', () => {
    const REDIS_URL = 'redis://:s3cret@cache.example:6379';
    expect(bannerOf({ DATABASE_URL, REDIS_URL }, { redis: { kind: 'url', url: REDIS_URL } })).toContain(
      'Redis    at cache.example:6379\n',
    );
    const server = { kind: 'socket', path: '/data/redis/socket', program: 'valkey-server' } as const;
    expect(bannerOf({ DATABASE_URL }, { redis: server })).toContain(
      'Redis    embedded valkey-server, private to this service\n',
    );
    expect(bannerOf({ DATABASE_URL, REDIS_URL: 'memory' })).toContain(
      'Redis    in memory: fine up to a few thousand users; set REDIS_URL for more\n',
    );
    expect(bannerOf({ DATABASE_URL })).toContain(
      'Redis    in memory: fine up to a few thousand users; install redis-server (or valkey-server) for more\n',
    );
  });
});
