import type { RecordedTransaction } from './transaction-recorder.js';

/** What each order has its own of. */
export type Kind = 'order' | 'tracking' | 'lock' | 'uuid' | 'first sku' | 'second sku';

/** A statement of an order's. */
export interface ScriptStatement {
  text: string;
  values: unknown[];
  /** Whether something of the order is among its values; if not, it is the same for whatever order it is issued. */
  isNamed: boolean;
  /** Whether one of its values is a JSON list, of this order alone in the recording, so that it is issued once for many. */
  isForAll: boolean;
  /** What of its answer the order goes on with: the recorded value, and the column it came in. */
  gives: { name: string; column: string }[];
}

/** A transaction of an order's. */
export interface ScriptTransaction {
  /** False for a statement by itself. */
  isBegun: boolean;
  statements: ScriptStatement[];
  /** How many messages it puts into the outbox. */
  messages: number;
}

/** All that the service has PostgreSQL do for one order, from a recording of it. */
export interface OrderScript {
  /** What is to be replaced for another order wherever it is written, but for what the answers give. */
  names: Record<string, Kind>;
  /** In their order. */
  transactions: ScriptTransaction[];
  /** Those of the carrier's, in their order; the service has many orders in one of them. */
  together: ScriptTransaction[];
  /** Takes messages out of the outbox, as many as its last value says; answers with their `id` and `queue`. */
  claim: ScriptStatement;
  /** Deletes those whose ids are its value, as JSON. */
  sent: string;
}

/** The order that was recorded. */
export interface RecordedOrder {
  id: string;
  trackingNumber: string;
  /** By SKU. */
  skus: string[];
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
/** The key of an advisory lock that is made from the order's idempotency key. */
const LOCK = /^-?\d{12,}$/;
/** The ledger's append has the order's event among its values: it is what comes after the order, and no part of it. */
const AFTERWARDS = /\bappend_entries\b/;
const OUTBOX_INSERT = /^\s*insert into outbox\b/;
const OUTBOX_CLAIM = /^\s*update outbox\b/;
const OUTBOX_DELETE = /^\s*delete from outbox\b/;

/**
 * Makes a script of one order out of a recording. What looks for something to do and what seals, stores and counts later
 * has nothing of the order among its values, and so is left out.
 * @throws Error where something is missing that every order needs
 */
export function scriptOf(recorded: RecordedTransaction[], order: RecordedOrder): OrderScript {
  const { id, trackingNumber, skus } = order;
  const names = new Map<string, Kind>([
    [id, 'order'],
    [trackingNumber, 'tracking'],
    [skus[0]!, 'first sku'],
    [skus[1]!, 'second sku'],
  ]);
  const ofOrder = recorded.filter(
    ({ isCommitted, statements }) =>
      isCommitted &&
      statements.some(({ values }) => isAmong(values, [id])) &&
      !statements.some(({ text }) => AFTERWARDS.test(text)),
  );
  for (const value of ofOrder.flatMap(({ statements }) => statements.flatMap(({ values }) => values))) {
    if (typeof value !== 'string') continue;
    for (const uuid of value.match(UUID) ?? []) names.set(uuid, 'uuid');
    if (LOCK.test(value)) names.set(value, 'lock');
  }
  const known = [...names.keys()];
  const given = new Set<string>();
  const transactions = ofOrder.map((transaction): ScriptTransaction => {
    const statements = transaction.statements.map(({ text, values, rows }): ScriptStatement => {
      const isNamed = isAmong(values, known);
      const isForAll = values.includes(JSON.stringify([id]));
      const gives = Object.entries(rows[0] ?? {}).flatMap(([column, value]) =>
        names.get(value as string) === 'uuid' && !isAmong(values, [value as string])
          ? [{ name: value as string, column }]
          : [],
      );
      for (const { name } of gives) given.add(name);
      return { text, values, isNamed, isForAll, gives };
    });
    return { isBegun: transaction.isBegun, statements, messages: messagesOf(statements) };
  });
  for (const name of given) names.delete(name);
  const relayed = recorded.filter(({ isBegun }) => !isBegun).map(({ statements: [statement] }) => statement!);
  const claim = relayed.find(({ text, rows }) => OUTBOX_CLAIM.test(text) && rows.length > 0);
  const sent = relayed.find(({ text }) => OUTBOX_DELETE.test(text));
  const alone = transactions.filter(({ statements }) => statements.every(({ isNamed }) => isNamed));
  const together = transactions.filter((transaction) => !alone.includes(transaction));
  if (!claim || !sent || alone.length === 0 || together.length === 0) throw new Error('The recording is not complete');
  return {
    names: Object.fromEntries(names),
    transactions: alone,
    together,
    claim: { text: claim.text, values: claim.values, isNamed: false, isForAll: false, gives: [] },
    sent: sent.text,
  };
}

function isAmong(values: unknown[], names: string[]): boolean {
  return values.some((value) => typeof value === 'string' && names.some((name) => value.includes(name)));
}

function messagesOf(statements: ScriptStatement[]): number {
  return statements
    .filter(({ text }) => OUTBOX_INSERT.test(text))
    .reduce((sum, { values }) => sum + (JSON.parse(values.at(-1) as string) as unknown[]).length, 0);
}
