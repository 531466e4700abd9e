/** Made up, since what is under way exists in this service only. */
const SERVICE_INDICATOR = 'SP';
/** Of ISO 3166-1's codes for private use, so no country's. */
const COUNTRY = 'XX';
const SERIAL_DIGITS = 8;
const RANDOM_BYTES = 6;
const WEIGHTS = [8, 6, 4, 2, 3, 5, 9, 7];

/**
 * The number of a parcel, as the Universal Postal Union's standard S10 lays it out: a service indicator of two letters, eight
 * digits, their check digit, the code of a country. Indicator and country are made up. There are 10^8 numbers, so whoever
 * gives them out has to see to it that none is given out twice.
 * @param random at least 6 bytes, of which any two numbers should have their own
 */
export function trackingNumberOf(random: Uint8Array): string {
  if (random.length < RANDOM_BYTES) throw new RangeError(`${RANDOM_BYTES} bytes are needed, not ${random.length}`);
  // So many more values than numbers that each number is as likely as any other.
  const value = random.subarray(0, RANDOM_BYTES).reduce((sum, byte) => sum * 256 + byte, 0);
  const serial = String(value % 10 ** SERIAL_DIGITS).padStart(SERIAL_DIGITS, '0');
  return `${SERVICE_INDICATOR}${serial}${checkDigitOf(serial)}${COUNTRY}`;
}

/** Whether a text could be a tracking number of ours; with a digit mistyped it hardly ever is. */
export function isTrackingNumber(text: string): boolean {
  const [, serial, checkDigit] = NUMBER.exec(text) ?? [];
  return serial !== undefined && checkDigitOf(serial) === Number(checkDigit);
}

const NUMBER = new RegExp(`^${SERVICE_INDICATOR}(\\d{${SERIAL_DIGITS}})(\\d)${COUNTRY}$`);

/** Of S10: eleven less the weighted sum modulo 11, where 10 is written as 0 and 11 as 5. */
function checkDigitOf(serial: string): number {
  const sum = WEIGHTS.reduce((total, weight, i) => total + weight * Number(serial[i]), 0);
  const digit = 11 - (sum % 11);
  return digit === 10 ? 0 : digit === 11 ? 5 : digit;
}
