/** Where an order is on its way. */
export const ORDER_STATUSES = [
  'pending',
  'reserved',
  'paid',
  'shipped',
  'completed',
  'failed_no_stock',
  'payment_failed',
  'payment_unknown',
  'cancelled',
] as const;

/** One of {@link ORDER_STATUSES}. */
export type OrderStatus = (typeof ORDER_STATUSES)[number];

/** Every move an order can make; there are no others. */
export const TRANSITIONS: Readonly<Record<OrderStatus, readonly OrderStatus[]>> = {
  pending: ['reserved', 'failed_no_stock', 'cancelled'],
  reserved: ['paid', 'payment_failed', 'payment_unknown', 'cancelled'],
  payment_unknown: ['paid', 'payment_failed', 'cancelled'],
  paid: ['shipped', 'cancelled'],
  shipped: ['completed'],
  completed: [],
  failed_no_stock: [],
  payment_failed: [],
  cancelled: [],
};

const FIRST: OrderStatus = 'pending';

/** An order can't make this move: a mistake of ours, since whoever moves an order looks at its status first. */
export class IllegalMove extends Error {
  override readonly name = 'IllegalMove';
  constructor(from: OrderStatus, to: OrderStatus) {
    super(`An order that is ${from} can't become ${to}, only ${TRANSITIONS[from].join(', ') || 'stay as it is'}`);
  }
}

/** Whether an order may still be cancelled. */
export function isCancellable(status: OrderStatus): boolean {
  return TRANSITIONS[status].includes('cancelled');
}

/** @throws IllegalMove */
export function assertMove(from: OrderStatus, to: OrderStatus): void {
  if (!TRANSITIONS[from].includes(to)) throw new IllegalMove(from, to);
}

/**
 * Checks a table of moves: each status can be reached, and from each the way leads to an end.
 * @throws Error naming every status that is not so
 */
export function assertValidTransitions(moves: Readonly<Record<string, readonly string[]>>): void {
  const all = Object.keys(moves);
  const reached = reachable(moves, FIRST);
  const mistakes = [
    ...all.filter((status) => !reached.has(status)).map((status) => `${status} can't be reached`),
    ...[...reached].filter((status) => !all.includes(status)).map((status) => `${status} is not in the table`),
    ...all
      .filter((status) => ![...reachable(moves, status)].some((end) => moves[end]?.length === 0))
      .map((status) => `${status} leads to no end`),
  ];
  if (mistakes.length > 0) throw new Error(`The table of an order's moves is wrong: ${mistakes.join('; ')}`);
}

function reachable(moves: Readonly<Record<string, readonly string[]>>, from: string): Set<string> {
  const found = new Set([from]);
  for (const status of found) for (const next of moves[status] ?? []) found.add(next);
  return found;
}
