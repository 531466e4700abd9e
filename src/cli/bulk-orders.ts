import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { sampleOrders, type SampleOrder } from '../producer/sample-orders.rules.js';
import { instantOf, RUN_ID, sampleRun } from '../producer/sample-run.rules.js';
import { command, numberArgument, runAsProcess, wholeArgument, WrongUsage } from './command.js';
import { Progress } from './progress.js';
import { connectToQueue } from './queue-connection.js';
import { printSummary, sendNumbered, type NumberedBody } from './sending.js';

const DEFAULT_COUNT = 1_000;
const MOST = 10_000_000;
const USAGE = `Sends many sample orders to the orders queue.

Usage: npm run bulk-orders -- [COUNT] [options]

  COUNT                how many orders, 1 to ${MOST} (default ${DEFAULT_COUNT})
  --invalid-rate RATE  share of orders that are wrong in some way, 0 to 1 (default 0.2)
  --seed NUMBER        fixes the content of the orders
  --run-id TEXT        stands in every order id; letters, digits, - and _, at most 32
  --as-of TIME         the orders are of the 180 days up to this ISO time (default now)
  --help               this text

The queue is the running service's own one; set SQS_ENDPOINT for another.
`;

/** `npm run bulk-orders`: many sample orders. Exit code 1 if some could not be sent. */
export const run = command(USAGE, async (argv, io) => {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      'invalid-rate': { type: 'string' },
      seed: { type: 'string' },
      'run-id': { type: 'string' },
      'as-of': { type: 'string' },
    },
  });
  if (positionals.length > 1) throw new WrongUsage('Give one COUNT only');
  const sample = sampleRun(
    {
      count: wholeArgument('COUNT', positionals[0] ?? String(DEFAULT_COUNT), 1, MOST),
      invalidRate: optional(values['invalid-rate'], (text) => numberArgument('--invalid-rate', text, 0, 1)),
      seed: optional(values.seed, (text) =>
        wholeArgument('--seed', text, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
      ),
      runId: optional(values['run-id'], runIdArgument),
      asOf: optional(values['as-of'], timeArgument),
    },
    randomBytes(8),
    Date.now(),
  );

  const connection = await connectToQueue(io.environment);
  try {
    let taken = 0;
    const bodies = numbered(sampleOrders(sample), (line) => (taken = line));
    const share = (): number => taken / sample.count;
    const { sent, failed, seconds } = await sendNumbered(connection, bodies, new Progress(io.err), {
      unit: 'order',
      share,
    });
    printSummary(io, { Sent: sent, 'Not sent': failed }, sent, seconds);
    io.out.write(`Run id     ${sample.runId}\nSee ${connection.serviceUrl}/stats/global\n`);
    return failed > 0 ? 1 : 0;
  } finally {
    connection.close();
  }
});

function* numbered(samples: Iterable<SampleOrder>, onTaken: (line: number) => void): Generator<NumberedBody> {
  let line = 0;
  for (const { body } of samples) {
    onTaken(++line);
    yield { line, body };
  }
}

function optional<T>(text: string | undefined, read: (text: string) => T): T | undefined {
  return text === undefined ? undefined : read(text);
}

function runIdArgument(text: string): string {
  if (RUN_ID.test(text)) return text;
  throw new WrongUsage(`--run-id must be 1 to 32 letters, digits, - or _, not "${text}"`);
}

function timeArgument(text: string): number {
  const time = instantOf(text);
  if (!Number.isNaN(time)) return time;
  throw new WrongUsage(`--as-of must be an ISO time such as 2026-01-31T12:00:00Z, not "${text}"`);
}

if (require.main === module) void runAsProcess(run);
