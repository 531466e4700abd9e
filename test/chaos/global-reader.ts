import { setTimeout as pause } from 'node:timers/promises';
import type { AuditedEntry } from '../support/ledger-audit.js';
import type { Findings } from './invariants.js';
import type { Slot } from './slot.js';

const PAUSE_MS = 25;
/** Longer than the service waits for any part. */
const ANSWER_TIMEOUT_MS = 15_000;
const UNAVAILABLE = ['stats_rebuilding', 'redis_unavailable', 'ledger_unavailable'];

/** Statistics over everything as `GET /stats/global` tells them; money in cents. */
export interface GlobalFigures {
  position: number;
  orders: number;
  revenue: number;
  failed: number;
  corrected: number;
  users: number;
}

/** Reads the figures of all processes in turn, again and again, and looks at every answer. */
export class GlobalReader {
  /** Answers by status; 0 is none, from a process that was being stopped or started. */
  readonly answers = new Map<number, number>();
  private readonly unproven = new Map<string, GlobalFigures>();
  private furthest = 0;
  private readonly stopping = new AbortController();
  private readonly loops: Promise<void>[];

  constructor(
    slots: readonly Slot[],
    private readonly findings: Findings,
  ) {
    this.loops = slots.map((slot) => this.run(slot));
  }

  /** No more reads; those under way come to their end. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await Promise.all(this.loops);
  }

  /** Holds all that was read since the last time against the ledger. @param bases where figures ever began */
  prove(entries: AuditedEntry[], bases: number[]): void {
    const reads = [...this.unproven.values()].filter(({ position }) => position <= entries.length);
    for (const read of reads) this.unproven.delete(nameOf(read));
    this.findings.checked('reads', inexactReads(reads, entries, bases), reads.length);
  }

  /** What was read of positions that the ledger has not reached at the end. */
  leftover(): string[] {
    return [...this.unproven.keys()].map((read) => `${read} was read, and the ledger does not go so far`);
  }

  private async run(slot: Slot): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const { url } = slot;
      if (url) await this.read(slot, url);
      await pause(PAUSE_MS);
    }
  }

  private async read(slot: Slot, url: string): Promise<void> {
    const [atLeast, began] = [this.furthest, slot.changes];
    try {
      const response = await fetch(`${url}/stats/global`, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
      const body = (await response.json()) as Answer;
      this.count(response.status);
      this.findings.checked('answered');
      if (response.status === 200) this.look(figuresIn(body), atLeast, slot);
      else this.lookAtFailure(response, body, slot);
    } catch (error) {
      this.count(0);
      // A process that is ended, started or stopped meanwhile owes no answer.
      if (slot.changes !== began || !slot.isWell) return;
      const cause = (error as Error).cause as Error | undefined;
      this.findings.checked('answered', [`${slot.name} does not answer: ${cause?.message ?? String(error)}`]);
    }
  }

  private look(read: GlobalFigures, atLeast: number, slot: Slot): void {
    const goesBack = `${slot.name} tells of position ${read.position} after ${atLeast} was told of before`;
    this.findings.checked('forward', read.position < atLeast ? [goesBack] : []);
    this.furthest = Math.max(this.furthest, read.position);
    this.unproven.set(nameOf(read), read);
  }

  private lookAtFailure(response: Response, body: Answer, slot: Slot): void {
    const known = response.status === 503 && UNAVAILABLE.includes(body.code);
    this.findings.checked('reads', known ? [] : [`${slot.name} answers ${response.status} ${JSON.stringify(body)}`]);
  }

  private count(status: number): void {
    this.answers.set(status, (this.answers.get(status) ?? 0) + 1);
  }
}

/**
 * Which figures are not those of the ledger up to their position, whichever of the places they begin at.
 * @returns one text each
 */
export function inexactReads(reads: GlobalFigures[], entries: AuditedEntry[], bases: number[]): string[] {
  const wanted = new Map<number, string[]>(reads.map(({ position }) => [position, []]));
  for (const base of bases) {
    const figures = new FiguresSoFar(base);
    for (let position = 0; position <= entries.length; position++) {
      if (position > base) figures.add(entries[position - 1]!);
      if (position >= base) wanted.get(position)?.push(nameOf(figures.at(position)));
    }
  }
  return reads
    .filter((read) => !wanted.get(read.position)!.includes(nameOf(read)))
    .map((read) => {
      const expected = [...new Set(wanted.get(read.position))].join(' or ');
      return `${nameOf(read)} was read; the ledger says ${expected}`;
    });
}

/** Adds up entry by entry what comes after a base, as the figures of a generation do. */
class FiguresSoFar {
  private readonly sums = { orders: 0, revenue: 0, failed: 0, corrected: 0 };
  private readonly users = new Set<string>();

  constructor(private readonly base: number) {}

  add({ kind, outcome, value, userId, refPosition }: AuditedEntry): void {
    const fails = outcome === 'failed' && kind !== 'repair';
    if (fails) {
      this.sums.failed++;
      return;
    }
    if (refPosition !== null && refPosition <= this.base) return;
    if (kind === 'repair') this.sums.failed--;
    if (kind === 'refund') this.sums.revenue -= value!;
    if (kind !== 'order') return;
    this.sums.orders++;
    this.sums.revenue += value!;
    if (outcome === 'corrected') this.sums.corrected++;
    this.users.add(userId!);
  }

  at(position: number): GlobalFigures {
    return { position, ...this.sums, users: this.users.size };
  }
}

interface Answer {
  total_orders: number;
  total_revenue: number;
  failed_orders: number;
  corrected_orders: number;
  unique_users: number;
  as_of: { position: number };
  code: string;
}

function figuresIn(body: Answer): GlobalFigures {
  return {
    position: body.as_of.position,
    orders: body.total_orders,
    revenue: Math.round(body.total_revenue * 100),
    failed: body.failed_orders,
    corrected: body.corrected_orders,
    users: body.unique_users,
  };
}

function nameOf({ position, orders, revenue, failed, corrected, users }: GlobalFigures): string {
  return `at ${position}: ${orders} orders of ${revenue} cents, ${failed} failed, ${corrected} corrected, ${users} users`;
}
