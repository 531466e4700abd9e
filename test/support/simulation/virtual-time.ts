import timers from 'node:timers/promises';

/** Whose code runs. What a dead one is owed never comes, what a stalled one is owed comes when it goes on. */
export interface Owner {
  readonly name: string;
  dead: boolean;
  /** ms of the virtual clock. */
  stalledUntil: number;
}

/** Something that is to happen, as setTimeout hands it out. */
export interface Timer {
  at: number;
  readonly turn: number;
  /** Null where it belongs to no process. */
  readonly owner: Owner | null;
  /** Null once it is cancelled or has happened. */
  run: (() => void) | null;
  /** ms; of an interval only. */
  readonly every: number | null;
  ref(): Timer;
  unref(): Timer;
}

const realTurn = setImmediate;
const formatters = new Map<string, Intl.DateTimeFormat>();
/** Any time; the clock of every simulation begins here. */
export const START = Date.UTC(2026, 2, 28, 21);

/**
 * A clock that jumps from one event to the next. While it is installed, all that the code of this realm knows of time
 * (Date.now, timers, performance.now, AbortSignal.timeout) is of this clock. What a piece of code does after an `await`
 * belongs to the owner of the event that it waited for.
 */
export class VirtualTime {
  now = START;
  /** How many events have happened. */
  events = 0;
  /** Whose code runs at the moment. */
  current: Owner | null = null;
  private readonly queue: Timer[] = [];
  private turns = 0;

  /** Has something happen at a time, after all that is to happen at the same time already. */
  at(at: number, owner: Owner | null, run: () => void, every: number | null = null): Timer {
    const itself = (): Timer => timer;
    const timer: Timer = {
      at: at > this.now ? at : this.now,
      turn: this.turns++,
      owner,
      run,
      every,
      ref: itself,
      unref: itself,
    };
    this.push(timer);
    return timer;
  }

  /** The same, `ms` from now and for whoever's code runs. */
  in(ms: number, run: () => void): Timer {
    return this.at(this.now + ms, this.current, run);
  }

  /** Lets events happen, each with all that its owner does at once because of it, until `done` or until a time. */
  async run(until: number, done: () => boolean): Promise<void> {
    while (!done()) {
      const next = this.queue[0];
      if (!next || next.at > until) break;
      this.pop();
      const { run, owner } = next;
      if (!run || owner?.dead) continue;
      this.now = next.at;
      if (owner && owner.stalledUntil > this.now) {
        next.at = owner.stalledUntil;
        this.push(Object.assign(next, { turn: this.turns++ }));
        continue;
      }
      if (next.every === null) next.run = null;
      else this.push(Object.assign(next, { at: this.now + next.every, turn: this.turns++ }));
      this.events++;
      this.current = owner;
      run();
      // A real turn of the event loop comes when no promise has anything left to do.
      await new Promise((resolve) => realTurn(resolve));
    }
    this.current = null;
  }

  /** Replaces the clock of this realm. @returns how to put the real one back */
  install(): () => void {
    const own: Record<string, unknown> = {
      setTimeout: (run: () => void, ms = 0) => this.in(Math.max(1, ms), run),
      setInterval: (run: () => void, ms = 1) => this.at(this.now + ms, this.current, run, ms),
      setImmediate: (run: () => void) => this.in(0, run),
      clearTimeout: cancel,
      clearInterval: cancel,
      clearImmediate: cancel,
      performance: { now: () => this.now - START },
    };
    const restore = Object.entries(own).map(([name, value]) => replace(globalThis, name, value));
    restore.push(
      replace(Intl, 'DateTimeFormat', rememberedFormatter(Intl.DateTimeFormat)),
      replace(Error, 'stackTraceLimit', 0), // most of the time goes into traces of errors that are expected
      replace(Date, 'now', () => this.now),
      replace(timers, 'setImmediate', () => new Promise<void>((resolve) => this.in(0, resolve))),
      replace(AbortSignal, 'timeout', (ms: number) => {
        const controller = new AbortController();
        this.in(ms, () => controller.abort());
        return controller.signal;
      }),
    );
    return () => {
      for (const each of restore) each();
    };
  }

  private push(timer: Timer): void {
    const { queue } = this;
    let place = queue.push(timer) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!isBefore(timer, queue[parent]!)) break;
      queue[place] = queue[parent]!;
      place = parent;
    }
    queue[place] = timer;
  }

  private pop(): void {
    const { queue } = this;
    const last = queue.pop()!;
    if (queue.length === 0) return;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= queue.length) break;
      if (child + 1 < queue.length && isBefore(queue[child + 1]!, queue[child]!)) child++;
      if (!isBefore(queue[child]!, last)) break;
      queue[place] = queue[child]!;
      place = child;
    }
    queue[place] = last;
  }
}

function isBefore(one: Timer, other: Timer): boolean {
  return one.at < other.at || (one.at === other.at && one.turn < other.turn);
}

function cancel(timer: Timer | undefined): void {
  if (timer) timer.run = null;
}

/** Formatters have no state, and they and what they say take longer to make than all else that a process does at its start. */
function rememberedFormatter(formatter: typeof Intl.DateTimeFormat) {
  return function (locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
    const name = JSON.stringify([locale, options]);
    let known = formatters.get(name);
    if (known) return known;
    known = new formatter(locale, options);
    const formatToParts = known.formatToParts.bind(known);
    const said = new Map<number, Intl.DateTimeFormatPart[]>();
    known.formatToParts = (ms) => {
      let parts = said.get(ms as number);
      if (!parts) said.set(ms as number, (parts = formatToParts(ms)));
      return parts;
    };
    formatters.set(name, known);
    return known;
  };
}

function replace(holder: object, name: string, value: unknown): () => void {
  const before = Object.getOwnPropertyDescriptor(holder, name)!;
  Object.defineProperty(holder, name, { value, configurable: true, writable: true });
  return () => Object.defineProperty(holder, name, before);
}
