import { markIn, type Content } from './traffic.js';

/** What of a ledger's entry tells what became of a message. */
export interface StoredEntry {
  position: number;
  kind: 'order' | 'repair' | 'refund';
  outcome: 'accepted' | 'corrected' | 'failed';
  userId: string | null;
  /** Cents. */
  value: number | null;
  reasons: string[];
  refPosition: number | null;
  body: string;
}

/** A retry that was asked for. */
export interface AskedRetry {
  /** Marks: of the failed content, and of the mended order. */
  of: number;
  mark: number;
  /** Whether the service said yes; else nobody knows. */
  promised: boolean;
}

/** What was done to a service, to be held against what it made of that. */
export interface Doings {
  contents: ReadonlyMap<number, Content>;
  /** Marks of all messages on the queue so far. */
  sent: ReadonlySet<number>;
  retries: readonly AskedRetry[];
  /** Whether all retries have had their time: those that were promised must have come about. */
  ended: boolean;
}

/**
 * Whether every message is accounted for: every content that was sent is there once, as what it is by the contract, and
 * nothing else is.
 * @param waiting bodies of the refunds that wait for their order
 * @returns what is wrong, one fact each
 */
export function accountFaults(doings: Doings, entries: StoredEntry[], waiting: string[]): string[] {
  const account = new Account(entries, waiting);
  const { contents, sent, retries, ended } = doings;
  const orders = new Map<string, number[]>();
  const rivals = new Map<string, number[]>();
  for (const mark of sent) {
    const content = contents.get(mark)!;
    if (content.kind === 'order') push(orders, content.orderId, mark);
    else if (content.kind === 'refund' && content.rival) push(rivals, content.orderId, mark);
    else if (content.kind === 'failed') account.expectFailed(mark, content.reasons);
  }
  for (const marks of orders.values()) account.expectOneCounts(marks, contents, 'conflicting_duplicate');
  for (const mark of sent) {
    const content = contents.get(mark)!;
    if (content.kind !== 'refund' || content.rival) continue;
    if (!orders.has(content.orderId)) account.expectWaits(mark);
    else if (content.fate === 'counts') account.expectCounts(mark, content);
    else account.expectFailed(mark, [content.fate]);
  }
  for (const [orderId, marks] of rivals) {
    if (!orders.has(orderId)) for (const mark of marks) account.expectWaits(mark);
    else account.expectOneCounts(marks, contents, (contents.get(marks[0]!) as Content & { kind: 'refund' }).fate);
  }
  for (const retry of retries) account.expectMended(retry, contents.get(retry.mark)!, ended);
  return [...account.faults, ...account.unexpected()];
}

class Account {
  readonly faults: string[] = [];
  private readonly byMark = new Map<number, StoredEntry[]>();
  private readonly waiting = new Set<number | null>();
  private readonly repairs = new Map<number, StoredEntry>();
  private readonly known = new Set<StoredEntry>();

  constructor(
    private readonly entries: StoredEntry[],
    waiting: string[],
  ) {
    for (const body of waiting) this.waiting.add(markIn(body));
    for (const entry of entries) {
      if (entry.kind === 'repair') this.repairs.set(entry.refPosition!, entry);
      else push(this.byMark, markIn(entry.body) ?? -1, entry);
    }
  }

  expectFailed(mark: number, reasons: string[]): void {
    const entry = this.one(mark);
    if (entry && !(entry.outcome === 'failed' && entry.reasons.join() === reasons.join())) {
      this.say(mark, `${textOf(entry)} instead of failed for ${reasons.join()}`);
    }
  }

  expectCounts(mark: number, content: Content): void {
    const entry = this.one(mark);
    if (entry && !counts(entry, content)) this.say(mark, `${textOf(entry)} instead of ${JSON.stringify(content)}`);
  }

  /** Of some contents one counts, whichever; the others fail. */
  expectOneCounts(marks: number[], contents: ReadonlyMap<number, Content>, reason: string): void {
    const there = marks.filter((mark) => this.one(mark));
    const counting = there.filter((mark) => counts(this.byMark.get(mark)![0]!, contents.get(mark)!));
    if (there.length === marks.length && counting.length !== 1) {
      const found = there.map((mark) => textOf(this.byMark.get(mark)![0]!));
      this.say(marks[0]!, `of ${marks.length} contents of which one counts ${counting.length} do: ${found.join('; ')}`);
    }
    for (const mark of there) if (!counting.includes(mark)) this.expectFailed(mark, [reason]);
  }

  expectWaits(mark: number): void {
    if (!this.waiting.has(mark)) this.say(mark, 'does not wait for its order');
    for (const entry of this.byMark.get(mark) ?? []) this.say(mark, `${textOf(entry)}, and its order has not come`);
  }

  /** A failed entry is mended with the order that it was asked with, or not at all. */
  expectMended({ of, mark, promised }: AskedRetry, content: Content, ended: boolean): void {
    const failed = this.byMark.get(of)?.[0];
    const repair = failed && this.repairs.get(failed.position);
    if (repair) {
      this.known.add(repair);
      this.expectCounts(mark, content);
      return;
    }
    if (this.byMark.has(mark)) this.expectNothing(mark);
    else if (promised && ended) this.say(of, 'was to be mended, and never was');
  }

  /** Whatever is left when all that is expected is known. */
  unexpected(): string[] {
    return this.entries
      .filter((entry) => !this.known.has(entry))
      .map((entry) => `Nobody sent what is at position ${entry.position}: ${textOf(entry)}`);
  }

  private expectNothing(mark: number): void {
    for (const entry of this.byMark.get(mark)!) {
      this.known.add(entry);
      this.say(mark, `${textOf(entry)}, and what it was to mend is not mended`);
    }
  }

  private one(mark: number): StoredEntry | null {
    const found = this.byMark.get(mark) ?? [];
    for (const entry of found) this.known.add(entry);
    if (found.length !== 1) {
      this.say(mark, `is stored ${found.length} times instead of once: ${found.map(textOf).join('; ') || 'nowhere'}`);
    }
    return found[0] ?? null;
  }

  private say(mark: number, fault: string): void {
    this.faults.push(`Message ${mark} ${fault}`);
  }
}

function counts({ outcome, value, userId }: StoredEntry, content: Content): boolean {
  if (content.kind === 'failed' || value !== content.cents) return false;
  if (content.kind === 'refund') return outcome === 'accepted';
  return outcome === content.outcome && userId === content.userId;
}

function textOf({ position, kind, outcome, value, reasons }: StoredEntry): string {
  return `${kind} at position ${position}: ${outcome} ${value ?? reasons.join()}`;
}

function push<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const values = map.get(key);
  if (values) values.push(value);
  else map.set(key, [value]);
}
