import { parseArgs } from 'node:util';
import { type HeaderLine, readArchiveLine } from '../ledger/archive-lines.rules.js';
import { loadConfig } from '../shared/config.js';
import { type ArchivedSoFar, archivedSoFar, ArchiveWriter, UnusableArchive } from './archive-file.js';
import { command, runAsProcess, WrongUsage } from './command.js';
import { LedgerEndsBefore, NoLedger, openLedgerSource, type LedgerSource } from './ledger-source.js';
import { Progress } from './progress.js';

const USAGE = `Writes the ledger to a file of JSON Lines, from which npm run ledger:import makes it again elsewhere.

Usage: npm run ledger:export -- FILE

  FILE    is made, or continued where it is an export of the same ledger; anything else is left as it is
  --help  this text

The ledger is the one that DATABASE_URL names. The embedded one is read from DATA_DIR, or got from the service that
runs on it; entries that come meanwhile are in the file when this is run again.

The file holds every order as it was received: keep it as safe as the ledger.
`;

/** `npm run ledger:export`: the ledger as a file. */
export const run = command(USAGE, async (argv, io) => {
  const { positionals } = parseArgs({ args: argv, allowPositionals: true });
  const [path] = positionals;
  if (path === undefined || positionals.length > 1) throw new WrongUsage('Give the name of one file');
  const config = loadConfig(io.environment);
  const there = await archivedSoFar(path);
  const after = there?.after ?? 0;
  const source = await openLedgerSource(config, after).catch((error: unknown) => {
    if (!(error instanceof LedgerEndsBefore)) throw error;
    throw new UnusableArchive(`${path} goes to position ${after}, and the ledger does not: ${error.message}`);
  });
  const started = performance.now();
  const seconds = (): number => (performance.now() - started) / 1_000;
  const progress = new Progress(io.err, 'written');
  try {
    await write(path, there, source, (count) => {
      const share = source.position === after ? 1 : count / (source.position - after);
      progress.update(Math.min(1, share), count, seconds());
    });
  } finally {
    progress.stop();
    await source.close();
  }
  const entries = source.position - after;
  const rate = Math.round(entries / Math.max(seconds(), 0.001)).toLocaleString('en');
  io.out.write(
    `Entries    ${entries.toLocaleString('en')}${after > 0 ? ` after ${after.toLocaleString('en')} that were there` : ''}\n` +
      `Positions  ${source.position === 0 ? 'none' : `1 to ${source.position.toLocaleString('en')}`}\n` +
      `Time       ${seconds().toFixed(1)} s (${rate} entries/s)\n` +
      `${path} has all of ${source.name}.\n`,
  );
  if (source.live) {
    io.out.write('Entries that come from now on are not in it: stop the service and run this again, it continues.\n');
  }
  io.out.write(`Next: DATABASE_URL=postgres://… npm run ledger:import -- ${path}\n`);
  return 0;
});

/** Nothing is written before it is known that the file is one of this ledger. */
async function write(
  path: string,
  there: ArchivedSoFar | null,
  source: LedgerSource,
  onProgress: (count: number) => void,
): Promise<void> {
  let writer: ArchiveWriter | null = null;
  let count = 0;
  let last = '';
  try {
    for await (const page of source.pages) {
      let lines = page;
      if (!writer) {
        const header = readArchiveLine(page[0]!) as HeaderLine;
        assertSameLedger(path, there, header, source.name);
        writer = await ArchiveWriter.open(path, there?.bytes ?? null);
        if (there?.header) lines = page.slice(1);
      }
      await writer.write(lines);
      for (const line of lines) if (line.startsWith('{"type":"entry"')) count++;
      last = page.at(-1)!;
      onProgress(count);
    }
    if (!last.startsWith('{"type":"end"')) {
      throw new NoLedger(`${source.name} broke off after ${count} entries. Run this again: it continues.`);
    }
    await writer?.sync();
  } finally {
    await writer?.close();
  }
}

/** @throws UnusableArchive */
function assertSameLedger(path: string, there: ArchivedSoFar | null, header: HeaderLine, name: string): void {
  if (!there?.header) return;
  if (there.header.ledger_id !== header.ledger_id) {
    throw new UnusableArchive(`${path} is an export of another ledger than ${name}; it was left as it is`);
  }
  if (there.entryHash !== header.entry_hash) {
    throw new UnusableArchive(
      `${path} has another entry at position ${there.after} than ${name}; it was left as it is`,
    );
  }
}

if (require.main === module) void runAsProcess(run);
