import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import fc from 'fast-check';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import type { AppendResult } from '../../src/ledger/ledger-entry.js';
import { Audit } from '../../src/platform/audit/audit.js';
import type { Database } from '../../src/platform/database/database.js';
import type { Actor } from '../../src/shared/access.js';
import { cents } from '../../src/domain/money.js';
import type { ValidatedMessage } from '../../src/domain/order-event.js';
import type { Config } from '../../src/shared/config.js';
import { Aggregation } from '../../src/stats/rebuild/aggregation.repository.js';
import { BuildLeaseLost, ProjectionStateRepository } from '../../src/stats/projection/projection-state.repository.js';
import { aFailedMessage, aValidatedMessage, aLine, type GivenMessage } from '../support/validated-messages.js';
import { ModelAuthority } from '../support/simulation/model-authority.js';
import { databaseClients, modelledDatabase } from '../support/simulation/model-database.js';
import { ModelLedger } from '../support/simulation/model-ledger.js';
import { aDatabase, emptyLedger, type OwnPart } from '../support/stores.js';

const TIME_ZONE = 'Europe/Berlin';
const TIMES = ['2026-01-31T22:59:59.999Z', '2026-01-31T23:00:00Z', '2026-03-28T20:15:00Z'].map((text) =>
  Date.parse(text),
);
const ADMIN = { name: 'admin', requestId: null } as unknown as Actor;

/** What is held to the contract: empty, and figures of it were never made. */
interface Subject {
  ledger: Ledger;
  /** Of another process. */
  otherLedger: Ledger;
  aggregation: Aggregation;
  authority: ProjectionStateRepository;
  otherAuthority: ProjectionStateRepository;
  /** Lets as much time pass as a builder may be silent. */
  leaseRunsOut(): Promise<void>;
}

let own: OwnPart<Database>;

beforeAll(async () => {
  Logger.overrideLogger(false);
  own = await aDatabase();
});
afterAll(() => own.destroy());

async function theDatabase(): Promise<Subject> {
  const database = own.part;
  await emptyLedger(database);
  await database.query(
    sql`update projection set generation = 0, base = 0, state = 'empty', last_generation = 0, builder = null,
          builder_until = null, build_done = 0, build_total = 0`,
  );
  const audit = new Audit(database);
  const ledger = new Ledger(database);
  return {
    ledger,
    otherLedger: new Ledger(database),
    aggregation: new Aggregation(database, ledger, { businessTimeZone: TIME_ZONE } as Config),
    authority: new ProjectionStateRepository(database, audit),
    otherAuthority: new ProjectionStateRepository(database, audit),
    leaseRunsOut: async () => {
      await database.query(sql`update projection set builder_until = builder_until - interval '16 seconds'`);
    },
  };
}

async function theModel(): Promise<Subject> {
  const database = modelledDatabase(async (_name, work) => work());
  await database.availability.start();
  const store = { ledger: new ModelLedger('model'), authority: new ModelAuthority() };
  const clients = databaseClients(database, store, 'me', TIME_ZONE);
  const others = databaseClients(database, store, 'another', TIME_ZONE);
  return {
    ...clients,
    otherLedger: others.ledger,
    otherAuthority: others.authority,
    leaseRunsOut: async () => {
      (store.authority as unknown as { builder: { until: number } }).builder.until -= 16_000;
    },
  };
}

function aRefund(given: GivenMessage & { refundId: string; orderId: string }): ValidatedMessage {
  return aValidatedMessage({
    kind: 'refund',
    userId: null,
    value: cents(300),
    claimed: cents(300),
    lines: [],
    ...given,
  });
}

function append(ledger: Ledger, ...messages: ValidatedMessage[]): Promise<AppendResult[]> {
  return ledger.append(messages, Date.now() + 10_000);
}

describe.each([
  ['the database', theDatabase],
  ['the model of it in the simulation', theModel],
])('%s', (_name, subjectOf) => {
  let subject: Subject;
  let ledger: Ledger;
  beforeEach(async () => {
    subject = await subjectOf();
    ({ ledger } = subject);
  });

  describe('appends', () => {
    it('with gapless positions in the order of the messages, each entry with a hash of its own', async () => {
      const results = await append(
        ledger,
        aValidatedMessage(),
        aFailedMessage(),
        aValidatedMessage({ outcome: 'corrected' }),
      );
      expect(results).toEqual([
        { kind: 'stored', position: 1, outcome: 'accepted', reasons: [] },
        { kind: 'stored', position: 2, outcome: 'failed', reasons: ['missing_items'] },
        { kind: 'stored', position: 3, outcome: 'corrected', reasons: [] },
      ]);
      const { entries } = await ledger.entriesAfter(0, 10);
      expect(entries.map(({ position }) => position)).toEqual([1, 2, 3]);
      expect(new Set(entries.map(({ entryHash }) => entryHash)).size).toBe(3);
      expect(await ledger.head()).toMatchObject({ position: 3, entryHash: entries[2]!.entryHash });
      for (const { position, entryHash } of entries) expect(await ledger.hashAt(position)).toBe(entryHash);
      expect(await ledger.hashAt(4)).toBeNull();
      expect((await ledger.entriesAfter(1, 1)).entries.map(({ position }) => position)).toEqual([2]);
    });

    it('the same content once, in one append or in two, and whether it passed or failed', async () => {
      const [order, failed] = [aValidatedMessage(), aFailedMessage()];
      expect((await append(ledger, order, order, failed, failed)).map(({ kind }) => kind)).toEqual([
        'stored',
        'duplicate',
        'stored',
        'duplicate',
      ]);
      expect(await append(ledger, failed, order)).toEqual([
        { kind: 'duplicate', position: 2 },
        { kind: 'duplicate', position: 1 },
      ]);
      expect((await ledger.head()).position).toBe(2);
    });

    it('another content of an order that counts as failed, and once', async () => {
      const [first, second] = ['one', 'two'].map((content) => aValidatedMessage({ orderId: 'ORD1', content }));
      const conflict = { kind: 'stored', position: 2, outcome: 'failed', reasons: ['conflicting_duplicate'] };
      expect(await append(ledger, first!, second!)).toEqual([expect.objectContaining({ position: 1 }), conflict]);
      expect(await append(ledger, second!, first!)).toEqual([
        { kind: 'duplicate', position: 2 },
        { kind: 'duplicate', position: 1 },
      ]);
    });

    it('one of two contents of an order that two processes append at once, and the other as failed', async () => {
      const contents = ['one', 'two'].map((content) => aValidatedMessage({ orderId: 'ORD1', content }));
      const results = await Promise.all([append(ledger, contents[0]!), append(subject.otherLedger, contents[1]!)]);
      const outcomes = results.flat().map((result) => result.kind === 'stored' && result.outcome);
      expect(outcomes.sort()).toEqual(['accepted', 'failed']);
    });

    it('what it can hold of an append, and refuses the rest', async () => {
      const results = await append(
        ledger,
        aValidatedMessage(),
        aValidatedMessage({ value: cents(0) }),
        aValidatedMessage(),
      );
      expect(results.map(({ kind }) => kind)).toEqual(['stored', 'refused', 'stored']);
      expect((await ledger.head()).position).toBe(2);
    });

    it('a refund with its order or after it, and has it wait before', async () => {
      const order = aValidatedMessage({ orderId: 'ORD1', userId: 'U7' });
      const early = aRefund({ orderId: 'ORD1', refundId: 'R1' });
      expect(await append(ledger, early)).toEqual([{ kind: 'waiting' }]);
      expect(await append(ledger, early)).toEqual([{ kind: 'duplicate', position: null }]);
      await append(ledger, aRefund({ orderId: 'ORD1', refundId: 'R2', value: cents(800) }), order);
      const [, first, second] = (await ledger.entriesAfter(0, 10)).entries;
      expect(first).toMatchObject({ kind: 'refund', outcome: 'accepted', userId: 'U7', refPosition: 1, value: 300 });
      expect(second).toMatchObject({ kind: 'refund', outcome: 'failed', userId: 'U7', refPosition: 1, value: null });
      expect(await append(ledger, early)).toEqual([{ kind: 'duplicate', position: 2 }]);
      expect(await append(ledger, aRefund({ orderId: 'ORD1', refundId: 'R1', value: cents(1) }))).toEqual([
        { kind: 'stored', position: 4, outcome: 'failed', reasons: ['conflicting_duplicate'] },
      ]);
    });
  });

  describe('gives the right to build', () => {
    it('to one process at a time, a number that was never used, and takes it away with the lease', async () => {
      const { authority, otherAuthority } = subject;
      expect(await authority.read()).toEqual({ generation: 0, base: 0, state: 'empty', building: null });
      const lease = (await authority.claimBuild())!;
      expect(lease).toMatchObject({ base: 0, replaces: 0 });
      expect(await otherAuthority.claimBuild()).toBeNull();
      await authority.renew(lease, 3, 4);
      await authority.keep(lease);
      expect((await otherAuthority.read()).building).toEqual({ done: 3, total: 4 });

      await subject.leaseRunsOut();
      const other = (await otherAuthority.claimBuild())!;
      expect(other.generation).toBeGreaterThan(lease.generation);
      for (const step of [authority.keep(lease), authority.renew(lease, 1, 1), authority.switchTo(lease)]) {
        await expect(step).rejects.toThrow(BuildLeaseLost);
      }
      await authority.giveUp(lease);
      await otherAuthority.switchTo(other);
      expect(await authority.read()).toEqual({ generation: other.generation, base: 0, state: 'ready', building: null });
      await expect(otherAuthority.switchTo(other)).rejects.toThrow('the figures were cleared meanwhile');
    });

    it('anew after it was given up', async () => {
      const lease = (await subject.authority.claimBuild())!;
      await subject.authority.giveUp(lease);
      expect((await subject.otherAuthority.claimBuild())!.generation).toBeGreaterThan(lease.generation);
    });

    it('of figures that were withdrawn, under a number that there are none of, unless others are being built', async () => {
      const { authority, otherAuthority } = subject;
      const lease = (await authority.claimBuild())!;
      expect(await otherAuthority.withdraw(0)).toBeNull();
      await authority.switchTo(lease);
      expect(await otherAuthority.withdraw(0)).toBeNull();
      const withdrawn = (await otherAuthority.withdraw(lease.generation))!;
      expect(withdrawn).toBeGreaterThan(lease.generation);
      expect(await authority.read()).toEqual({ generation: withdrawn, base: 0, state: 'ready', building: null });
      expect(await authority.claimBuild()).toMatchObject({ base: 0, replaces: withdrawn });
    });

    it('not to who began before figures were cleared, and clears from the head on', async () => {
      const { authority } = subject;
      await append(ledger, aValidatedMessage(), aValidatedMessage());
      const lease = (await authority.claimBuild())!;
      const head = await ledger.head();
      const cleared = await authority.clear(ADMIN);
      expect(cleared).toEqual({
        generation: expect.any(Number),
        base: 2,
        ledgerId: head.ledgerId,
        entryHash: head.entryHash,
        cleared: 0,
      });
      expect(cleared.generation).toBeGreaterThan(lease.generation);
      await expect(authority.switchTo(lease)).rejects.toThrow(BuildLeaseLost);
      expect(await authority.claimBuild()).toMatchObject({ base: 2, replaces: cleared.generation });
      await subject.leaseRunsOut();
      expect(await authority.claimBuild({ fromBeginning: true })).toMatchObject({ base: 0 });
    });
  });
});

const anOrder = fc
  .record({
    fails: fc.boolean(),
    order: fc.integer({ min: 1, max: 4 }),
    content: fc.integer({ min: 1, max: 3 }),
    user: fc.integer({ min: 1, max: 3 }),
    corrected: fc.boolean(),
    time: fc.constantFrom(...TIMES, null),
    wording: fc.constantFrom('', 'other'),
  })
  .map(({ fails, order, content, user, corrected, time, wording }): ValidatedMessage => {
    const given = {
      orderId: `ORD${order}`,
      userId: `U${user}`,
      orderedAt: time ?? TIMES[0]!,
      content: `${order} ${content}`,
      wording,
    };
    const line = aLine({ product_id: `P${content}`, quantity: content, cents: cents(1_000 * content) });
    return fails && content > 1
      ? aFailedMessage({
          ...given,
          orderedAt: time,
          ...(user === 3 && { userId: null }),
          content: `failed ${order} ${content}`,
        })
      : aValidatedMessage({
          ...given,
          outcome: corrected ? 'corrected' : 'accepted',
          value: line.cents,
          lines: [line],
        });
  });
const aRefundOfAny = fc
  .record({
    fails: fc.boolean(),
    order: fc.integer({ min: 1, max: 5 }),
    refund: fc.integer({ min: 1, max: 5 }),
    amount: fc.integer({ min: 1, max: 3 }),
    wording: fc.constantFrom('', 'other'),
  })
  .map(({ fails, order, refund, amount, wording }) => {
    const given = {
      orderId: `ORD${order}`,
      refundId: `R${refund}`,
      orderedAt: TIMES[2]!,
      content: `refund ${order} ${refund} ${amount}`,
      wording,
    };
    return fails && amount === 3
      ? aFailedMessage({
          ...given,
          kind: 'refund',
          userId: null,
          reasons: ['non_positive_amount'],
          content: `failed ${given.content}`,
        })
      : aRefund({ ...given, value: cents(500 * amount), claimed: cents(500 * amount) });
  });
const appends = fc.array(fc.array(fc.oneof(anOrder, aRefundOfAny), { minLength: 1, maxLength: 6 }), {
  minLength: 1,
  maxLength: 6,
});

it('the model and the database answer alike, whatever is appended, to the last hash and figure', async () => {
  await fc.assert(
    fc.asyncProperty(appends, fc.nat(), fc.nat(), async (batches, start, end) => {
      const [database, model] = [await theDatabase(), await theModel()];
      for (const batch of batches) {
        expect(await append(model.ledger, ...batch)).toEqual(await append(database.ledger, ...batch));
      }
      const [entries, expected] = [
        (await model.ledger.entriesAfter(0, 100)).entries,
        (await database.ledger.entriesAfter(0, 100)).entries,
      ];
      expect(entries).toMatchObject(expected.map((entry) => ({ ...entry, lines: entry.lines.map(withoutPrice) })));
      expect((await model.ledger.head()).entryHash).toBe((await database.ledger.head()).entryHash);

      const { length } = expected;
      const base = start % (length + 1);
      const to = base + (end % (length - base + 1));
      expect(await model.aggregation.figures(base, to, base)).toEqual(
        await database.aggregation.figures(base, to, base),
      );
    }),
    { numRuns: 60 },
  );
});

/** It is exact as text in the one and a number in the other, and the projection has no use for it. */
function withoutPrice({ product_id, quantity, cents }: { product_id: string; quantity: number; cents: number }) {
  return { product_id, quantity, cents };
}
