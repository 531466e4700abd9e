import { appendFileSync } from 'node:fs';
import { Client } from 'pg';

/**
 * Is loaded into the service before anything else, and writes down what it has PostgreSQL do: a line of JSON for each
 * transaction that ended, and for each statement outside of one.
 *
 * RECORD_TO is the file; RECORD_ONLY, if given, is a text that one of the statements must have.
 */

/** A statement as the driver was given it, and what came back. */
export interface RecordedStatement {
  text: string;
  values: unknown[];
  rows: Record<string, unknown>[];
}

/** What was done between a begin and its end, those two left out; or a statement by itself. */
export interface RecordedTransaction {
  /** False for a statement by itself. */
  isBegun: boolean;
  isCommitted: boolean;
  statements: RecordedStatement[];
  /** From before the begin until the commit was answered. */
  ms: number;
}

interface OpenTransaction {
  began: number;
  statements: RecordedStatement[];
}

type Result = { rows?: Record<string, unknown>[] } | undefined;
type Callback = (error: unknown, result: Result) => void;
type Query = (this: Client, ...given: unknown[]) => Promise<Result> | undefined;

const { RECORD_TO, RECORD_ONLY = '' } = process.env;
const LINES_PER_WRITE = 200;

const open = new WeakMap<Client, OpenTransaction>();
const lines: string[] = [];

const prototype = Client.prototype as unknown as { query: Query };
const query = prototype.query;

prototype.query = function recorded(...given) {
  const began = performance.now();
  const [asked, values] = given as [string | { text: string }, unknown];
  const statement = {
    text: typeof asked === 'string' ? asked : asked.text,
    values: Array.isArray(values) ? (values as unknown[]) : [],
  };
  const ended = (result: Result): void => note(this, statement, result, began);
  const callback = given.at(-1);
  if (typeof callback === 'function') {
    const noted: Callback = (error, result) => {
      ended(result);
      (callback as Callback)(error, result);
    };
    return query.apply(this, [...given.slice(0, -1), noted]);
  }
  const answer = query.apply(this, given)!;
  answer.then(ended, () => ended(undefined));
  return answer;
};

/** @param result undefined where it failed */
function note(client: Client, asked: Omit<RecordedStatement, 'rows'>, result: Result, began: number): void {
  const transaction = open.get(client);
  const word = asked.text.trim().toLowerCase();
  const statement = { ...asked, rows: result?.rows ?? [] };
  const isDone = result !== undefined;
  if (word.startsWith('begin')) {
    open.set(client, { began, statements: [] });
  } else if (!transaction) {
    write({ isBegun: false, isCommitted: isDone, statements: [statement], ms: performance.now() - began });
  } else if (word === 'commit' || word === 'rollback') {
    open.delete(client);
    const { statements } = transaction;
    const isCommitted = isDone && word === 'commit';
    write({ isBegun: true, isCommitted, statements, ms: performance.now() - transaction.began });
  } else {
    transaction.statements.push(statement);
  }
}

function write(transaction: RecordedTransaction): void {
  if (!transaction.statements.some(({ text }) => text.includes(RECORD_ONLY))) return;
  lines.push(`${JSON.stringify(transaction)}\n`);
  if (lines.length >= LINES_PER_WRITE) flush();
}

function flush(): void {
  appendFileSync(RECORD_TO!, lines.splice(0).join(''));
}

process.on('exit', flush);
