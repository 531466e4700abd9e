import { setTimeout as pause } from 'node:timers/promises';
import { figureFaults, plainFigures, readStored } from '../support/figure-audit.js';
import { ledgerFaults, type AuditedLedger, type LedgerQuery, readLedger } from '../support/ledger-audit.js';
import { eventually } from '../support/eventually.js';
import { RedisKeys } from '../../src/platform/redis/redis-keys.js';
import { QUEUE, TIME_ZONE, type ChaosWorld } from './chaos-world.js';
import { accountFaults, type Doings, type StoredEntry } from './expected-ledger.js';
import type { GlobalReader } from './global-reader.js';
import { invariantOf, type Findings, type Invariant } from './invariants.js';

const SETTLES_WITHIN_MS = 60_000;
/** Who was to make figures anew and died at it keeps others from it for 15 s. */
const FIGURES_WITHIN_MS = 45_000;
/** A moment after they have caught up, another generation may still be on its way. */
const FIGURES_ARE_RIGHT_WITHIN_MS = 10_000;
const PAUSE_BETWEEN_LOOKS_MS = 250;
/** Keys of a generation that nobody is told of any more. */
const LEFT_BEHIND = /keys are of no generation in service/;
const BY_AUDIT: Invariant[] = ['positions', 'lines', 'keys', 'history', 'redis', 'sums', 'rankings'];

/** A part of the ledger as it was when it was first seen. */
interface Segment {
  from: number;
  to: number;
  digest: string;
}

/** Looks at everything that a service left, once it has nothing more to do. */
export class ChaosAudit {
  private readonly history: Segment[] = [];

  constructor(
    private readonly world: ChaosWorld,
    private readonly reader: GlobalReader,
    private readonly findings: Findings,
  ) {}

  /** Waits until all messages are in, looks, and notes what it finds. @param doings what was done so far */
  async run(doings: Doings): Promise<void> {
    await this.settle();
    await this.world.withLedger(async (query) => {
      await this.compare(query);
      const stored = await query<StoredEntry>(STORED_ENTRIES);
      const waiting = await query<{ body: string }>('select body from early_refunds');
      const accounted = accountFaults(
        doings,
        stored,
        waiting.map(({ body }) => body),
      );
      this.findings.checked('accounted', accounted, doings.sent.size);
      await this.proveReads();
    });
    await this.verify();
    const { waiting, inHand } = await this.world.depth(`${QUEUE}-dlq`);
    this.findings.checked('dead', waiting + inHand > 0 ? [`${waiting + inHand} dead letters`] : []);
  }

  /** Holds all reads so far against the ledger. */
  async proveReads(): Promise<void> {
    await this.world.withLedger(async (query) => {
      const { entries } = await readLedger(query, TIME_ZONE);
      this.reader.prove(entries, await basesOf(query));
    });
  }

  /** No message is left, none in hand either, and every process says that it is ready. */
  private async settle(): Promise<void> {
    const settled = eventually(async () => {
      const { waiting, inHand } = await this.world.depth();
      if (waiting + inHand > 0) throw new Error(`${waiting} messages wait, ${inHand} are in hand`);
      for (const slot of this.world.slots) await slot.isReady(0);
    }, SETTLES_WITHIN_MS);
    const faults = await settled.then(
      () => [],
      (error: Error) => [`Not settled after ${SETTLES_WITHIN_MS / 1_000} s: ${error.message}`],
    );
    this.findings.checked('intake', faults);
  }

  /** The ledger and the live figures in themselves, and with each other. */
  private async compare(query: LedgerQuery): Promise<void> {
    const redisKeys = new RedisKeys(this.world.redisKeyPrefix);
    // What is not there in the end is told by the comparison.
    await eventually(() => this.caughtUp(query, redisKeys), FIGURES_WITHIN_MS).catch(() => undefined);
    let { ledger, faults } = await this.figures(query, redisKeys);
    if (faults.length > 0 && faults.every((fault) => LEFT_BEHIND.test(fault))) {
      await this.rebuild();
      ({ ledger, faults } = await this.figures(query, redisKeys));
    }
    faults.push(...(await ledgerFaults(query, ledger)));
    for (const invariant of BY_AUDIT) {
      this.findings.checked(
        invariant,
        faults.filter((fault) => invariantOf(fault) === invariant),
      );
    }
    this.findings.checked('history', await this.rewritten(query, ledger.entries.length));
  }

  /** What is wrong with the live figures, when they have had a moment to come right. */
  private async figures(
    query: LedgerQuery,
    redisKeys: RedisKeys,
  ): Promise<{ ledger: AuditedLedger; faults: string[] }> {
    const deadline = performance.now() + FIGURES_ARE_RIGHT_WITHIN_MS;
    while (true) {
      const ledger = await readLedger(query, TIME_ZONE);
      const { base, generation } = ledger.projection;
      const keys = redisKeys.generation(generation);
      const stored = await readStored(this.world.redis, this.world.redisKeyPrefix, keys);
      const faults = figureFaults(stored, plainFigures(ledger.entries, base, keys), ledger, keys);
      if (faults.length === 0 || performance.now() > deadline) return { ledger, faults };
      await pause(PAUSE_BETWEEN_LOOKS_MS);
    }
  }

  /** Has figures made anew: what a builder that was stopped half-way has left goes with that, and not before. */
  private async rebuild(): Promise<void> {
    const { service } = this.world.slots[0]!;
    await eventually(async () => {
      const { status } = await service.call('POST', '/stats/rebuild', {});
      if (status !== 202) throw new Error(`A rebuild is answered with ${status}`);
    });
    await eventually(async () => {
      const { body } = await service.get('/stats/rebuild?limit=1');
      if (!['done', 'failed'].includes((body as { items: { state: string }[] }).items[0]!.state)) {
        throw new Error('The rebuild takes long');
      }
    }, FIGURES_WITHIN_MS);
  }

  /** Throws while the generation in service is behind the ledger. */
  private async caughtUp(query: LedgerQuery, redisKeys: RedisKeys): Promise<void> {
    const [authority] = await query<{ generation: number; position: number }>(
      'select generation::float8 as generation, position::float8 as position from projection, ledger_head',
    );
    const { checkpoint } = redisKeys.generation(authority!.generation);
    const position = await this.world.redis.hget(checkpoint, 'position');
    if (Number(position ?? -1) !== authority!.position) throw new Error(`The figures are at ${position}`);
  }

  /** What was once seen of the ledger must never change. */
  private async rewritten(query: LedgerQuery, end: number): Promise<string[]> {
    const faults: string[] = [];
    for (const segment of this.history) {
      const digest = await digestOf(query, segment);
      if (digest !== segment.digest) faults.push(`Positions ${segment.from} to ${segment.to} were rewritten`);
    }
    const next = { from: (this.history.at(-1)?.to ?? 0) + 1, to: end };
    if (next.to >= next.from) this.history.push({ ...next, digest: await digestOf(query, next) });
    return faults;
  }

  /** Asks every process for its own proof of the figures. */
  private async verify(): Promise<void> {
    for (const slot of this.world.slots) {
      const answer = await eventually(async () => {
        const { status, body } = await slot.service.get('/stats/verify');
        if (status !== 200) throw new Error(`${slot.name} answers ${status} to /stats/verify: ${JSON.stringify(body)}`);
        return body as { verified: boolean; drift_cents: number; mismatches: unknown[] };
      }).catch((error: Error) => error);
      const fault = answer instanceof Error ? answer.message : !answer.verified && JSON.stringify(answer);
      this.findings.checked('verified', fault ? [fault] : []);
    }
  }
}

/** All places where live figures ever began: the beginning, and where they were cleared. */
async function basesOf(query: LedgerQuery): Promise<number[]> {
  const cleared = await query<{ after: string }>(`select after from audit_log where action = 'statistics.cleared'`);
  return [...new Set([0, ...cleared.map(({ after }) => (JSON.parse(after) as { base: number }).base)])];
}

async function digestOf(query: LedgerQuery, { from, to }: Omit<Segment, 'digest'>): Promise<string> {
  const [row] = await query<{ digest: string }>(
    `select encode(sha256(convert_to(string_agg(ledger::text, E'\\n' order by position), 'UTF8')), 'hex') as digest
     from ledger where position between ${from} and ${to}`,
  );
  return row!.digest;
}

const STORED_ENTRIES = `
  select position::float8 as position, kind, outcome, user_id as "userId", value_cents::float8 as value, reasons,
    ref_position::float8 as "refPosition", body
  from ledger order by ledger.position`;
