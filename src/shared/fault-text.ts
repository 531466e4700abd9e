const MAX_CHARACTERS = 500;

/** Everything in double quotes is the name of something in the database, said in its own words. */
const QUOTES_NAMES_ONLY =
  /^[^"]*(?:(?<=\b(?:column|constraint|function|index|relation|sequence|table|trigger|type) )"[a-z_][a-z0-9_]*"[^"]*)*$/;
const FROM_FIRST_TO_LAST_QUOTE = /"(?:.*"|.*$)/s;

/**
 * What of an error's message may be kept: one line of at most 500 characters. Parsers and the database quote what they
 * choked on, which may be an order, so what is quoted goes unless it is a name.
 */
export function faultText(message: string): string {
  const told = QUOTES_NAMES_ONLY.test(message) ? message : message.replace(FROM_FIRST_TO_LAST_QUOTE, '"…"');
  const line = told.toWellFormed().replaceAll('\0', '').replace(/\s+/g, ' ').trim();
  const text = line.length <= MAX_CHARACTERS ? line : `${line.slice(0, MAX_CHARACTERS - 1).toWellFormed()}…`;
  return text || 'no message';
}
