/**
 * Ends the process where its data folder can't be used, in one clear line. To be imported before the libraries, whose
 * loading takes the better part of a second: a user who starts the service twice should not have to wait for it.
 * The folder is taken for good by EmbeddedParts.
 */
import { accessSync, constants, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DataFolderInUse, DataFolderLock } from './platform/embedded/data-folder-lock.js';
import { refuseOldFolder } from './platform/embedded/postgres-home.js';
import { findRedisServer } from './platform/embedded/redis-programs.js';
import { loadConfig } from './shared/config.js';
import { loadDotenv } from './shared/dotenv.js';
import { describeFailure } from './shared/failed-start.js';

/** Nothing can be kept in the data folder. */
class DataFolderUnusable extends Error {
  override readonly name = 'DataFolderUnusable';
}

try {
  loadDotenv();
  const { sqsEndpoint, databaseUrl, redisUrl, dataDir, searchPath } = loadConfig();
  const embedsRedis = redisUrl === 'embedded' && findRedisServer(searchPath) !== null;
  if (databaseUrl === 'embedded') refuseOldFolder(dataDir); // first, since the lock changes the folder
  if (embedsRedis || [sqsEndpoint, databaseUrl].includes('embedded')) assertUsable(dataDir);
} catch (error) {
  process.stderr.write(`${describeFailure(error as Error)}\n`);
  process.exit(1);
}

function assertUsable(dataDir: string): void {
  const { R_OK, W_OK, X_OK } = constants;
  const lock = join(dataDir, 'owner.lock');
  try {
    mkdirSync(dataDir, { recursive: true });
    accessSync(dataDir, R_OK | W_OK | X_OK);
    if (existsSync(lock)) accessSync(lock, W_OK);
    DataFolderLock.acquire(dataDir).release();
  } catch (error) {
    if (error instanceof DataFolderInUse) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === 'ERR_SQLITE_ERROR' ? `${lock}: ${message}` : message;
    throw new DataFolderUnusable(`The data folder ${dataDir} can't be used: ${reason}`);
  }
}
