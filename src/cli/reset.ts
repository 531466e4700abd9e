import { once } from 'node:events';
import { lstatSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { join } from 'node:path';
import { DataFolderLock } from '../platform/embedded/data-folder-lock.js';
import { outsideFolderOf, removeHome } from '../platform/embedded/postgres-home.js';
import { loadConfig } from '../shared/config.js';
import { loadDotenv } from '../shared/dotenv.js';
import { describeFailure } from '../shared/failed-start.js';

/** The folders of the embedded parts, `ledger` that of an earlier version; nothing else in the data folder is touched. */
const EMBEDDED_FOLDERS = ['ledger', 'postgres', 'queue', 'redis'];

/**
 * Deletes what the embedded parts keep, after asking. Real parts are not touched.
 * @param argv `--yes` answers the question
 * @returns the exit code
 */
async function run(argv: string[]): Promise<number> {
  loadDotenv();
  const config = loadConfig();
  const { dataDir } = config;
  // One may be a link that leads nowhere any more.
  const folders = EMBEDDED_FOLDERS.map((name) => join(dataDir, name)).filter((folder) =>
    lstatSync(folder, { throwIfNoEntry: false }),
  );
  if (folders.length === 0) {
    process.stdout.write(`Nothing to delete in ${dataDir}.\n`);
    return 0;
  }
  const lock = DataFolderLock.acquire(dataDir);
  try {
    const outside = outsideFolderOf(dataDir);
    const places = outside === null ? dataDir : `${dataDir} and ${outside}`;
    process.stdout.write(`This deletes the ledger, the queue and the statistics in ${places}.\n`);
    if (!argv.includes('--yes') && !(await confirmed())) {
      process.stdout.write('Nothing was deleted.\n');
      return 1;
    }
    removeHome(dataDir);
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    process.stdout.write('Deleted. The next npm start begins empty.\n');
  } finally {
    lock.release();
  }
  const real = [
    config.databaseUrl !== 'embedded' && 'DATABASE_URL',
    !['embedded', 'memory'].includes(config.redisUrl) && 'REDIS_URL',
    config.sqsEndpoint !== 'embedded' && 'SQS_ENDPOINT',
  ].filter(Boolean);
  if (real.length > 0) process.stdout.write(`What ${real.join(', ')} point to was not touched.\n`);
  return 0;
}

async function confirmed(): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    // Where nobody can answer, the question would wait for ever, and the process end without a word.
    const unanswered = once(terminal, 'close').then(() => '');
    return /^y(es)?$/i.test((await Promise.race([terminal.question('Delete it? Type yes: '), unanswered])).trim());
  } finally {
    terminal.close();
  }
}

run(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: Error) => {
    process.stderr.write(`${describeFailure(error)}\n`);
    process.exit(1);
  },
);
