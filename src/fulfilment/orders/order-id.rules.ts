/** Crockford's base 32: without the letters that look like digits, or make words. */
const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const BYTES = 10;
const ORDER_ID = /^ORD-[0-9A-Z]{16}$/;

/** The id of a new order: `ORD-` and sixteen characters. @param random ten random bytes */
export function orderIdFrom(random: Uint8Array): string {
  if (random.length !== BYTES) throw new RangeError(`An order id is made of ${BYTES} bytes, not ${random.length}`);
  let bits = 0n;
  for (const byte of random) bits = (bits << 8n) | BigInt(byte);
  let text = '';
  for (let place = 0; place < 16; place++, bits >>= 5n) text = DIGITS[Number(bits & 31n)]! + text;
  return `ORD-${text}`;
}

/** Whether a text can be the id of an order taken by this service. */
export function isOrderId(text: string): boolean {
  return ORDER_ID.test(text);
}
