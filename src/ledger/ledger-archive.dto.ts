import { QueryInteger } from '../platform/http/validation.js';

/** Which part of the ledger is wanted. */
export class LedgerExportQuery {
  @QueryInteger(0, 999_999_999_999_999, { default: 0, description: 'The last entry that is there already' })
  after = 0;
}
