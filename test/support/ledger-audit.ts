import { judge } from '../../src/domain/validation/order-event.rules.js';
import { MAX_CENTS } from '../../src/domain/money.js';
import type { ValidationPolicy } from '../../src/domain/order-event.js';

/** Runs a statement on the ledger's database. */
export type LedgerQuery = <Row>(text: string) => Promise<Row[]>;

/** What of an entry figures are made from. Money in cents, times in ms UTC, the day in the business time zone. */
export interface AuditedEntry {
  position: number;
  kind: 'order' | 'repair' | 'refund';
  outcome: 'accepted' | 'corrected' | 'failed';
  userId: string | null;
  day: string | null;
  orderedAt: number | null;
  value: number | null;
  refPosition: number | null;
  lines: { product_id: string; quantity: number; cents: number }[];
}

/** A ledger as an audit reads it. */
export interface AuditedLedger {
  head: { ledgerId: string; position: number; entryHash: string };
  projection: { generation: number; base: number; state: string };
  entries: AuditedEntry[];
}

const ENTRIES_PER_PAGE = 20_000;
const BODIES_PER_PAGE = 500;
const POLICY: ValidationPolicy = { currency: 'USD', orderValueMismatch: 'correct', maxOrderCents: MAX_CENTS };

/** Reads all of it. @param timeZone in which days are cut */
export async function readLedger(query: LedgerQuery, timeZone: string): Promise<AuditedLedger> {
  const [head] = await query<AuditedLedger['head']>(
    `select ledger_id::text as "ledgerId", position::float8 as position, encode(entry_hash, 'hex') as "entryHash"
     from ledger_head`,
  );
  const [projection] = await query<AuditedLedger['projection']>(
    'select generation::float8 as generation, base::float8 as base, state from projection',
  );
  const entries: AuditedEntry[] = [];
  for (;;) {
    const page = await query<AuditedEntry>(
      `select position::float8 as position, kind, outcome, user_id as "userId",
         to_char(ordered_at at time zone '${timeZone}', 'YYYY-MM-DD') as day,
         (extract(epoch from ordered_at) * 1000)::float8 as "orderedAt", value_cents::float8 as value,
         ref_position::float8 as "refPosition", array_to_json(lines) as lines
       from ledger where position > ${entries.at(-1)?.position ?? 0} order by ledger.position limit ${ENTRIES_PER_PAGE}`,
    );
    entries.push(...page);
    if (page.length < ENTRIES_PER_PAGE) return { head: head!, projection: projection!, entries };
  }
}

/**
 * Each finds rows that must not be there. migrations/functions/entry_item.sql says what the hash of an entry is made of.
 */
const MUST_FIND_NOTHING: Record<string, string> = {
  'orders that count and whose lines do not add up to their value': `
    select position from ledger
    where kind = 'order' and outcome <> 'failed'
      and value_cents is distinct from (select sum(cents) from unnest(lines))`,
  // The cents of an order are rounded once, and its lines share what that takes or gives.
  'lines a cent or more beside their quantity times their price': `
    select position from ledger, unnest(lines) where abs(quantity * price_per_unit * 100 - cents) >= 1`,
  'failed entries that have a value': `
    select position from ledger where kind in ('order', 'refund') and outcome = 'failed' and value_cents is not null`,
  'failed entries without a reason': `
    select position from ledger where kind in ('order', 'refund') and outcome = 'failed' and cardinality(reasons) = 0`,
  // One that failed may count later, where it is retried as it was.
  'contents that are stored twice': `
    select encode(content_hash, 'hex') as content from ledger where kind in ('order', 'refund')
    group by content_hash, outcome = 'failed' having count(*) > 1`,
  'orders that conflict with their own content': `
    select failed.position from ledger failed join counted_orders using (order_id)
      join ledger counted on counted.position = counted_orders.position
    where 'conflicting_duplicate' = any (failed.reasons) and failed.body = counted.body`,
  'entries whose hash does not follow from the one before': `
    select position from (
      select *, lag(entry_hash, 1, sha256('')) over (order by position) as before, entry_item(ledger) as item from ledger
    ) chained
    where entry_hash <> sha256(before || item)`,
  'bodies that are not what was received': `
    select position from ledger
    where body_hash <> sha256(convert_to(body, 'UTF8')) and position('[erased]' in body) = 0`,
  'counted orders that are missing among the keys': `
    select order_id, content_hash, position from ledger where kind = 'order' and outcome <> 'failed'
    except all select order_id, content_hash, position from counted_orders`,
  'keys of orders that no entry counts': `
    select order_id, content_hash, position from counted_orders
    except all select order_id, content_hash, position from ledger where kind = 'order' and outcome <> 'failed'`,
  'failed contents that are missing among the keys': `
    select content_hash, position from ledger where kind in ('order', 'refund') and outcome = 'failed'
    except all select content_hash, position from failed_contents`,
  'keys of failed contents that no entry has': `
    select content_hash, position from failed_contents
    except all select content_hash, position from ledger where kind in ('order', 'refund') and outcome = 'failed'`,
  'counted refunds that are missing among the keys': `
    select refund_id, content_hash, position from ledger where kind = 'refund' and outcome <> 'failed'
    except all select refund_id, content_hash, position from counted_refunds`,
  'keys of refunds that no entry counts': `
    select refund_id, content_hash, position from counted_refunds
    except all select refund_id, content_hash, position from ledger where kind = 'refund' and outcome <> 'failed'`,
  'orders whose refunds do not add up to what is noted of them': `
    select order_id, sum(value_cents) from ledger where kind = 'refund' and outcome <> 'failed' group by order_id
    except all select order_id, refunded_cents from refunded_orders`,
  'orders of which more is refunded than they are worth': `
    select refunded_orders.order_id from refunded_orders join counted_orders using (order_id) join ledger using (position)
    where refunded_cents > value_cents`,
  'refunds that wait although their order counts': `
    select number from early_refunds join counted_orders using (order_id)`,
  'failed entries that were mended twice': `
    select ref_position from ledger where kind = 'repair' group by ref_position having count(*) > 1`,
};

/** @returns the entries whose content hash does not follow from their body */
async function entriesOfOtherContent(query: LedgerQuery): Promise<number[]> {
  const wrong: number[] = [];
  for (let after = 0; ;) {
    const page = await query<{ position: number; body: string; sentAt: number; hash: string }>(
      `select position::float8 as position, body, (extract(epoch from sent_at) * 1000)::float8 as "sentAt",
         encode(content_hash, 'hex') as hash
       from ledger
       where position > ${after} and kind in ('order', 'refund') and position('[erased]' in body) = 0
       order by ledger.position limit ${BODIES_PER_PAGE}`,
    );
    for (const { position, body, sentAt, hash } of page) {
      const message = judge({ messageId: '', body, sentAt, receivedAt: sentAt }, POLICY);
      if (hash !== message.contentHash && hash !== message.failureHash) wrong.push(position);
    }
    if (page.length < BODIES_PER_PAGE) return wrong;
    after = page.at(-1)!.position;
  }
}

/** @returns what is wrong with a ledger in itself */
export async function ledgerFaults(query: LedgerQuery, { head, entries }: AuditedLedger): Promise<string[]> {
  const faults: string[] = [];
  const gap = entries.findIndex(({ position }, i) => position !== i + 1);
  if (gap !== -1) faults.push(`Positions have a gap: ${entries[gap]!.position} follows ${gap}`);
  if (head.position !== entries.length) {
    faults.push(`The head is at ${head.position}, and there are ${entries.length} entries`);
  }
  for (const [what, statement] of Object.entries(MUST_FIND_NOTHING)) {
    const rows = await query<Record<string, unknown>>(statement);
    if (rows.length > 0) faults.push(`${rows.length} ${what}, such as ${JSON.stringify(rows[0])}`);
  }
  const ofOtherContent = await entriesOfOtherContent(query);
  if (ofOtherContent.length > 0)
    faults.push(`Content hashes that do not follow from their body: ${ofOtherContent.join(', ')}`);
  return faults;
}
