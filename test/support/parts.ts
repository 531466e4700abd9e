import { Redis as IORedis } from 'ioredis';
import { Client } from 'pg';
import { randomBytes } from 'node:crypto';

/** The servers that start-servers.cjs has started for the whole run, or was given. */
export const parts = {
  databaseUrl: process.env.TEST_DATABASE_URL!,
  /** The name of the migrated, empty database that every test gets a copy of. */
  templateDatabase: process.env.TEST_TEMPLATE_DATABASE!,
  /** `memory` where no Redis is installed. */
  redisUrl: process.env.TEST_REDIS_URL!,
  sqsEndpoint: process.env.TEST_SQS_ENDPOINT!,
  /** The folder of the built service. */
  build: process.env.TEST_BUILD!,
};

/** A database of its own for a test. */
export interface OwnDatabase {
  url: string;
  drop(): Promise<void>;
}

/** @param empty without the schema, as a first start finds it */
export async function ownDatabase({ empty = false } = {}): Promise<OwnDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  const template = empty ? 'template1' : parts.templateDatabase;
  await asAdministrator(`create database ${name} template ${template} strategy file_copy`);
  return {
    url: urlOfDatabase(name),
    drop: () => asAdministrator(`drop database if exists ${name} with (force)`),
  };
}

/** The URL of a database on the server of the run. */
export function urlOfDatabase(name: string): string {
  return parts.databaseUrl.replace(/^(postgres(?:ql)?:\/\/[^/?]*)(\/[^?]*)?/, `$1/${name}`);
}

async function asAdministrator(statement: string): Promise<void> {
  const client = new Client(parts.databaseUrl);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Deletes what a test left in the Redis of the run under its own prefix. */
export async function dropRedisKeys(prefix: string): Promise<void> {
  if (parts.redisUrl === 'memory') return;
  const client = new IORedis(parts.redisUrl);
  try {
    for await (const keys of client.scanStream({ match: `{${prefix}}:*`, count: 1000 })) {
      if ((keys as string[]).length > 0) await client.unlink(...(keys as string[]));
    }
  } finally {
    client.disconnect();
  }
}
