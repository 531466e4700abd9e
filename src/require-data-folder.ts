/**
 * Ends the process where another one owns the data folder, in one clear line. To be imported before the libraries,
 * whose loading takes the better part of a second: whoever starts the service twice should not have to wait for it.
 * The folder is taken for good by EmbeddedParts.
 */
import { DataFolderInUse, DataFolderLock } from './platform/embedded/data-folder-lock.js';
import { InvalidConfiguration, loadConfig } from './shared/config.js';
import { loadDotenv } from './shared/dotenv.js';

try {
  loadDotenv();
  const { sqsEndpoint, databaseUrl, redisUrl, dataDir } = loadConfig();
  if ([sqsEndpoint, databaseUrl, redisUrl].includes('embedded')) DataFolderLock.acquire(dataDir).release();
} catch (error) {
  if (!(error instanceof DataFolderInUse || error instanceof InvalidConfiguration)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
