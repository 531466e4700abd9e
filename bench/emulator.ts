import { findPackageJSON } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * Runs as a child process: an SQS emulator in memory, on a free port of loopback. A queue is filled between two turns
 * of its event loop, so that all messages are there at the same moment, and it tells when so many were deleted.
 */

/** What the parent process asks for. */
export type EmulatorOrder =
  { kind: 'fill'; queue: string; bodies: string[] } | { kind: 'watch'; queue: string; deletions: number };

/** What the parent process is told. Times are ms since the epoch, with fractions. */
export type EmulatorReport = { kind: 'listening'; port: number } | { kind: 'filled' | 'deleted'; at: number };

interface Queue {
  enqueue(message: unknown): void;
}

interface SqsStore {
  getQueueByName(name: string): Queue | undefined;
}

async function main(): Promise<void> {
  const fauxqs = await import('fauxqs');
  const { SqsStore } = await internal<{
    SqsStore: (new () => SqsStore) & { createMessage(body: string): unknown };
  }>('sqs/sqsStore.js');
  const { SnsStore } = await internal<{ SnsStore: new () => unknown }>('sns/snsStore.js');
  const { S3Store } = await internal<{ S3Store: new () => unknown }>('s3/s3Store.js');
  const sqsStore = new SqsStore();
  const stores = { sqsStore, snsStore: new SnsStore(), s3Store: new S3Store() };
  const emulator = fauxqs.buildApp({ logger: false, host: '127.0.0.1', stores: stores as never });

  let watched = { queue: '', left: 0 };
  emulator.addHook('onResponse', async (request) => {
    if (watched.left <= 0) return;
    const { QueueUrl = '', Entries = [] } = (request.body ?? {}) as { QueueUrl?: string; Entries?: unknown[] };
    if (!String(request.headers['x-amz-target']).endsWith('.DeleteMessageBatch')) return;
    if (!QueueUrl.endsWith(`/${watched.queue}`)) return;
    watched.left -= Entries.length;
    if (watched.left <= 0) tell({ kind: 'deleted', at: now() });
  });

  process.on('message', (order: EmulatorOrder) => {
    if (order.kind === 'watch') {
      watched = { queue: order.queue, left: order.deletions };
      return;
    }
    const queue = sqsStore.getQueueByName(order.queue)!;
    for (const body of order.bodies) queue.enqueue(SqsStore.createMessage(body));
    tell({ kind: 'filled', at: now() });
  });
  process.on('disconnect', () => process.exit());

  await emulator.listen({ port: 0, host: '127.0.0.1' });
  tell({ kind: 'listening', port: (emulator.server.address() as AddressInfo).port });
}

/** Its package exports none of these files, so they are named by where they lie. */
async function internal<Exports>(file: string): Promise<Exports> {
  const root = dirname(findPackageJSON('fauxqs', pathToFileURL(__filename))!);
  return (await import(pathToFileURL(join(root, 'dist', file)).href)) as Exports;
}

function tell(report: EmulatorReport): void {
  process.send!(report);
}

function now(): number {
  return performance.timeOrigin + performance.now();
}

void main();
