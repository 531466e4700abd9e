import type { DeadLetter } from '../../platform/queue/dead-letter-queue.js';

/** Which dead letters are meant; everything given must hold. */
export interface DeadLetterFilter {
  messageIds?: string[];
  /** A part of the body, letter by letter. */
  bodyContains?: string;
  /** A part of the last recorded error, letter by letter. */
  errorContains?: string;
  /** Sent at this time or later, ms UTC. */
  sentAfter?: number;
  /** Sent before this time, ms UTC. */
  sentBefore?: number;
}

/**
 * Whether a dead letter is meant. What isn't known of it does not hold.
 * @param lastError null where none is recorded
 */
export function matches(
  { messageId, body, sentAt }: Pick<DeadLetter, 'messageId' | 'body' | 'sentAt'>,
  lastError: string | null,
  filter: DeadLetterFilter,
): boolean {
  const { messageIds, bodyContains, errorContains, sentAfter, sentBefore } = filter;
  return (
    (messageIds === undefined || messageIds.includes(messageId)) &&
    (bodyContains === undefined || body.includes(bodyContains)) &&
    (errorContains === undefined || (lastError !== null && lastError.includes(errorContains))) &&
    (sentAfter === undefined || (sentAt !== null && sentAt >= sentAfter)) &&
    (sentBefore === undefined || (sentAt !== null && sentAt < sentBefore))
  );
}
