import { Logger } from '@nestjs/common';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { LedgerQuestion } from './ledger-worker.js';
import { Thread, ThreadEnded } from './thread.js';

/** Whether a data folder has an embedded ledger. Does not look into it. */
export function hasEmbeddedLedger(dataDir: string): boolean {
  return existsSync(join(folderIn(dataDir), 'PG_VERSION'));
}

/** What runs a statement: the ledger's store or a transaction on it. */
export interface LedgerExecutor {
  query<Row>(text: string, params?: unknown[]): Promise<Row[]>;
}

/**
 * The embedded ledger's PostgreSQL (PGlite), in a thread of its own. Only the holder of the data folder's lock may open
 * it, and has to close it. A thread that dies is replaced at the next statement: to the files its end is what `kill -9` is
 * to a process, and what it had answered was committed.
 */
export class EmbeddedLedger implements LedgerExecutor {
  private readonly logger = new Logger('EmbeddedLedger');
  private opening: Promise<Thread<LedgerQuestion>> | null = null;
  private closed = false;

  private constructor(private readonly folder: string) {}

  /** Opens the embedded ledger of a data folder, making it where there is none. */
  static async open(dataDir: string): Promise<EmbeddedLedger> {
    const ledger = new EmbeddedLedger(folderIn(dataDir));
    await ledger.thread();
    return ledger;
  }

  /**
   * Runs one statement. It is committed when this resolves.
   * @throws ThreadEnded; an error with PostgreSQL's fields (`code` is the SQLSTATE) where the statement fails
   */
  async query<Row>(text: string, params: unknown[] = []): Promise<Row[]> {
    return queryOn(await this.thread(), null, text, params);
  }

  /** Runs work in one transaction. Until it ends, statements beside it wait. */
  async transaction<T>(work: (tx: LedgerExecutor) => Promise<T>): Promise<T> {
    const thread = await this.thread();
    const transaction = (await thread.ask({ kind: 'begin' })) as number;
    let result: T;
    try {
      result = await work({ query: (text, params = []) => queryOn(thread, transaction, text, params) });
    } catch (error) {
      // Where even this fails the thread is gone, which the next statement says; why the work failed only this error does.
      await thread.ask({ kind: 'rollback', transaction }).catch(() => undefined);
      throw error;
    }
    await thread.ask({ kind: 'commit', transaction });
    return result;
  }

  async close(): Promise<void> {
    this.closed = true;
    const thread = await this.opening?.catch(() => null);
    if (!thread) return;
    try {
      await thread.ask({ kind: 'close' });
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
    } finally {
      await thread.terminate();
    }
  }

  private thread(): Promise<Thread<LedgerQuestion>> {
    if (this.closed) return Promise.reject(new ThreadEnded('The embedded ledger is closed'));
    if (!this.opening) {
      this.opening = this.openThread();
      this.opening.catch(() => (this.opening = null));
    }
    return this.opening;
  }

  private async openThread(): Promise<Thread<LedgerQuestion>> {
    const thread = new Thread<LedgerQuestion>('ledger-worker', 'the thread of the embedded ledger');
    try {
      await thread.ask({ kind: 'open', folder: this.folder });
    } catch (error) {
      await thread.terminate();
      throw error;
    }
    void thread.ended.then((end) => {
      this.opening = null;
      if (!this.closed) this.logger.error(`${end.message}; another one takes its place`);
    });
    return thread;
  }
}

async function queryOn<Row>(
  thread: Thread<LedgerQuestion>,
  transaction: number | null,
  text: string,
  params: unknown[],
): Promise<Row[]> {
  return (await thread.ask({ kind: 'query', text, params, transaction })) as Row[];
}

function folderIn(dataDir: string): string {
  return join(dataDir, 'ledger');
}
