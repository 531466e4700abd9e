import { Logger } from '@nestjs/common';
import type { Config } from '../../shared/config.js';
import { DataFolderLock } from '../embedded/data-folder-lock.js';
import { EmbeddedLedger } from '../embedded/embedded-ledger.js';
import { Database, DatabaseUnavailable } from './database.js';

/** No poller waits for what a command does, and pages are large. */
const STATEMENT_TIMEOUT_MS = 60_000;

/** The ledger's database in the hands of a command. */
export interface CommandDatabase {
  database: Database;
  /** Where it is, in words. */
  name: string;
  /** Gives it back. */
  close: () => Promise<void>;
}

/**
 * Opens the database that DATABASE_URL names, its schema migrated; the embedded one only while no service has it.
 * @throws DataFolderInUse @throws DatabaseUnavailable
 */
export async function openCommandDatabase({ databaseUrl, dataDir }: Config): Promise<CommandDatabase> {
  Logger.overrideLogger(false); // a command says itself what goes wrong, in one line
  if (databaseUrl !== 'embedded') {
    const database = Database.onServer(databaseUrl, STATEMENT_TIMEOUT_MS);
    return ready({
      database,
      name: `PostgreSQL at ${new URL(databaseUrl).host}`,
      close: () => database.onApplicationShutdown(),
    });
  }
  const lock = DataFolderLock.acquire(dataDir);
  const store = await EmbeddedLedger.open(dataDir).catch((error: unknown) => {
    lock.release();
    throw error;
  });
  const database = Database.embedded(store);
  return ready({
    database,
    name: `the embedded ledger in ${dataDir}`,
    close: async () => {
      await database.onApplicationShutdown();
      await store.close();
      lock.release();
    },
  });
}

async function ready(opened: CommandDatabase): Promise<CommandDatabase> {
  const { availability } = opened.database;
  await availability.start();
  if (availability.up) return opened;
  const { culprit } = availability;
  await opened.close();
  throw new DatabaseUnavailable(culprit);
}
