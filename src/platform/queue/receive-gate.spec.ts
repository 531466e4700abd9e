import { setImmediate } from 'node:timers/promises';
import type { Database } from '../database/database.js';
import type { Queue } from './queue.js';
import { MAX_BYTES_IN_FLIGHT, ReceiveGate } from './receive-gate.js';

/** A part that is up or down as a test says. */
class Part {
  up = true;
  private waiting: (() => void)[] = [];

  readonly availability = this;

  waitUntilUp(signal: AbortSignal): Promise<void> {
    if (this.up || signal.aborted) return Promise.resolve();
    signal.addEventListener('abort', () => this.release());
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  comeBack(): void {
    this.up = true;
    this.release();
  }

  private release(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

describe('The gate before receiving', () => {
  const POLLERS = 2;
  const MAX_WAITING = 3;
  let database: Part;
  let queue: Part;
  let gate: ReceiveGate;
  /** What became of every loop that came to the gate, in the order of what happened. */
  let events: string[];

  beforeEach(() => {
    [database, queue, events] = [new Part(), new Part(), []];
    gate = new ReceiveGate(database as unknown as Database, queue as unknown as Queue, POLLERS, MAX_WAITING);
  });

  /** Loops come to the gate, in this order. */
  function come(...loops: number[]): void {
    for (const loop of loops) {
      gate.pass(loop).catch((error: Error) => events.push(`${loop} ${error.name}`));
    }
  }

  function begin(): void {
    gate.begin((loop, phase) => events.push(`${loop} ${phase}`));
  }

  /** Everything that can go on has gone on. */
  async function rest(): Promise<string[]> {
    await setImmediate();
    await setImmediate();
    return events.splice(0);
  }

  it('lets nobody through before the wiring is done', async () => {
    come(0);
    expect(await rest()).toEqual([]);
    begin();
    expect(await rest()).toEqual(['0 receiving']);
  });

  it('lets as many receive at once as there are pollers, the others in their turn', async () => {
    begin();
    come(0, 1, 2, 3);
    expect(await rest()).toEqual(['0 receiving', '1 receiving', '2 waiting for its turn', '3 waiting for its turn']);
    gate.leave(1);
    expect(await rest()).toEqual(['2 receiving']);
    gate.leave(0);
    gate.leave(2);
    expect(await rest()).toEqual(['3 receiving']);
  });

  it('gives a place away once, however often its loop leaves', async () => {
    begin();
    come(0, 1, 2, 3);
    await rest();
    gate.leave(0);
    gate.leave(0);
    expect(await rest()).toEqual(['2 receiving']);
  });

  it.each([
    ['ledger', () => database],
    ['queue', () => queue],
  ])('lets nobody through while the %s is down, and all places be taken afterwards', async (_name, part) => {
    begin();
    come(0, 1, 2, 3);
    await rest();
    part().up = false;
    gate.leave(0);
    gate.leave(1);
    come(0, 1);
    expect(await rest()).toEqual([]);
    part().comeBack();
    const after = await rest();
    expect(after.filter((event) => event.endsWith('receiving'))).toHaveLength(POLLERS);
  });

  it('lets nobody through while enough messages wait, one while any do, and all where none does', async () => {
    begin();
    for (let message = 0; message < MAX_WAITING; message++) gate.waitBegins();
    come(0, 1, 2);
    expect(await rest()).toEqual(['0 waiting for its turn', '1 waiting for its turn', '2 waiting for its turn']);
    gate.waitEnds();
    expect(await rest()).toEqual(['0 receiving']);
    gate.waitEnds();
    expect(await rest()).toEqual(['1 waiting for its turn']);
    // What it has brought waits too.
    gate.leave(0);
    for (let message = 0; message < MAX_WAITING; message++) gate.waitBegins();
    expect(await rest()).toEqual(['2 waiting for its turn']);
    for (let message = 0; message <= MAX_WAITING; message++) gate.waitEnds();
    expect((await rest()).filter((event) => event.endsWith('receiving'))).toHaveLength(POLLERS);
  });

  it('lets nobody through while the batches in flight and the next one would be too large', async () => {
    begin();
    const bytes = MAX_BYTES_IN_FLIGHT / 2;
    gate.batchBegins(bytes);
    come(1, 2);
    expect(await rest()).toEqual(['1 receiving', '2 waiting for its turn']);
    gate.leave(1);
    gate.batchBegins(bytes);
    expect(await rest()).toEqual(['2 waiting for its turn']);
    gate.batchEnds(bytes);
    expect(await rest()).toEqual(['2 receiving']);
  });

  it('lets one through at a time where a single batch is too large', async () => {
    begin();
    gate.batchBegins(MAX_BYTES_IN_FLIGHT * 2);
    come(0, 1);
    expect(await rest()).toEqual(['0 waiting for its turn', '1 waiting for its turn']);
    gate.batchEnds(MAX_BYTES_IN_FLIGHT * 2);
    expect(await rest()).toEqual(['0 receiving']);
    gate.leave(0);
    expect(await rest()).toEqual(['1 receiving']);
  });

  it('hears nothing more of what hung once it was started again', async () => {
    begin();
    come(0, 1);
    await rest();
    gate.restart(0, () => come(0));
    expect(await rest()).toEqual(['0 receiving']);
    come(0);
    gate.leave(0);
    come(2);
    expect(await rest()).toEqual(['2 waiting for its turn']);
  });

  it('hands on a call that reaches what hung', async () => {
    begin();
    come(0, 1, 2);
    await rest();
    gate.restart(2, () => come(2));
    await rest();
    gate.leave(0);
    expect(await rest()).toEqual(['2 receiving']);
  });

  it('turns away whoever waits when the process ends, and whoever comes later', async () => {
    begin();
    come(0, 1, 2);
    await rest();
    database.up = false;
    come(3);
    await rest();
    gate.stop();
    come(4);
    expect((await rest()).sort()).toEqual(['2 ReceivingStopped', '3 ReceivingStopped', '4 ReceivingStopped']);
  });
});
