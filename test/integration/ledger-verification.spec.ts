import { Logger } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { LedgerVerification, type LedgerVerificationResult } from '../../src/ledger/ledger-verification.service.js';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import type { Database } from '../../src/platform/database/database.js';
import { cents } from '../../src/domain/money.js';
import type { ValidatedMessage } from '../../src/domain/order-event.js';
import { aFailedMessage, aValidatedMessage, aLine } from '../support/validated-messages.js';
import { aDatabase, allowLedgerChanges, emptyLedger, type OwnPart } from '../support/stores.js';

const SOON_MS = 10_000;
/** The positions of {@link everyKind}. */
const [ORDER, CORRECTED, FAILED, REPAIRED, REPAIR, REFUND, LAST] = [1, 2, 3, 4, 5, 6, 7];

let own: OwnPart<Database>;
let database: Database;
let ledger: Ledger;
let verification: LedgerVerification;

beforeAll(async () => {
  Logger.overrideLogger(false);
  own = await aDatabase();
  database = own.part;
});
beforeEach(async () => {
  await emptyLedger(database);
  await database.query(sql`delete from repairs`);
  await database.query(
    sql`update ledger_verification set position = 0, entry_hash = sha256(''), first_bad_position = null, scheduled_at = null`,
  );
  ledger = new Ledger(database);
  verification = new LedgerVerification(ledger, database);
  await everyKind();
});
afterEach(() => jest.restoreAllMocks());
afterAll(() => own.destroy());

async function everyKind(): Promise<void> {
  const order = aValidatedMessage({ orderId: 'ORD1', body: '{"order_id":"ORD1"}' });
  const corrected = aValidatedMessage({
    outcome: 'corrected',
    claimed: cents(7),
    lines: [aLine(), aLine({ cents: cents(0) })],
  });
  const failed = aFailedMessage({ orderId: null, userId: null, orderedAt: null });
  await ledger.append([order, corrected, failed], SOON_MS);
  const repaired = aValidatedMessage({ orderId: 'ORD3' });
  const [repair] = await database.query<{ id: string }>(
    sql`insert into repairs (failed_position, requested_by, body) values (${FAILED}, 'somebody', ${repaired.body}) returning id`,
  );
  await ledger.append([{ ...repaired, repairId: repair!.id }], SOON_MS);
  const refund: ValidatedMessage = aValidatedMessage({
    kind: 'refund',
    orderId: 'ORD1',
    refundId: 'R1',
    userId: null,
    lines: [],
  });
  await ledger.append([refund, aValidatedMessage()], SOON_MS);
  expect((await ledger.head()).position).toBe(LAST);
}

async function verify(): Promise<LedgerVerificationResult> {
  const run = verification.request();
  await run.ended;
  expect(run.failure).toBeNull();
  return run.result!;
}

/** Changes the ledger as nobody can but who may switch its triggers off. */
async function change(statement: string): Promise<void> {
  await database.transaction(async (tx) => {
    await allowLedgerChanges(tx);
    await tx.query(sql.raw(statement));
  });
}

describe('verifying the ledger', () => {
  it('finds nothing where it is what was appended, of whatever kind', async () => {
    expect(await verify()).toEqual({ position: LAST, firstBadPosition: null });
    expect(await verification.recorded()).toEqual({ position: LAST, firstBadPosition: null });
  });

  it.each([
    ['kind', `kind = 'order'`, REPAIR],
    ['outcome', `outcome = 'accepted'`, CORRECTED],
    ['order_id', `order_id = 'ORD2'`, ORDER],
    ['user_id', `user_id = 'U2'`, ORDER],
    ['user_id where there is none', `user_id = ''`, FAILED],
    ['ordered_at', `ordered_at = ordered_at + interval '1 ms'`, ORDER],
    ['value_cents', `value_cents = value_cents + 1`, REFUND],
    ['claimed_cents', `claimed_cents = 1000`, CORRECTED],
    ['lines', `lines[1].quantity = 3`, REPAIRED],
    ['lines by their order', `lines = array[lines[2], lines[1]]`, CORRECTED],
    ['reasons', `reasons = '{missing_user_id}'`, FAILED],
    ['content_hash', `content_hash = sha256('x')`, ORDER],
    ['message_id', `message_id = null`, ORDER],
    ['ref_position', `ref_position = 2`, REFUND],
    ['refund_id', `refund_id = 'R2'`, REFUND],
    ['actor', `actor = 'nobody'`, REPAIR],
    ['sent_at', `sent_at = sent_at + interval '1 ms'`, ORDER],
    ['received_at', `received_at = received_at - interval '1 day'`, ORDER],
    ['body', `body = '{"order_id":"ORD9"}'`, ORDER],
    ['body_hash with its body', `body = 'x', body_hash = sha256('x')`, ORDER],
    ['entry_hash', `entry_hash = sha256('x')`, LAST],
  ])('finds a change of %s', async (_name, assignment, position) => {
    await change(
      `alter table ledger drop constraint if exists ledger_repair, drop constraint if exists ledger_value_of_order;
       update ledger set ${assignment} where position = ${position}`,
    );
    expect(await verify()).toEqual({ position: LAST, firstBadPosition: position });
    expect(await verification.recorded()).toMatchObject({ firstBadPosition: position });
  });

  it.each([
    ['the first entry', ORDER],
    ['one in the middle', FAILED],
    ['the last one', LAST],
  ])('finds that %s is missing', async (_name, position) => {
    await change(`delete from ledger where position = ${position}`);
    expect(await verify()).toMatchObject({ firstBadPosition: position });
  });

  it('finds a head that was changed', async () => {
    await change(`update ledger_head set entry_hash = sha256('x')`);
    expect(await verify()).toMatchObject({ firstBadPosition: LAST });
  });

  it('leaves out bodies of which personal data were erased', async () => {
    await ledger.replaceBodies(database, [{ position: ORDER, body: '{"order_id":"ORD1","name":"[erased]"}' }]);
    expect(await verify()).toEqual({ position: LAST, firstBadPosition: null });
  });

  it('looks once an hour at what was appended since, and at everything where what was verified has changed', async () => {
    const pages = jest.spyOn(ledger, 'pageEnd');
    await verification.verifyWhenDue();
    await verification.verifyWhenDue();
    expect(pages.mock.calls.map(([after]) => after)).toEqual([0]);
    expect(await verification.recorded()).toEqual({ position: LAST, firstBadPosition: null });

    const anHourPasses = sql`update ledger_verification set scheduled_at = scheduled_at - interval '1 hour'`;
    await ledger.append([aValidatedMessage()], SOON_MS);
    await database.query(anHourPasses);
    await verification.verifyWhenDue();
    expect(pages.mock.calls.map(([after]) => after)).toEqual([0, LAST]);
    expect(await verification.recorded()).toEqual({ position: LAST + 1, firstBadPosition: null });

    await change(`update ledger set entry_hash = sha256('x') where position = ${LAST + 1}`);
    await database.query(anHourPasses);
    await verification.verifyWhenDue();
    expect(await verification.recorded()).toMatchObject({ firstBadPosition: LAST + 1 });
    const bad = pages.mock.calls.length;
    await database.query(anHourPasses);
    await verification.verifyWhenDue();
    expect(pages.mock.calls[bad]![0]).toBe(0);
  });
});

describe('a verification that does not go through at once', () => {
  it('is continued behind the last page that was verified', async () => {
    const pages = jest.spyOn(ledger, 'pageEnd');
    pages.mockResolvedValueOnce({ position: FAILED, more: true }).mockRejectedValueOnce(new Error('broken off'));
    await verification.verifyWhenDue();
    expect(await verification.recorded()).toEqual({ position: FAILED, firstBadPosition: null });

    await verification.verifyWhenDue();
    expect(pages.mock.calls.map(([after]) => after)).toEqual([0, FAILED, FAILED]);
    expect(await verification.recorded()).toEqual({ position: LAST, firstBadPosition: null });
  });

  it('reads half a page where one takes the database too long', async () => {
    const timeout = Object.assign(new Error('canceling statement due to statement timeout'), { code: '57014' });
    const pages = jest.spyOn(ledger, 'pageEnd').mockRejectedValueOnce(timeout).mockRejectedValueOnce(timeout);
    expect(await verify()).toEqual({ position: LAST, firstBadPosition: null });
    expect(pages.mock.calls.map(([, limit]) => limit)).toEqual([5_000, 2_500, 1_250]);
  });

  it('leaves what another process has found meanwhile', async () => {
    const { pageEnd } = ledger;
    jest.spyOn(ledger, 'pageEnd').mockImplementationOnce(async (...page) => {
      await database.query(sql`update ledger_verification set position = 2, first_bad_position = 3`);
      return pageEnd.apply(ledger, page);
    });
    expect(await verify()).toEqual({ position: LAST, firstBadPosition: null });
    expect(await verification.recorded()).toEqual({ position: 2, firstBadPosition: 3 });
    expect(await verify()).toEqual({ position: LAST, firstBadPosition: null });
    expect(await verification.recorded()).toEqual({ position: LAST, firstBadPosition: null });
  });
});

describe('the ledger refuses', () => {
  it.each([
    ['an update', `update ledger set user_id = 'U2' where position = 1`],
    ['another hash', `update ledger set entry_hash = sha256('x') where position = 1`],
    ['a body from which nothing is erased', `update ledger set body = '{}' where position = 1`],
    ['that an entry is deleted', `delete from ledger where position = 1`],
    ['that it is emptied', `truncate ledger`],
  ])('%s', async (_name, statement) => {
    await expect(database.query(sql.raw(statement))).rejects.toThrow('the ledger is only ever appended to');
  });
});
