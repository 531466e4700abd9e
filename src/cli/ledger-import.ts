import { parseArgs } from 'node:util';
import { ArchiveImport, DamagedArchive, type Imported, OtherEntries } from '../ledger/archive-import.js';
import { openCommandDatabase } from '../platform/database/command-database.js';
import { loadConfig } from '../shared/config.js';
import { ArchiveReader, UnusableArchive } from './archive-file.js';
import { command, runAsProcess, WrongUsage } from './command.js';
import { Progress } from './progress.js';

const USAGE = `Takes a ledger that npm run ledger:export wrote over into the database that DATABASE_URL names.

Usage: npm run ledger:import -- FILE

  FILE    an exported ledger
  --help  this text

The database must have an empty ledger, or a part of this very one, which is then continued: run it again after it was
interrupted. Positions, what counts as a duplicate, and where the figures begin stay what they were. Every entry is
checked against the one before; what was changed, is missing or is another ledger's is refused.

The exit code is 1 where the file lacks its end: what is there is imported then.
`;

/** `npm run ledger:import`: a ledger from a file. */
export const run = command(USAGE, async (argv, io) => {
  const { positionals } = parseArgs({ args: argv, allowPositionals: true });
  const [path] = positionals;
  if (path === undefined || positionals.length > 1) throw new WrongUsage('Give the name of one file');
  const config = loadConfig(io.environment);
  const file = await ArchiveReader.open(path);
  if (!file) throw new UnusableArchive(`${path} does not exist`);
  const { database, name, close } = await openCommandDatabase(config);
  const started = performance.now();
  const seconds = (): number => (performance.now() - started) / 1_000;
  const progress = new Progress(io.err, 'imported');
  let imported: Imported;
  try {
    const importing = new ArchiveImport(database, (count) => progress.update(file.share(), count, seconds()));
    imported = await importing.run(file.lines()).catch((error: unknown) => {
      if (error instanceof DamagedArchive) throw new UnusableArchive(`${path} is refused: ${error.message}`);
      if (error instanceof OtherEntries) throw new UnusableArchive(`${path} can't go into ${name}: ${error.message}`);
      throw error;
    });
  } finally {
    progress.stop();
    await close();
  }
  const { entries, repairs, position, complete, inUse } = imported;
  const rate = Math.round(entries / Math.max(seconds(), 0.001)).toLocaleString('en');
  const figures = {
    Entries: entries.toLocaleString('en'),
    Positions: position === 0 ? 'none' : `1 to ${position.toLocaleString('en')}`,
    Repairs: repairs.toLocaleString('en'),
    Time: `${seconds().toFixed(1)} s (${rate} entries/s)`,
  };
  for (const [label, figure] of Object.entries(figures)) io.out.write(`${label.padEnd(10)} ${figure}\n`);
  if (!complete) {
    const where = file.torn ? 'breaks off within a line' : 'has no end';
    io.err.write(
      `${path} ${where}: what is there is in ${name} now, but more may be missing. ` +
        'Run npm run ledger:export again, it continues the file, and then this.\n',
    );
    return 1;
  }
  io.out.write(`${name} has all of ${path}.\n`);
  if (entries === 0 && config.databaseUrl === 'embedded') {
    io.out.write(
      'Nothing was new to it. To move the ledger, name the database to move it to: DATABASE_URL=postgres://…\n',
    );
    return 0;
  }
  if (inUse) io.out.write('Services that run on it have to be started anew.\n');
  io.out.write(`Next: npm start, then curl http://localhost:${config.port}/stats/verify\n`);
  return 0;
});

if (require.main === module) void runAsProcess(run);
