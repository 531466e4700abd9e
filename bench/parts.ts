import { Redis } from 'ioredis';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { takenAwayAtTheEnd } from './leftovers.js';

/** Where the real parts are; the environment may name others. */
const { DATABASE_URL = 'postgres://postgres@127.0.0.1:5432/postgres', REDIS_URL = 'redis://127.0.0.1:6379' } =
  process.env;

/** A database and a Redis key space of its own, on real servers. */
export interface OwnParts {
  databaseUrl: string;
  redisUrl: string;
  redisKeyPrefix: string;
  /** What a service is told to use them. */
  environment: Record<string, string>;
  destroy(): Promise<void>;
}

/** Makes a database and a key space that nobody else uses. */
export async function ownParts(): Promise<OwnParts> {
  const name = `bench_${randomBytes(6).toString('hex')}`;
  const destroy = takenAwayAtTheEnd(async () => {
    await asAdministrator(`drop database if exists ${name} with (force)`);
    await dropKeys(name);
  });
  await asAdministrator(`create database ${name}`);
  const url = new URL(DATABASE_URL);
  url.pathname = `/${name}`;
  return {
    databaseUrl: url.href,
    redisUrl: REDIS_URL,
    redisKeyPrefix: name,
    environment: {
      DATABASE_URL: url.href,
      REDIS_URL,
      REDIS_KEY_PREFIX: name,
      // Never made, since no part is embedded; the user's own folder is not looked into.
      DATA_DIR: join(tmpdir(), name),
    },
    destroy,
  };
}

/** Which PostgreSQL and which Redis the real parts are. */
export async function versions(): Promise<{ postgresql: string; redis: string }> {
  const [row] = await asAdministrator<{ server_version: string }>('show server_version');
  const redis = new Redis(REDIS_URL);
  try {
    const server = await redis.info('server');
    return { postgresql: row!.server_version, redis: /^redis_version:(.*)$/m.exec(server)![1]!.trim() };
  } finally {
    redis.disconnect();
  }
}

/** The generation of the figures that is in service there. */
export async function servedGeneration({ databaseUrl }: OwnParts): Promise<number> {
  const client = new Client(databaseUrl);
  await client.connect();
  try {
    const { rows } = await client.query<{ generation: string }>('select generation from projection');
    return Number(rows[0]!.generation);
  } finally {
    await client.end();
  }
}

async function asAdministrator<Row extends object>(statement: string): Promise<Row[]> {
  const client = new Client(DATABASE_URL);
  await client.connect();
  try {
    return (await client.query<Row>(statement)).rows;
  } finally {
    await client.end();
  }
}

async function dropKeys(prefix: string): Promise<void> {
  const redis = new Redis(REDIS_URL);
  try {
    for await (const keys of redis.scanStream({ match: `{${prefix}}:*`, count: 1000 })) {
      if ((keys as string[]).length > 0) await redis.unlink(...(keys as string[]));
    }
  } finally {
    redis.disconnect();
  }
}
