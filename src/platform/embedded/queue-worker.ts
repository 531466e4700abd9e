/**
 * The thread of the embedded queue, an SQS emulator that listens on loopback only. Tests run this file from source, where
 * Node resolves no `.js` import to a `.ts` file. So it imports our types only, and loads other files by the paths in the
 * question.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { mkdirSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { parentPort } from 'node:worker_threads';
import type { buildApp, BuildAppOptions } from 'fauxqs' with { 'resolution-mode': 'import' };
import type { Answered, Asked } from './thread.js';

/** What this thread may be asked. `start` is answered with the port. */
export type QueueQuestion = StartQueue | { kind: 'stop' };

interface StartQueue {
  kind: 'start';
  /** 0 picks a free one. */
  port: number;
  /** Where messages are kept; null keeps them in memory. */
  dataDir: string | null;
  /** The file of isLoopbackHost. */
  loopback: string;
  /** Where the emulator's files lie: its package does not export all that is needed. */
  fauxqs: string;
}

type Emulator = ReturnType<typeof buildApp>;
type Stores = NonNullable<BuildAppOptions['stores']>;
type Persistence = {
  db: DatabaseSync;
  updateMessageReady(messageId: string): void;
  load(...stores: unknown[]): void;
  close(): void;
};
type Persisted<Store> = Omit<Store, 'persistence'> & { persistence?: Persistence };

const port = parentPort!;
const connectionOfRequest = new AsyncLocalStorage<Socket>();
let emulator: Emulator;

port.on('message', ({ id, question }: Asked<QueueQuestion>) => {
  (question.kind === 'start' ? start(question) : emulator.close()).then(
    (answer) => port.postMessage({ id, answer } satisfies Answered),
    (error: Error) => port.postMessage({ id, failure: { ...error, message: error.message } } satisfies Answered),
  );
});

async function start(question: StartQueue): Promise<number> {
  const { buildApp } = await import('fauxqs');
  const { isLoopbackHost } = await importFile<typeof import('../http/loopback.js')>(question.loopback);
  await acceptEveryLegalCharacter(question.fauxqs);
  await keepMessagesFromGoneClients(question.fauxqs);
  const { stores, persistence } = question.dataDir === null ? {} : await openStores(question.dataDir, question.fauxqs);
  emulator = buildApp({ logger: false, host: '127.0.0.1', ...(stores && { stores }) });
  if (persistence) {
    emulator.addHook('preClose', (done: () => void) => {
      persistence.close();
      done();
    });
  }
  emulator.addHook('preHandler', (request, _reply, done) => connectionOfRequest.run(request.raw.socket, done));
  // A web page must not reach the queue by naming a host of its own that resolves to this machine.
  emulator.addHook('onRequest', async (request, reply) => {
    if (!isLoopbackHost(request.headers.host) || request.headers.origin !== undefined) {
      await reply
        .code(403)
        .send({ __type: 'AccessDenied', message: 'This queue serves programs on this machine only.' });
    }
  });
  try {
    await emulator.listen({ port: question.port, host: '127.0.0.1' });
  } catch (error) {
    await emulator.close();
    throw error;
  }
  return (emulator.server.address() as AddressInfo).port;
}

/**
 * The emulator's own start function is the only public way to its persistence, and it always listens on all
 * addresses of the machine. So its stores are wired here the way that function does it.
 */
async function openStores(dataDir: string, fauxqs: string): Promise<{ stores: Stores; persistence: Persistence }> {
  mkdirSync(dataDir, { recursive: true });
  const [{ PersistenceManager }, { SqsStore }, { SnsStore }, { S3Store }] = await Promise.all([
    importFile<{ PersistenceManager: new (dataDir: string) => Persistence }>(join(fauxqs, 'persistence.js')),
    importFile<{ SqsStore: new () => Persisted<Stores['sqsStore']> }>(join(fauxqs, 'sqs', 'sqsStore.js')),
    importFile<{ SnsStore: new () => Persisted<Stores['snsStore']> }>(join(fauxqs, 'sns', 'snsStore.js')),
    importFile<{ S3Store: new () => Stores['s3Store'] }>(join(fauxqs, 's3', 's3Store.js')),
  ]);
  const persistence = new PersistenceManager(dataDir);
  // It writes every message by itself. Without waiting for the disk each time it is several times as fast, and what
  // is written still survives the end of this process, only not a power cut.
  persistence.db.exec('PRAGMA synchronous = NORMAL');
  keepReleasedMessages(persistence);
  const stores = { sqsStore: new SqsStore(), snsStore: new SnsStore(), s3Store: new S3Store() };
  persistence.load(stores.sqsStore, stores.snsStore, stores.s3Store);
  stores.sqsStore.persistence = persistence;
  stores.snsStore.persistence = persistence;
  for (const queue of stores.sqsStore.allQueues()) (queue as Persisted<object>).persistence = persistence;
  return { stores: stores as Stores, persistence };
}

/**
 * A message that is made visible at once keeps its count of receives; the emulator would clear that, which its own table
 * refuses, and the message would be gone until the next start.
 */
function keepReleasedMessages(persistence: Persistence): void {
  const release = persistence.db.prepare(
    'UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL WHERE message_id = ?',
  );
  persistence.updateMessageReady = (messageId) => void release.run(messageId);
}

/**
 * SQS takes characters beyond U+FFFF (emoji in an address, say); the emulator's pattern, written without the `u` flag,
 * refuses them. The pattern is one shared object, so it is mended in place.
 */
async function acceptEveryLegalCharacter(fauxqs: string): Promise<void> {
  const { INVALID_MESSAGE_BODY_CHAR } = await importFile<{ INVALID_MESSAGE_BODY_CHAR: RegExp }>(
    join(fauxqs, 'sqs', 'sqsTypes.js'),
  );
  INVALID_MESSAGE_BODY_CHAR.compile('[^\\t\\n\\r\\u0020-\\uD7FF\\uE000-\\uFFFD\\u{10000}-\\u{10FFFF}]', 'u');
}

/**
 * A long poll whose client hangs up stays in the emulator's list of waiters, and would take the next message with it: it
 * came back only after its visibility timeout.
 */
async function keepMessagesFromGoneClients(fauxqs: string): Promise<void> {
  type Dequeue = (this: unknown, ...args: unknown[]) => unknown[];
  const { SqsQueue } = await importFile<{ SqsQueue: { prototype: { dequeue: Dequeue } } }>(
    join(fauxqs, 'sqs', 'sqsStore.js'),
  );
  const { dequeue } = SqsQueue.prototype;
  SqsQueue.prototype.dequeue = function (...args) {
    return connectionOfRequest.getStore()?.destroyed ? [] : dequeue.apply(this, args);
  };
}

async function importFile<Exports>(path: string): Promise<Exports> {
  return (await import(pathToFileURL(path).href)) as Exports;
}
