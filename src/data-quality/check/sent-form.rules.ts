import { readBody } from '../../domain/validation/message-body.rules.js';
import { clean } from '../../domain/validation/order-cleaning.rules.js';

/** Longer than the address of a person. */
const MAX_ADDRESS_CHARACTERS = 300;
const BETWEEN_WORDS = /[^\p{L}\p{N}]+/u;
const DIGIT = /\p{Nd}/u;

/** What an order's body says that the ledger has in no column. */
export interface SentForm {
  /** The timestamp as the sender wrote it, trimmed. */
  timestamp: string | null;
  /** See {@link comparableAddress}. */
  address: string | null;
}

/** Reads what the judging rules read from a body, and leaves it as it was written. */
export function sentForm(body: string): SentForm {
  const event = readBody(body);
  if (typeof event === 'string') return { timestamp: null, address: null };
  const address = text(clean(event, 'shipping_address', asText));
  return {
    timestamp: text(clean(event, 'order_timestamp', asText)),
    address: address === null ? null : comparableAddress(address),
  };
}

/**
 * An address in lower case and without the signs between its words, so that two ways of writing it are one. Null where it
 * can't be where a person lives: a country or a city has no number or is one word.
 */
export function comparableAddress(address: string): string | null {
  if (address.length > MAX_ADDRESS_CHARACTERS || !DIGIT.test(address)) return null;
  const words = address.toLowerCase().split(BETWEEN_WORDS).filter(Boolean);
  return words.length < 2 ? null : words.join(' ');
}

/** The first character of each word, and how long it is: enough to know an address again that one knows. */
export function maskedAddress(address: string): string {
  return address.replace(/(?<=\S)\S/gu, '*');
}

function asText(given: unknown): string | undefined {
  return typeof given === 'string' ? given : undefined;
}

function text(cleaned: unknown): string | null {
  return typeof cleaned === 'string' ? cleaned : null;
}
