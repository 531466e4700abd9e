import type { Outgoing, SendTotals } from '../platform/queue/queue-sender.js';
import type { CommandIo } from './command.js';
import type { Progress } from './progress.js';
import type { QueueConnection } from './queue-connection.js';

/** Beyond this many, rows that could not be sent are only counted: when a queue goes away, it is all that remain. */
const NAMED_FAILURES = 20;

/** A body that a user can find again by its number. */
export interface NumberedBody extends Outgoing {
  /** From 1. */
  line: number;
}

/** Sends bodies, showing how far it is, and names those that could not be sent. */
export async function sendNumbered(
  { sender }: QueueConnection,
  bodies: Iterable<NumberedBody> | AsyncIterable<NumberedBody>,
  progress: Progress,
  { unit, share }: { unit: string; share: () => number },
): Promise<SendTotals & { seconds: number }> {
  const start = performance.now();
  const seconds = (): number => (performance.now() - start) / 1_000;
  let failures = 0;
  try {
    const totals = await sender.sendEach(bodies, {
      onProgress: (sent) => progress.update(share(), sent, seconds()),
      onFailed: ({ line }, { code, message }) => {
        if (++failures <= NAMED_FAILURES) progress.note(`${unit} ${line}: not sent, ${code}: ${message}`);
        else if (failures === NAMED_FAILURES + 1)
          progress.note('More could not be sent; from here on they are only counted.');
      },
    });
    return { ...totals, seconds: seconds() };
  } finally {
    progress.stop();
  }
}

/** Prints the closing figures, one a line. */
export function printSummary(io: CommandIo, counts: Record<string, number>, sent: number, seconds: number): void {
  const figures = Object.entries(counts).map(([label, count]) => [label, count.toLocaleString('en')]);
  const rate = Math.round(sent / Math.max(seconds, 0.001)).toLocaleString('en');
  figures.push(['Time', `${seconds.toFixed(1)} s (${rate} orders/s)`]);
  for (const [label, figure] of figures) io.out.write(`${label!.padEnd(10)} ${figure}\n`);
}
