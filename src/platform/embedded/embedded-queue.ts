import { mkdirSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import type { buildApp, BuildAppOptions } from 'fauxqs' with { 'resolution-mode': 'import' };
import { isLoopbackHost } from '../http/loopback.js';

type Emulator = ReturnType<typeof buildApp>;
type Stores = NonNullable<BuildAppOptions['stores']>;
type Persistence = {
  db: DatabaseSync;
  updateMessageReady(messageId: string): void;
  load(...stores: unknown[]): void;
  close(): void;
};
type Persisted<Store> = Omit<Store, 'persistence'> & { persistence?: Persistence };

/** The port of the embedded queue is in use. */
export class EmbeddedQueuePortTaken extends Error {
  constructor(port: number) {
    super(
      `Port ${port}, meant for the embedded SQS, is taken. Stop what uses it, choose another one ` +
        `(EMBEDDED_SQS_PORT=${port + 1} npm start), or use that queue (SQS_ENDPOINT=http://127.0.0.1:${port} npm start).`,
    );
    this.name = 'EmbeddedQueuePortTaken';
  }
}

/** An SQS emulator in this process, listening on loopback only, its messages kept in a folder. */
export class EmbeddedQueue {
  private constructor(
    private readonly emulator: Emulator,
    /** `http://127.0.0.1:<port>`, for any SQS client on this machine. */
    readonly endpoint: string,
  ) {}

  /**
   * @param port 0 picks a free one
   * @param dataDir where messages are kept; null keeps them in memory
   * @throws EmbeddedQueuePortTaken
   */
  static async start(port: number, dataDir: string | null): Promise<EmbeddedQueue> {
    const fauxqs = await import('fauxqs');
    await acceptEveryLegalCharacter();
    const { stores, persistence } = dataDir === null ? {} : await openStores(dataDir);
    const emulator = fauxqs.buildApp({ logger: false, host: '127.0.0.1', ...(stores && { stores }) });
    if (persistence) {
      emulator.addHook('preClose', (done: () => void) => {
        persistence.close();
        done();
      });
    }
    // A web page must not reach the queue by naming a host of its own that resolves to this machine.
    emulator.addHook('onRequest', async (request, reply) => {
      if (!isLoopbackHost(request.headers.host) || request.headers.origin !== undefined) {
        await reply
          .code(403)
          .send({ __type: 'AccessDenied', message: 'This queue serves programs on this machine only.' });
      }
    });
    try {
      await emulator.listen({ port, host: '127.0.0.1' });
    } catch (error) {
      await emulator.close();
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw new EmbeddedQueuePortTaken(port);
      throw error;
    }
    const address = emulator.server.address() as AddressInfo;
    return new EmbeddedQueue(emulator, `http://127.0.0.1:${address.port}`);
  }

  async stop(): Promise<void> {
    await this.emulator.close();
  }
}

/**
 * The emulator's own start function is the only public way to its persistence, and it always listens on all
 * addresses of the machine. So its stores are wired here the way that function does it.
 */
async function openStores(dataDir: string): Promise<{ stores: Stores; persistence: Persistence }> {
  mkdirSync(dataDir, { recursive: true });
  const [{ PersistenceManager }, { SqsStore }, { SnsStore }, { S3Store }] = await Promise.all([
    importFromFauxqs<{ PersistenceManager: new (dataDir: string) => Persistence }>('persistence.js'),
    importFromFauxqs<{ SqsStore: new () => Persisted<Stores['sqsStore']> }>('sqs/sqsStore.js'),
    importFromFauxqs<{ SnsStore: new () => Persisted<Stores['snsStore']> }>('sns/snsStore.js'),
    importFromFauxqs<{ S3Store: new () => Stores['s3Store'] }>('s3/s3Store.js'),
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
async function acceptEveryLegalCharacter(): Promise<void> {
  const { INVALID_MESSAGE_BODY_CHAR } = await importFromFauxqs<{ INVALID_MESSAGE_BODY_CHAR: RegExp }>(
    'sqs/sqsTypes.js',
  );
  INVALID_MESSAGE_BODY_CHAR.compile('[^\\t\\n\\r\\u0020-\\uD7FF\\uE000-\\uFFFD\\u{10000}-\\u{10FFFF}]', 'u');
}

/** Its package exports none of these files, so they are named by where they lie. */
async function importFromFauxqs<Exports>(file: string): Promise<Exports> {
  const root = dirname(findPackageJSON('fauxqs', pathToFileURL(__filename))!);
  return (await import(pathToFileURL(join(root, 'dist', file)).href)) as Exports;
}
