const COUNT = new Intl.NumberFormat('en');
const MONEY = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const SHARE = new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 1 });

/** @param {number} value */
export const count = (value) => COUNT.format(value);

/** @param {number | null} value in the currency of the service */
export const money = (value) => (value === null ? '–' : MONEY.format(value));

/** @param {number} value from 0 to 1 */
export const share = (value) => SHARE.format(value);

/** @param {string} iso */
export const time = (iso) => iso.replace('T', ' ').replace(/(\.\d+)?Z$/, ' UTC');

/**
 * A code such as `missing_user_id` in words.
 * @param {string} code
 */
export const words = (code) => code.replaceAll('_', ' ');

/**
 * Anything that JSON can hold, for reading.
 * @param {unknown} value `undefined` where there is nothing
 */
export function shown(value) {
  if (value === undefined || value === null) return '–';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/**
 * The same as it is written in JSON, so that a text that looks like a number differs from one.
 * @param {unknown} value
 */
export const exact = (value) => (value === undefined ? 'not there' : JSON.stringify(value));

/** @param {boolean | null | undefined} value */
export const yesNo = (value) => (value === true ? 'yes' : value === false ? 'no' : '–');
