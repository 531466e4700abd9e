import type { AppendResult } from '../../../src/ledger/ledger-entry.js';
import { RedisKeys } from '../../../src/platform/redis/redis-keys.js';
import type { ValidatedMessage } from '../../../src/domain/order-event.js';
import type { Checkpoint } from '../../../src/stats/projection/checkpoint.js';
import type { GlobalCounts } from '../../../src/stats/api/live-statistics.service.js';
import type { ModelEntry } from './model-ledger.js';
import type { ModelStore } from './model-database.js';
import type { ModelQueue, QueuedMessage } from './model-queue.js';
import type { ModelRedis } from './model-redis.js';
import { type Amounts, keysFor, recomputed } from './recomputation.js';
import { KEY_PREFIX, TIME_ZONE } from './simulated-process.js';
import type { Trace } from './trace.js';
import type { Content, PlannedMessage } from './traffic.js';

/** Statistics that were read. */
type Seen = Pick<Checkpoint, 'generation' | 'position'>;

const YEAR_MS = 366 * 86_400_000;
const NOTHING_READ: Seen = { generation: 0, position: 0 };

/** What was known before a reader began to read. */
export interface ReadBegun {
  /** Was in service already. */
  generation: number;
  /** What the same process had read. */
  own: Seen;
  /** How far figures of each generation had been read by anybody. */
  all: Map<number, number>;
}

/** Watches what happens in a simulation, and knows by itself what must be. */
export class Witness {
  private readonly contents = new Map<string, Content>();
  private readonly entryOf = new Map<Content, number>();
  /** Of orders that count, by their ids: what they are worth and what of it was given back. */
  private readonly counted = new Map<string, { cents: number; refunded: number; at: number }>();
  private readonly refunded = new Set<string>();
  /** Ids of messages whose claimed value is not what their order is worth. */
  private readonly wrongClaims: Set<string>;
  private looked = 0;
  /** Ids of messages whose process died after they were stored. */
  private readonly left = new Set<string>();
  private readonly keys = new RedisKeys(KEY_PREFIX);
  /** By generation and position: what an append-only ledger comes to is worked out once. */
  private readonly computed = new Map<string, Map<string, Amounts>>();
  private inService = 0;
  private readonly readBy = new Map<string, Seen>();
  private readonly readOf = new Map<number, number>();

  constructor(
    private readonly store: ModelStore,
    private readonly redis: ModelRedis,
    private readonly queue: ModelQueue,
    private readonly trace: Trace,
    private readonly messages: PlannedMessage[],
  ) {
    for (const { id, content } of messages) this.contents.set(id, content);
    this.wrongClaims = new Set(messages.filter(({ isRight }) => !isRight).map(({ id }) => id));
  }

  /** When a process dies: what is stored and still on the queue will be delivered again. */
  died(): void {
    for (const id of this.queue.messages.keys()) if (this.entryOf.has(this.contents.get(id)!)) this.left.add(id);
  }

  /** After every append: what was added is new, has the outcome that it should have, and an order counts once. */
  appended(messages: ValidatedMessage[], results: AppendResult[]): void {
    for (const [i, { messageId }] of messages.entries()) {
      if (results[i]!.kind !== 'duplicate' || !this.left.has(messageId)) continue;
      this.trace.reach('intake: delivered again after a crash between append and acknowledgement');
    }
    const { entries } = this.store.ledger;
    for (; this.looked < entries.length; this.looked++) this.added(entries[this.looked]!, this.looked + 1);
  }

  private added(entry: ModelEntry, place: number): void {
    const { position, messageId, outcome, kind, reasons } = entry;
    const content = this.contents.get(messageId)!;
    this.trace.add('ledger', `${position} ${kind} ${outcome} ${content.name}`);
    if (outcome !== 'failed') this.trace.reach(`ledger: ${kind} ${outcome}`);
    for (const reason of reasons) this.trace.reach(`ledger: ${kind} failed, ${reason}`);
    if (position !== place) this.trace.violated(`position ${position} is at place ${place}`);
    const before = this.entryOf.get(content);
    if (before !== undefined) this.trace.violated(`${content.name} is stored at ${before} and at ${position}`);
    this.entryOf.set(content, position);
    const [is, should] = [`${outcome} ${reasons.join()} ${entry.value}`, this.verdictOn(content, messageId)];
    if (is !== should) this.trace.violated(`${content.name} at ${position} is ${is}, and should be ${should}`);
  }

  /** What becomes of a content that comes now, and is new. */
  private verdictOn(content: Content, messageId: string): string {
    switch (content.kind) {
      case 'refused':
        return 'refused';
      case 'failed':
        return `failed ${content.reasons.join()} null`;
      case 'order':
        if (this.counted.has(content.orderId)) return 'failed conflicting_duplicate null';
        this.counted.set(content.orderId, { cents: content.cents, refunded: 0, at: content.at });
        return `${this.wrongClaims.has(messageId) ? 'corrected' : 'accepted'}  ${content.cents}`;
      case 'refund': {
        const order = this.counted.get(content.orderId);
        if (!order) return 'waiting';
        if (this.refunded.has(content.refundId)) return 'failed conflicting_duplicate null';
        if (content.at < order.at - YEAR_MS) return 'failed refund_before_order null';
        if (order.refunded + content.cents > order.cents) return 'failed refund_exceeds_order null';
        this.refunded.add(content.refundId);
        order.refunded += content.cents;
        return `accepted  ${content.cents}`;
      }
    }
  }

  /** Of a message that is taken off the queue: it is stored. */
  acknowledged(message: QueuedMessage): void {
    const content = this.contents.get(message.id)!;
    if (!this.entryOf.has(content) && !this.waits(content)) {
      this.trace.violated(`${message.id} (${content.name}) was acknowledged and is not stored`);
    }
  }

  /** After a checkpoint was written: the ledger has that history, and the generation in service the figures of it. */
  checkpointed(key: string): void {
    const generation = this.keys.generationOf(key)!;
    const values = this.redis.held(key)!.values;
    if (!values.has('position')) return; // it is being filled
    const position = Number(values.get('position'));
    const { ledger } = this.store;
    this.trace.add('redis', `generation ${generation} is at ${position}`);
    if (position > ledger.entries.length) return this.trace.violated(`Redis is at ${position}, ahead of the ledger`);
    if (ledger.hashAt(position) !== values.get('entry_hash')) this.trace.violated('Redis is at another history');
    // What another generation holds matters when it comes into service: a builder that was given up may still write to it.
    if (generation === this.store.authority.read().generation) this.compare(generation, position);
  }

  /** After another generation came into service: it is complete, if it is there. */
  switched(): void {
    const { generation } = this.store.authority.read();
    this.trace.add('database', `generation ${generation} is in service`);
    const checkpoint = this.redis.held(this.keys.generation(generation).checkpoint);
    if (checkpoint) this.compare(generation, Number(checkpoint.values.get('position')));
  }

  /** Whether a key of a generation holds what no fold wrote. */
  isDamaged(generation: number): boolean {
    const held = this.redis.held(this.keys.generation(generation).global);
    return held !== undefined && (held.type !== 'hash' || held.values.get('revenue') === 'junk');
  }

  /** @param reader the process that reads */
  readBegins(reader: string): ReadBegun {
    return { generation: this.inService, own: this.readBy.get(reader) ?? NOTHING_READ, all: new Map(this.readOf) };
  }

  /** After a generation came into service and whoever asked for it was told. */
  told(generation: number): void {
    this.inService = Math.max(this.inService, generation);
  }

  /** What a reader was given: nothing older than what it had seen, or anybody of this generation, before it began. */
  readEnded(reader: string, { generation, position }: Seen, begun: ReadBegun): void {
    this.trace.add(reader, `read generation ${generation} at ${position}`);
    const says = (what: string): void =>
      this.trace.violated(`${reader} read generation ${generation} at ${position} ${what}`);
    if (generation < begun.generation) says(`after ${begun.generation} was in service`);
    if (generation < begun.own.generation) says(`after it had read generation ${begun.own.generation}`);
    const least = Math.max(begun.own.position, begun.all.get(generation) ?? 0);
    if (position < least) says(`after others were seen at ${least}`);
    this.readBy.set(reader, { generation, position });
    this.readOf.set(generation, Math.max(position, this.readOf.get(generation) ?? 0));
  }

  /** What a reader was told of everything. */
  compareGlobal(
    { generation, position }: Checkpoint,
    { orders, revenue, failed, corrected, uniqueUsers }: GlobalCounts,
  ): void {
    const keys = this.keys.generation(generation);
    const expected = this.expected(generation, position);
    const users = expected.get(keys.usersBySpend)?.size ?? 0;
    const should = ['orders', 'revenue', 'failed', 'corrected'].map((name) => expected.get(keys.global)!.get(name));
    if ([orders, revenue, failed, corrected, uniqueUsers].join() === [...should, users].join()) return;
    this.trace.violated(
      `a reader at ${position} was told of ${orders} orders of ${revenue}, and not of ${should.join()}`,
    );
  }

  /** What a reader was given: what the ledger says of these keys. @param names of hashes and sorted sets */
  compareRead({ generation, position }: Checkpoint, names: string[], replies: unknown[]): void {
    const expected = this.expected(generation, position);
    for (const [i, name] of names.entries()) {
      const found = new Map(pairsOf(replies[i]));
      if (!this.holds(name, position, found, expected.get(name) ?? new Map<string, bigint>())) return;
    }
  }

  /** What the figures of a generation are at a position. */
  private expected(generation: number, position: number): Map<string, Amounts> {
    const name = `${generation} ${position}`;
    let expected = this.computed.get(name);
    if (!expected) {
      const base = this.store.authority.bases.get(generation) ?? 0;
      const figures = recomputed(this.store.ledger.entries.slice(0, position), base, TIME_ZONE);
      this.computed.set(name, (expected = keysFor(figures, this.keys.generation(generation))));
    }
    return expected;
  }

  /** Once everything has come to rest. */
  atTheEnd(): void {
    const refused = this.messages.filter(({ content }) => content.kind === 'refused').map(({ id }) => id);
    const letters = this.queue.dead.map(({ id }) => id);
    if (letters.sort().join() !== refused.sort().join()) {
      this.trace.violated(`the dead letters are ${letters.join()}, and should be ${refused.join()}`);
    }
    for (const content of new Set(this.contents.values())) this.settled(content);
    const { generation } = this.store.authority.read();
    this.compare(generation, this.store.ledger.entries.length);
  }

  /** Every content that was sent is in the ledger, or waits for its order, or could not be held. */
  private settled(content: Content): void {
    const isStored = this.entryOf.has(content);
    const hasOrder = content.kind !== 'refund' || this.counted.has(content.orderId);
    if (isStored !== (content.kind !== 'refused' && hasOrder)) {
      this.trace.violated(`${content.name} is ${isStored ? '' : 'not '}stored`);
    }
    if (!hasOrder && !this.waits(content)) this.trace.violated(`${content.name} does not wait for its order`);
  }

  private waits(content: Content): boolean {
    return this.store.ledger.waiting.some(({ messageId }) => this.contents.get(messageId) === content);
  }

  private compare(generation: number, position: number): void {
    if (this.isDamaged(generation)) return;
    const keys = this.keys.generation(generation);
    const expected = this.expected(generation, position);
    const root = keys.checkpoint.slice(0, -'checkpoint'.length);
    for (const name of this.redis.names) {
      if (!name.startsWith(root) || name === keys.checkpoint || expected.has(name)) continue;
      return this.trace.violated(`${name} is there at ${position}, and should not be`);
    }
    for (const [name, amounts] of expected) {
      if (!this.holds(name, position, this.redis.held(name)?.values ?? new Map<string, string>(), amounts)) return;
    }
  }

  private holds(name: string, position: number, found: Map<string, unknown>, expected: Amounts): boolean {
    let fits = found.size === expected.size;
    for (const [field, amount] of expected) fits &&= Number(found.get(field)) === Number(amount);
    // The global figures are written with the first entry, or as zeros by a rebuild.
    if (!fits && found.size === 0 && name.endsWith(':global')) {
      fits = [...expected.values()].every((amount) => amount === 0n);
    }
    if (fits) return true;
    const text = (of: Map<string, unknown>): string =>
      JSON.stringify(Object.fromEntries(Array.from(of, ([field, value]) => [field, String(value)])));
    this.trace.violated(`${name} at ${position} holds ${text(found)}, and should hold ${text(expected)}`);
    return false;
  }
}

/** Of what Redis answers for a hash, or for a sorted set with its scores. */
function pairsOf(reply: unknown): [string, unknown][] {
  if (!Array.isArray(reply)) return Object.entries(reply as object);
  return reply.flatMap((member: string, i) => (i % 2 === 0 ? [[member, reply[i + 1]] as [string, unknown]] : []));
}
