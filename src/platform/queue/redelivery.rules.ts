const MAX_SECONDS = 900;

/** Seconds until what could not be processed is delivered again: 5, 10, 20 … up to 15 minutes. */
export function redeliverySeconds(receiveCount: number): number {
  return Math.min(MAX_SECONDS, 5 * 2 ** (receiveCount - 1));
}

/**
 * {@link redeliverySeconds}, or up to half less, so that what failed together does not come again together.
 * @param random from 0 to 1
 */
export function spreadRedeliverySeconds(receiveCount: number, random: number): number {
  return Math.ceil(redeliverySeconds(receiveCount) * (1 - random / 2));
}
