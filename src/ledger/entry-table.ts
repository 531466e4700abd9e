import type { CsvTable } from '../platform/http/csv.js';
import type { EntryJson } from './entry.dto.js';
import type { EntryPage } from './entry-page.dto.js';

/** An entry in one row: its items are counted only, the body has them. */
type EntryRow = Omit<EntryJson, 'items' | 'reasons'> & { items: number; reasons: string };

/** A page of ledger entries as a table. @param file what it is called, by what the path of the request holds */
export function entryTable(file: (path: Record<string, string>) => string): CsvTable<EntryPage, EntryRow> {
  return {
    file: (_page, path) => file(path),
    columns: [
      'position',
      'kind',
      'outcome',
      'order_id',
      'user_id',
      'order_timestamp',
      'claimed_value',
      'order_value',
      'items',
      'refund_id',
      'refund_timestamp',
      'amount',
      'reasons',
      'ref_position',
      'actor',
      'repaired_by',
      'message_id',
      'sent_at',
      'received_at',
      'body',
    ],
    money: ['claimed_value', 'order_value', 'amount'],
    rows: ({ items }) =>
      items.map((entry) => ({ ...entry, items: entry.items.length, reasons: entry.reasons.join(' ') })),
    example: { items: [EXAMPLE_ENTRY], next_cursor: null },
  };
}

const EXAMPLE_ENTRY: EntryJson = {
  position: 42,
  kind: 'order',
  outcome: 'corrected',
  order_id: 'ORD-1001',
  user_id: 'U042',
  order_timestamp: '2026-01-31T12:00:00.000Z',
  claimed_value: 20,
  order_value: 25.98,
  items: [{ product_id: 'P001', quantity: 2, price_per_unit: 12.99, line_value: 25.98 }],
  refund_id: null,
  refund_timestamp: null,
  amount: null,
  reasons: [],
  ref_position: null,
  actor: null,
  repaired_by: null,
  message_id: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
  sent_at: '2026-01-31T12:00:01.000Z',
  received_at: '2026-01-31T12:00:01.250Z',
  body:
    '{"order_id":"ORD-1001","user_id":"U042","order_timestamp":"2026-01-31T12:00:00Z","order_value":20,' +
    '"items":[{"product_id":"P001","quantity":2,"price_per_unit":12.99}]}',
};
