import { types } from 'pg';

const INT8: number = types.builtins.INT8;
const TIMESTAMPTZ: number = types.builtins.TIMESTAMPTZ;

/** A whole number of PostgreSQL that a JavaScript number can't hold exactly. */
export class UnsafeInteger extends Error {
  override readonly name = 'UnsafeInteger';
}

/**
 * How columns become values: `bigint` a number, `timestamptz` ms since 1970; all else as `pg` does it, so `numeric` stays
 * text. For the option `types` of `pg`. The session's time zone must be UTC.
 */
export const columnParsers = {
  getTypeParser: (oid: number, format?: 'text' | 'binary'): ((text: string) => unknown) => {
    if (oid === INT8) return parseInt8;
    if (oid === TIMESTAMPTZ) return parseTime;
    return types.getTypeParser(oid, format) as (text: string) => unknown;
  },
};

function parseInt8(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new UnsafeInteger(`${text} is beyond what a number holds exactly`);
  return value;
}

const parseDate = types.getTypeParser(TIMESTAMPTZ) as (text: string) => Date | number;

function parseTime(text: string): number {
  return Number(parseDate(text));
}
