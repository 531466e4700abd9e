import { ApiProperty } from '@nestjs/swagger';
import { encodeCursor, placeBefore } from '../platform/http/cursor.js';
import { QueryCursor, QueryInteger } from '../platform/http/validation.js';
import type { EntryFilter, Ledger } from './ledger.repository.js';
import { entryJson, EntryJson } from './entry.dto.js';

const DEFAULT_LIMIT = 20;
const MAX_ENTRIES = 500;

/** Which page of a list of entries is wanted. */
export class EntryPageQuery {
  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_ENTRIES, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** A page of ledger entries, newest first. */
export class EntryPage {
  @ApiProperty({ type: [EntryJson], description: 'Fewer than asked for where their bodies are very large' })
  items!: EntryJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** Finds a page of entries, newest first. @throws InvalidInput @throws DatabaseUnavailable */
export async function entryPage(
  ledger: Ledger,
  filter: Omit<EntryFilter, 'before'>,
  { cursor, limit }: EntryPageQuery,
): Promise<EntryPage> {
  const before = placeBefore(cursor);
  const { entries, more } = await ledger.page({ ...filter, before }, limit);
  const last = more ? entries.at(-1) : undefined;
  return { items: entries.map(entryJson), next_cursor: last ? encodeCursor({ before: last.position }) : null };
}
