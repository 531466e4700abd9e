import { Logger } from '@nestjs/common';
import { Client } from 'pg';
import { Database } from '../../src/platform/database/database.js';

/** A migrated, empty database that tests get copies of: a copy is made sooner than a schema. */
export interface TemplateDatabase {
  name: string;
  drop(): Promise<void>;
}

/** @param serverUrl of any database on the server; its user must be allowed to make others */
export async function migratedTemplate(serverUrl: string, name: string): Promise<TemplateDatabase> {
  Logger.overrideLogger(false);
  await run(serverUrl, `create database ${name}`);
  const url = serverUrl.replace(/^(postgres(?:ql)?:\/\/[^/?]*)(\/[^?]*)?/, `$1/${name}`);
  const database = new Database(url, 60_000);
  await database.availability.start();
  const { reason } = database.availability;
  await database.onApplicationShutdown();
  if (reason) throw new Error(reason);
  return { name, drop: () => run(serverUrl, `drop database if exists ${name} with (force)`) };
}

async function run(url: string, statement: string): Promise<void> {
  const client = new Client(url);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
