import { Logger } from '@nestjs/common';
import { findPackageJSON } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { QueueQuestion } from './queue-worker.js';
import { Thread, ThreadEnded } from './thread.js';

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

/** An SQS emulator in a thread of its own, listening on loopback only, its messages kept in a folder. */
export class EmbeddedQueue {
  private stopping = false;

  private constructor(
    private readonly thread: Thread<QueueQuestion>,
    /** `http://127.0.0.1:<port>`, for any SQS client on this machine. */
    readonly endpoint: string,
  ) {
    void thread.ended.then((end) => {
      if (!this.stopping)
        new Logger('EmbeddedQueue').error(`${end.message}; restart the service to have its queue back`);
    });
  }

  /**
   * @param port 0 picks a free one
   * @param dataDir where messages are kept; null keeps them in memory
   * @throws EmbeddedQueuePortTaken
   */
  static async start(port: number, dataDir: string | null): Promise<EmbeddedQueue> {
    const thread = new Thread<QueueQuestion>('queue-worker', 'the thread of the embedded queue');
    try {
      const taken = await thread.ask({
        kind: 'start',
        port,
        dataDir,
        loopback: join(__dirname, '..', 'http', `loopback${extname(__filename)}`),
        fauxqs: join(dirname(findPackageJSON('fauxqs', pathToFileURL(__filename))!), 'dist'),
      });
      return new EmbeddedQueue(thread, `http://127.0.0.1:${taken as number}`);
    } catch (error) {
      await thread.terminate();
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw new EmbeddedQueuePortTaken(port);
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.stopping = true;
    try {
      await this.thread.ask({ kind: 'stop' });
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
    } finally {
      await this.thread.terminate();
    }
  }
}
