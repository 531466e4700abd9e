import { parseArgs } from 'node:util';
import { command, runAsProcess, WrongUsage } from './command.js';
import { openOrderFile } from './order-files.js';
import { Progress } from './progress.js';
import { connectToQueue } from './queue-connection.js';
import { printSummary, sendNumbered, type NumberedBody } from './sending.js';

const USAGE = `Sends the orders of a file to the orders queue.

Usage: npm run populate -- FILE

  FILE    .jsonl or .ndjson  one order a line, sent as it is
          .json              a list of orders, or one order
          .csv               separated by commas, semicolons or tabs
          .xlsx              the first sheet; at most 100 MiB when unpacked
  --help  this text

The first row of .csv and .xlsx names the columns as the order event's fields: order_id, user_id, order_timestamp,
order_value, items (as JSON), shipping_address, payment_method, currency. Other columns are kept.

A row that can't be read is named and skipped, and the exit code is then 1. An order that is merely wrong is sent:
judging is the pipeline's. The queue is the running service's own one; set SQS_ENDPOINT for another.

Try: npm run populate -- sample/online-retail-sample.jsonl
`;

/** `npm run populate`: the orders of a file. Exit code 1 if any row could not be read or sent. */
export const run = command(USAGE, async (argv, io) => {
  const { positionals } = parseArgs({ args: argv, allowPositionals: true });
  const [path] = positionals;
  if (path === undefined || positionals.length > 1) throw new WrongUsage('Give the name of one file');
  const file = await openOrderFile(path);
  const connection = await connectToQueue(io.environment);
  try {
    const progress = new Progress(io.err);
    let read = 0;
    let skipped = 0;
    async function* readable(): AsyncGenerator<NumberedBody> {
      for await (const row of file.rows) {
        read++;
        if ('body' in row) {
          yield row;
        } else {
          skipped++;
          progress.note(`${file.unit} ${row.line}: skipped, ${row.problem}`);
        }
      }
    }
    const { sent, failed, seconds } = await sendNumbered(connection, readable(), progress, file);
    printSummary(io, { 'Rows read': read, Sent: sent, Skipped: skipped, 'Not sent': failed }, sent, seconds);
    if (read === 0) io.err.write(`${path} has no orders\n`);
    io.out.write(`See ${connection.serviceUrl}/stats/global\n`);
    return sent === read && read > 0 ? 0 : 1;
  } finally {
    connection.close();
  }
});

if (require.main === module) void runAsProcess(run);
