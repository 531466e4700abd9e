const FIRST_SECONDS = 1;
const MAX_SECONDS = 60;

/**
 * How long to wait before something is tried again, in whole seconds: 1, 2, 4 … up to a minute, and up to as much again, so
 * that what failed together does not come back together.
 * @param tries how often it was tried @param random from 0 to 1, without 1
 */
export function delayBeforeRetry(tries: number, random: number): number {
  const least = Math.min(MAX_SECONDS, FIRST_SECONDS * 2 ** Math.max(0, tries - 1));
  return least + Math.floor(random * (least + 1));
}
