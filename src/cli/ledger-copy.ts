import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { copyDatabase, type NamedDatabase, NotCopied } from '../platform/database/database-copy.js';
import { DataFolderInUse, DataFolderLock } from '../platform/embedded/data-folder-lock.js';
import { EmbeddedPostgres } from '../platform/embedded/embedded-postgres.js';
import { folderOf, refuseOldFolder } from '../platform/embedded/postgres-home.js';
import { type Config, loadConfig } from '../shared/config.js';
import { command, runAsProcess, WrongUsage } from './command.js';
import { Progress } from './progress.js';

const USAGE = `Copies the ledger, and everything else in its database, to an empty PostgreSQL database.

Usage: npm run ledger:copy -- --to postgres://user@host:5432/database

  --to URL  the empty database; npm shows what you type here, so give its password by PGPASSWORD
  --help    this text

Copies the database that DATABASE_URL names, or the embedded one of DATA_DIR. The service may run meanwhile: the copy has
what was stored when it began. Every row is compared. Where something fails, or Ctrl-C ends it, the target stays empty.
`;

const NEXT = `What the service stored since is not in it. Next: stop the service; if orders came meanwhile, empty the target and
copy again; then start with DATABASE_URL=postgres://… npm start
`;

interface Source extends NamedDatabase {
  close(): Promise<void>;
}

/** `npm run ledger:copy`: the whole database of the ledger in another PostgreSQL. */
export const run = command(USAGE, async (argv, io) => {
  // Allowed, so that no message repeats a URL with its password.
  const { values, positionals } = parseArgs({
    args: argv,
    options: { to: { type: 'string' } },
    allowPositionals: true,
  });
  if (!values.to || positionals.length > 0)
    throw new WrongUsage('Name the target, and nothing else: --to postgres://…');
  const target = { url: values.to, name: nameOf(values.to) };
  const source = await openSource(loadConfig(io.environment));
  const started = performance.now();
  const seconds = (): number => (performance.now() - started) / 1_000;
  let progress: Progress | undefined;
  const { tables, rows, entries, position } = await copyDatabase(source, target, (share, copied) => {
    progress ??= new Progress(io.err, 'rows copied');
    progress.update(share, copied, seconds());
  }).finally(async () => {
    progress?.stop();
    await source.close();
  });
  const counters = Object.entries({ Tables: tables, Rows: rows, Entries: entries, Position: position });
  for (const [label, count] of counters) io.out.write(`${label.padEnd(10)} ${count.toLocaleString('en')}\n`);
  io.out.write(`Time       ${seconds().toFixed(1)} s\n${target.name} has every row of ${source.name}.\n${NEXT}`);
  return 0;
});

/** @throws NotCopied without the URL, which may hold a password */
function nameOf(url: string): string {
  if (!/^postgres(ql)?:\/\//.test(url) || !URL.canParse(url)) throw new NotCopied('--to must be a postgres:// URL');
  const { host, pathname } = new URL(url);
  return `${host}${pathname}`;
}

/** Opens the database to copy: a server's, that of a running service, or an embedded one that this process starts. */
async function openSource({ databaseUrl, dataDir, searchPath }: Config): Promise<Source> {
  const close = (): Promise<void> => Promise.resolve();
  if (databaseUrl !== 'embedded') return { url: databaseUrl, name: nameOf(databaseUrl), close };
  const name = `the embedded ledger in ${dataDir}`;
  refuseOldFolder(dataDir);
  if (!existsSync(dataDir) || !existsSync(join(folderOf(dataDir), 'data', 'PG_VERSION'))) {
    throw new NotCopied(`There is no embedded ledger in ${dataDir}. Set DATA_DIR, or DATABASE_URL for a server's.`);
  }
  let lock: DataFolderLock;
  try {
    lock = DataFolderLock.acquire(dataDir);
  } catch (error) {
    const url = error instanceof DataFolderInUse ? EmbeddedPostgres.urlOfRunning(dataDir) : null;
    if (url === null) throw error;
    return { url, name, close };
  }
  try {
    const postgres = await EmbeddedPostgres.start(dataDir, searchPath);
    return { url: postgres.url, name, close: () => postgres.stop().finally(() => lock.release()) };
  } catch (error) {
    lock.release();
    throw error;
  }
}

if (require.main === module) void runAsProcess(run);
