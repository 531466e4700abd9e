import { faultText } from './fault-text.js';

describe('What is kept of an error', () => {
  it.each([
    ['x is not a function'],
    ["Cannot read properties of undefined (reading 'kind')"],
    ['new row for relation "ledger" violates check constraint "ledger_check1"'],
  ])('is its message: %s', (message) => {
    expect(faultText(message)).toBe(message);
  });

  it.each([
    ['malformed record literal: "(P-7,2,"5.00",1000)"', 'malformed record literal: "…"'],
    ['value "99999999999999999999" is out of range for type bigint', 'value "…" is out of range for type bigint'],
    [`Unexpected token 'x', "{"order_id":x "... is not valid JSON`, `Unexpected token 'x', "…"... is not valid JSON`],
    ['cut off in "{\n"user_id": ', 'cut off in "…'],
    ['column "lines": malformed array literal: "{P-7}"', 'column "…"'],
    [`Unexpected token 'A', ..."user_id":Anna, "xyz"... is not valid JSON`, `Unexpected token 'A', ..."…"`],
    ['invalid input value for enum: "user_id"', 'enum: "…"'],
  ])('is without what it quotes of an order: %s', (message, kept) => {
    expect(faultText(message)).toContain(kept);
    expect(faultText(message)).not.toMatch(/P-7|order_id|user_id|9999/);
  });

  it('is one line of at most 500 characters that PostgreSQL can hold', () => {
    expect(faultText(' one\n  line\0 ')).toBe('one line');
    expect(faultText('a'.repeat(500))).toHaveLength(500);
    const long = faultText('😀'.repeat(400));
    expect(long.length).toBeLessThanOrEqual(500);
    expect(long.isWellFormed()).toBe(true);
    expect(long.endsWith('…')).toBe(true);
  });

  it('is never nothing', () => {
    expect(faultText(' \n')).toBe('no message');
  });
});
