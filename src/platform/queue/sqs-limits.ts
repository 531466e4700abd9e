/** The most entries SQS takes or gives in one call. */
export const MAX_ENTRIES_PER_CALL = 10;

/** The most bytes of a call's bodies and attributes together, and so of one message. */
export const MAX_BYTES_PER_CALL = 1_048_576;
