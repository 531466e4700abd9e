import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { presentLeftovers, takeAwayLeftovers } from './leftovers.js';
import { thisMachine } from './machine.js';
import type { Measurement, Reading } from './measurement.js';
import { MEASUREMENTS } from './measurements.js';
import { losses } from './processes.js';
import { lineOf, resultOf, tableOf, type Result } from './report.js';

const MAX_ID = Math.max(...MEASUREMENTS.map(({ id }) => id.length));

const USAGE = `npm run bench -- [ID …] [--runs 3] [--scale 1] [--json FILE]

  --runs   runs of each side; medians count
  --scale  share of the full sizes, for a quick look
  --json   where the JSON goes; else it is printed

Measurements:
${MEASUREMENTS.map(({ id, what }) => `  ${id.padEnd(MAX_ID)}  ${what}`).join('\n')}
`;

/** A measurement that could not be made. */
interface Failure {
  id: string;
  error: string;
}

/** How much is to be measured. */
interface Plan {
  measurements: Measurement[];
  /** Of each side. */
  runs: number;
  /** 1 is the full size. */
  scale: number;
  /** Where the JSON goes. */
  json?: string;
}

async function main(): Promise<void> {
  const plan = choice();
  const { measurements, runs, scale, json } = plan;
  const machine = await thisMachine();
  const started_at = new Date().toISOString();
  const results: Result[] = [];
  const failures: Failure[] = [];
  for (const [index, measurement] of measurements.entries()) {
    const { id } = measurement;
    const say = (text: string): void => console.error(`${clock()}  ${index + 1}/${measurements.length} ${id}: ${text}`);
    const present = presentLeftovers();
    try {
      const result = await unlessAChildIsLost(measured(measurement, plan, say));
      results.push(result);
      say(lineOf(result));
    } catch (error) {
      if (interrupted) return;
      failures.push({ id, error: (error as Error).message });
      say(`failed: ${(error as Error).stack}`);
      await takeAwayLeftovers(present);
    }
  }
  await takeAwayLeftovers();
  const command = ['npm run bench --', ...process.argv.slice(2)].join(' ');
  const report = JSON.stringify({ command, started_at, runs, scale, machine, results, failures }, null, 2);
  if (scale < 1) console.log(`\nA quick look, at ${scale} of the full sizes; the targets are meant for the full ones.`);
  console.log(`\n${tableOf(results)}\n`);
  for (const { id, error } of failures) console.log(`${id} could not be measured: ${error}`);
  if (json) writeFileSync(json, `${report}\n`);
  else console.log(report);
  process.exit(failures.length > 0 ? 1 : 0);
}

/** The limit and the service in turn, so that what else the machine does falls on both. */
async function measured(measurement: Measurement, { runs, scale }: Plan, say: (text: string) => void): Promise<Result> {
  const [ours, limit]: Reading[][] = [[], []];
  try {
    if (measurement.prepare) say('preparing');
    await measurement.prepare?.(scale);
    for (let run = 1; run <= runs; run++) {
      if (measurement.limit) {
        say(`run ${run} of ${runs}, limit`);
        limit!.push(await measurement.limit(scale));
      }
      say(`run ${run} of ${runs}, ours`);
      ours!.push(await measurement.ours(scale));
    }
  } finally {
    await measurement.dispose?.();
  }
  return resultOf(measurement, ours!, limit!);
}

/** What the command line asks for; ends the process where that can't be. */
function choice(): Plan {
  const options = {
    runs: { type: 'string', default: '3' },
    scale: { type: 'string', default: '1' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  } as const;
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    const unknown = positionals.filter((id) => !MEASUREMENTS.some((measurement) => measurement.id === id));
    if (unknown.length > 0) throw new Error(`There is no measurement ${unknown.join(', ')}`);
    const [runs, scale] = [Number(values.runs), Number(values.scale)];
    if (!(Number.isInteger(runs) && runs > 0)) throw new Error('--runs must be a whole number from 1');
    if (!(scale > 0 && scale <= 1)) throw new Error('--scale must be above 0 and at most 1');
    const measurements = MEASUREMENTS.filter(({ id }) => positionals.length === 0 || positionals.includes(id));
    return { measurements, runs, scale, json: values.json };
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`);
    process.exit(1);
  }
}

/** Fails as soon as a process is gone that the work would wait for without end. */
async function unlessAChildIsLost<T>(work: Promise<T>): Promise<T> {
  const over = new AbortController();
  const lost = once(losses, 'lost', { signal: over.signal }).then(([error]) => Promise.reject(error as Error));
  // Whichever comes second is nobody's concern any more.
  for (const either of [work, lost]) either.catch(() => undefined);
  try {
    return await Promise.race([work, lost]);
  } finally {
    over.abort();
  }
}

function clock(): string {
  return new Date().toISOString().slice(11, 19);
}

let interrupted = false;

/** Ends the benchmark and leaves nothing behind. A second signal does not wait for that. */
async function interrupt(): Promise<void> {
  if (interrupted) process.exit(130);
  interrupted = true;
  console.error('\nInterrupted; taking everything away again …');
  await takeAwayLeftovers();
  process.exit(130);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void interrupt());
void main();
