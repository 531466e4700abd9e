import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '../support/eventually.js';
import { ChaosAudit } from './chaos-audit.js';
import type { ChaosWorld, Depth } from './chaos-world.js';
import type { AskedRetry } from './expected-ledger.js';
import { FaultMaker } from './fault-maker.js';
import { FAULT_KINDS, type Fault, type FaultKind } from './faults.js';
import { GlobalReader } from './global-reader.js';
import type { Findings } from './invariants.js';
import type { Plan, Request, Round } from './plan.js';
import type { Message } from './traffic.js';

/** So many messages at most wait while more are sent: faults are to come while there is something to do. */
const MAX_WAITING = 60;
const LOOK_EVERY_MS = 8;
/** A fault whose moment does not come, since another one keeps the service from going on, comes then. */
const MAX_WAIT_FOR_MOMENT_MS = 2_500;
const READY_WITHIN_MS = 60_000;
const DRAINED_WITHIN_MS = 30_000;
/** A repair whose message was lost with the process that had it in hand is sent again after a minute. */
const REPAIRED_WITHIN_MS = 150_000;
const RETRY_LOOKS_WITHIN_MS = 5_000;

/** What a run consisted of. */
export interface Totals {
  messages: number;
  contents: number;
  faults: Map<FaultKind, number>;
  retries: number;
}

/** Carries out a plan in a world, and looks at what comes of it. */
export class ChaosRun {
  readonly totals: Totals = {
    messages: 0,
    contents: 0,
    faults: new Map(FAULT_KINDS.map((kind) => [kind, 0])),
    retries: 0,
  };
  readonly reader: GlobalReader;
  private readonly faults: FaultMaker;
  private readonly audit: ChaosAudit;
  private readonly sent = new Set<number>();
  private readonly retries: AskedRetry[] = [];

  constructor(
    private readonly world: ChaosWorld,
    private readonly plan: Plan,
    private readonly findings: Findings,
  ) {
    this.reader = new GlobalReader(world.slots, findings);
    this.faults = new FaultMaker(world);
    this.audit = new ChaosAudit(world, this.reader, findings);
  }

  /** Starts all processes, and waits until they are ready: then there is a queue. */
  async begin(): Promise<void> {
    await Promise.all(this.world.slots.map((slot) => slot.start()));
    await Promise.all(this.world.slots.map((slot) => slot.isReady(READY_WITHIN_MS)));
  }

  /** Sends the messages of a round, makes its faults at their moments, and waits until the service has recovered. */
  async round(round: Round): Promise<void> {
    this.findings.round = round.number;
    await this.faults.prepare(round.faults);
    const sending = new Sending(this.world, round.messages, this.totals.messages);
    this.totals.messages += round.messages.length;
    for (const { mark } of round.messages) this.sent.add(mark);
    this.totals.contents = this.sent.size;

    const underWay: Promise<void>[] = [];
    const begin = (work: Promise<void>): void => {
      work.catch(() => undefined); // it is waited for below, and may fail before
      underWay.push(work);
    };
    begin(sending.run());
    for (const event of [...round.faults, ...round.requests].sort((a, b) => a.after - b.after)) {
      await sending.acknowledged(event.after);
      begin(isFault(event) ? this.break(event) : this.ask(event));
    }
    await Promise.all(underWay);
    await this.drained();
  }

  /** Looks at everything. @param ended whether no more rounds come */
  async look(ended: boolean): Promise<void> {
    if (ended) await this.repaired();
    await this.audit.run({ contents: this.plan.contents, sent: this.sent, retries: this.retries, ended });
  }

  /** No more reads; the last ones are held against the ledger too. */
  async end(): Promise<void> {
    await this.reader.stop();
    await this.audit.proveReads();
    this.findings.checked('reads', this.reader.leftover());
  }

  private async break(fault: Fault): Promise<void> {
    this.totals.faults.set(fault.kind, this.totals.faults.get(fault.kind)! + 1);
    await this.faults.make(fault);
  }

  /** Whatever comes of a request while parts are broken: what it did shows in the audit. */
  private async ask({ kind, process, retry }: Request): Promise<void> {
    const { url } = this.world.slot(process);
    if (!url) return;
    switch (kind) {
      case 'clear':
        return void (await attempt(`${url}/clear_redis_db`, 'DELETE'));
      case 'rebuild':
      case 'rebuild-from-beginning':
        return void (await attempt(`${url}/stats/rebuild`, 'POST', { from_beginning: kind !== 'rebuild' }));
      case 'retry': {
        const position = await this.positionOf(retry!.orderId);
        if (position === null) return;
        this.totals.retries++;
        const asked = { of: retry!.of, mark: retry!.mark, promised: false };
        this.retries.push(asked);
        asked.promised =
          (await attempt(`${url}/order-events/${position}/retry`, 'POST', { order: retry!.order })) === 202;
      }
    }
  }

  /** Null where PostgreSQL does not answer in time. */
  private async positionOf(orderId: string): Promise<number | null> {
    const find = (): Promise<number> =>
      this.world.withLedger(async (query) => {
        const [found] = await query<{ position: number }>(
          `select position::float8 as position from ledger where order_id = '${orderId}' and outcome = 'failed'`,
        );
        if (!found) throw new Error(`${orderId} has not come yet`);
        return found.position;
      });
    return eventually(find, RETRY_LOOKS_WITHIN_MS).catch(() => null);
  }

  /** When nothing is broken any more, no message waits for long. */
  private async drained(): Promise<void> {
    const faults = await eventually(async () => {
      const { waiting } = await this.world.depth();
      if (waiting > 0)
        throw new Error(`${waiting} messages still wait ${DRAINED_WITHIN_MS / 1_000} s after the faults`);
      return [];
    }, DRAINED_WITHIN_MS).catch((error: Error) => [error.message]);
    this.findings.checked('intake', faults);
  }

  private async repaired(): Promise<void> {
    await eventually(async () => {
      await this.world.withLedger(async (query) => {
        const pending = await query("select id from repairs where state = 'pending'");
        if (pending.length > 0) throw new Error(`${pending.length} repairs are pending`);
      });
    }, REPAIRED_WITHIN_MS).catch(() => undefined); // what was promised and is not there is found by the audit
  }
}

/** Puts messages on the queue as fast as they are taken, and knows how many were acknowledged. */
class Sending {
  private sent: number;
  private over = false;
  private depth: Depth = { waiting: 0, inHand: 0 };
  private acknowledgedBefore: number | null = null;

  /** @param before how many were sent ever before */
  constructor(
    private readonly world: ChaosWorld,
    private readonly messages: readonly Message[],
    private readonly before: number,
  ) {
    this.sent = before;
  }

  async run(): Promise<void> {
    const bodies = this.messages.map(({ body }) => body);
    await this.look();
    for (let start = 0; start < bodies.length; start += 10) {
      while (this.depth.waiting > MAX_WAITING) {
        await pause(LOOK_EVERY_MS);
        await this.look();
      }
      const next = bodies.slice(start, start + 10);
      await this.world.send(next);
      this.sent += next.length;
      await this.look();
    }
    this.over = true;
  }

  /** Waits until so many messages were acknowledged since this began, or nothing more is to be expected. */
  async acknowledged(count: number): Promise<void> {
    const deadline = performance.now() + MAX_WAIT_FOR_MOMENT_MS;
    while (performance.now() < deadline) {
      await this.look();
      if (this.sent - this.depth.waiting - this.depth.inHand - this.acknowledgedBefore! >= count) return;
      if (this.over && this.depth.waiting === 0) return;
      await pause(LOOK_EVERY_MS);
    }
  }

  private async look(): Promise<void> {
    this.depth = await this.world.depth();
    this.acknowledgedBefore ??= this.before - this.depth.waiting - this.depth.inHand;
  }
}

function isFault(event: Fault | Request): event is Fault {
  return FAULT_KINDS.includes(event.kind as FaultKind);
}

/** @returns the status, or null where there was no answer */
async function attempt(url: string, method: string, body?: object): Promise<number | null> {
  try {
    const response = await fetch(url, {
      method,
      ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(15_000),
    });
    await response.text();
    return response.status;
  } catch {
    return null;
  }
}
