import type { SQL } from 'drizzle-orm';
import type { AppendStatement } from '../../../src/ledger/append-statement.js';
import { AppendQueue } from '../../../src/ledger/append-queue.js';
import type { Ledger } from '../../../src/ledger/ledger.repository.js';
import { Database } from '../../../src/platform/database/database.js';
import type { Aggregation } from '../../../src/stats/rebuild/aggregation.repository.js';
import type { Statistics } from '../../../src/stats/projection/statistics.rules.js';
import {
  BuildLeaseLost,
  type ProjectionStateRepository,
} from '../../../src/stats/projection/projection-state.repository.js';
import { type ModelAuthority, type LeaseHolder } from './model-authority.js';
import { type ModelLedger } from './model-ledger.js';
import { recomputed } from './recomputation.js';

/** Has a transaction done on the database. @param name for the trace */
export type Transact = <T>(name: string, work: () => T) => Promise<T>;

/** All that the ledger's database holds. */
export interface ModelStore {
  readonly ledger: ModelLedger;
  readonly authority: ModelAuthority;
}

interface Operation {
  name: string;
  work(): unknown;
}

/** What of the production Database reaches the server. */
interface ReachesServer {
  prepare(): Promise<void>;
  check(): Promise<void>;
  query(operation: Operation): Promise<unknown[]>;
  guarded<T>(work: () => Promise<T>): Promise<T>;
}

/** The production Database, with its way of taking note of outages, in front of a model. */
export function modelledDatabase(transact: Transact): Database {
  const database = new Database('postgres://model', 1_000); // it connects only when it is asked
  const probe = (): Promise<void> => transact('probe', () => undefined);
  const { guarded } = database as unknown as ReachesServer;
  Object.assign(database, {
    // Its version, and whether it takes writes.
    prepare: async () => {
      await probe();
      await probe();
    },
    check: probe,
    query: ({ name, work }) =>
      guarded.call(database, () => transact(name, (): unknown[] => [work()])) as Promise<unknown[]>,
  } satisfies Pick<ReachesServer, 'prepare' | 'check' | 'query'>);
  return database;
}

/** What the classes around the ledger's database are, where the database is a model. */
export interface DatabaseClients {
  ledger: Ledger;
  authority: ProjectionStateRepository;
  aggregation: Aggregation;
}

/**
 * Clients of the model for what expects those of a real database. Appends go through the production AppendQueue.
 * @param me the process in the eyes of the authority
 * @param timeZone in which the aggregation cuts days
 * @param statement what stands between the queue and the database, if anything
 */
export function databaseClients(
  database: Database,
  store: ModelStore,
  me: string,
  timeZone: string,
  statement: (append: AppendStatement) => AppendStatement = (append) => append,
): DatabaseClients {
  const ask = async <T>(name: string, work: () => T): Promise<T> =>
    (await database.query<T>({ name, work } as unknown as SQL))[0]!;
  const listeners: (() => void)[] = [];
  const queue = new AppendQueue(
    statement((messages) => ask('append', () => store.ledger.append(messages))),
    database.availability,
    () => {
      for (const listener of listeners) listener();
    },
  );
  const ledger: Pick<
    Ledger,
    'append' | 'stopWaiting' | 'onAppended' | 'head' | 'hashAt' | 'entriesAfter' | 'verifyTail' | 'wasPutBack'
  > = {
    append: (messages, deadline) => queue.append(messages, deadline),
    stopWaiting: () => queue.stopWaiting(),
    onAppended: (listener) => void listeners.push(listener),
    // This ledger is never put back.
    verifyTail: () => Promise.resolve(),
    wasPutBack: () => Promise.reject(new Error('Something passes for lost')),
    head: () => ask('head', () => store.ledger.head()),
    hashAt: (position) => ask('hashAt', () => store.ledger.hashAt(position)),
    entriesAfter: (position, limit) => ask('entriesAfter', () => store.ledger.entriesAfter(position, limit)),
  };
  const held = async (
    name: string,
    change: (authority: ModelAuthority, holder: LeaseHolder) => boolean,
    holder: LeaseHolder,
  ) => {
    if (await ask(name, () => change(store.authority, holder))) return;
    const { generation } = await authority.read();
    throw new BuildLeaseLost(generation !== holder.lease.replaces);
  };
  const authority: Pick<ProjectionStateRepository, keyof ProjectionStateRepository> = {
    read: () => ask('authority', () => store.authority.read()),
    claimBuild: ({ fromBeginning = false } = {}) =>
      ask('claim', () => store.authority.claim(me, fromBeginning, store.ledger.head().position)),
    keep: (lease) => held('keep', (row, holder) => row.keep(holder), { me, lease }),
    renew: (lease, done, total) => held('renew', (row, holder) => row.renew(holder, done, total), { me, lease }),
    switchTo: (lease) => held('switch', (row, holder) => row.switchTo(holder), { me, lease }),
    withdraw: (generation) => ask('withdraw', () => store.authority.withdraw(generation)),
    giveUp: (lease) => ask('give up', () => store.authority.giveUp({ me, lease })),
    clear: () => ask('clear', () => store.authority.clear(store.ledger.head())),
  };
  const figures = (from: number, to: number, base: number): Promise<Statistics> =>
    ask('aggregate', () => recomputed(store.ledger.entries.slice(from, to), base, timeZone));
  const aggregation: Pick<Aggregation, 'figures' | 'pages'> = {
    figures,
    pages: async function* (from, to, base, limit) {
      for (let after = from; after < to; after += limit) {
        const position = Math.min(after + limit, to);
        yield { figures: await figures(after, position, base), position };
      }
    },
  };
  return {
    ledger: ledger as Ledger,
    authority: authority as ProjectionStateRepository,
    aggregation: aggregation as Aggregation,
  };
}
