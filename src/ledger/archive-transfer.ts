/** What the service and `npm run ledger:export` agree on when one gets the ledger from the other. */

/** The media type of an archive: one JSON object a line. */
export const NDJSON = 'application/x-ndjson';

/** The header that says where the exported ledger ends. */
export const LEDGER_POSITION = 'X-Ledger-Position';

/**
 * The header with the pid of a service whose ledger is the embedded one: whoever found a data folder in use knows by
 * it that this service is the one that uses it, and that the ledger is in it.
 */
export const EMBEDDED_LEDGER_OWNER = 'X-Embedded-Ledger-Owner';
