/**
 * The thread of the embedded ledger. PostgreSQL computes in WebAssembly, which would hold up whatever else its thread has
 * to do. Tests run this file from source, so it imports nothing of ours but types.
 */
import { PGlite, types, type Transaction } from '@electric-sql/pglite';
import { parentPort } from 'node:worker_threads';
import type { Answered, Asked } from './thread.js';

/** What this thread may be asked. `begin` is answered with the transaction's number, `query` with rows. */
export type LedgerQuestion =
  | { kind: 'open'; folder: string }
  | { kind: 'query'; text: string; params: unknown[]; transaction: number | null }
  | { kind: 'begin' }
  | { kind: 'commit' | 'rollback'; transaction: number }
  | { kind: 'close' };

interface OpenTransaction {
  readonly number: number;
  readonly tx: Transaction;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

const asText = (value: string): string => value;

/** Times, and lists of them and of decimals, stay the text that PostgreSQL writes, as a server's driver leaves them. */
const PARSERS = Object.fromEntries(
  [types.TIMESTAMP, types.TIMESTAMPTZ, types.INTERVAL, types.DATE, 1231, 1115, 1185, 1187, 1182].map((type) => [
    type,
    asText,
  ]),
);

/** PGlite's own takes a quarter of a second for a megabyte. */
const SERIALIZERS = { [types.BYTEA]: (bytes: Uint8Array): string => `\\x${Buffer.from(bytes).toString('hex')}` };

const port = parentPort!;
let store: PGlite;
/** The one that has the store to itself; whatever does not belong to it waits in the store's own queue. */
let open: OpenTransaction | null = null;
let begun = 0;

port.on('message', ({ id, question }: Asked<LedgerQuestion>) => {
  answer(question).then(
    (answer) => port.postMessage({ id, answer } satisfies Answered),
    (error: unknown) => port.postMessage({ id, failure: fieldsOf(error) } satisfies Answered),
  );
});

async function answer(question: LedgerQuestion): Promise<unknown> {
  switch (question.kind) {
    case 'open':
      store = await PGlite.create(question.folder);
      await store.exec(`set timezone = 'UTC'`);
      return;
    case 'query': {
      const executor = question.transaction === null ? store : transaction(question.transaction).tx;
      const { rows } = await executor.query(question.text, question.params, {
        parsers: PARSERS,
        serializers: SERIALIZERS,
      });
      return rows;
    }
    case 'begin':
      open = await begin();
      return open.number;
    case 'commit':
    case 'rollback': {
      const ending = transaction(question.transaction);
      open = null;
      return ending[question.kind]();
    }
    case 'close':
      return store.close();
  }
}

/** Resolves when everybody before it is done. */
function begin(): Promise<OpenTransaction> {
  return new Promise((resolve, reject) => {
    const rolledBack = new Error('rolled back');
    const over = store.transaction(
      (tx) =>
        new Promise<void>((commit, rollback) => {
          resolve({
            number: ++begun,
            tx,
            commit: () => {
              commit();
              return over;
            },
            rollback: async () => {
              rollback(rolledBack);
              await over.catch((error: unknown) => {
                if (error !== rolledBack) throw error;
              });
            },
          });
        }),
    );
    over.catch(reject);
  });
}

function transaction(number: number): OpenTransaction {
  if (open?.number !== number) throw new Error('This transaction is over');
  return open;
}

/** All that PostgreSQL says, but neither the statement nor its parameters, bodies of orders among them. */
function fieldsOf(error: unknown): { message: string } {
  if (!(error instanceof Error)) return { message: String(error) };
  const { query, params, queryOptions, ...fields } = error as Error & Record<string, unknown>;
  return { ...fields, message: error.message };
}
