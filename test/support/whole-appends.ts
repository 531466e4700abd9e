import { AppendQueue } from '../../src/ledger/append-queue.js';

/** What of an append queue is private. */
interface Stores {
  store(messages: unknown[]): unknown;
  statement(messages: unknown[]): unknown;
}

/**
 * Plants a bug into every append queue: an append that the database refuses is not halved, so that all of it fails because
 * of one reason. The test restores it.
 */
export function keepAppendsWhole(): void {
  jest.spyOn(AppendQueue.prototype as unknown as Stores, 'store').mockImplementation(function (this: Stores, messages) {
    return this.statement(messages);
  });
}
