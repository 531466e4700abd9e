import { Inject, Injectable, Logger } from '@nestjs/common';
import { Database, DatabaseUnavailable } from '../platform/database/database.js';
import { sqlStateOf } from '../platform/database/sql-state.js';
import type { EmbeddedLedger } from '../platform/embedded/embedded-ledger.js';
import { EmbeddedParts } from '../platform/embedded/embedded-parts.js';
import { CONFIG, type Config } from '../shared/config.js';
import { messageOf } from '../shared/errors.js';
import { Ledger } from './ledger.js';
import type { LedgerHead } from './ledger-entry.js';

const UNDEFINED_TABLE = '42P01';

/**
 * Finds entries that would be forgotten silently: those of an embedded ledger beside a service that was pointed at a
 * PostgreSQL server without taking them along.
 */
@Injectable()
export class LeftBehindLedger {
  private readonly logger = new Logger('LeftBehindLedger');

  constructor(
    private readonly parts: EmbeddedParts,
    private readonly database: Database,
    private readonly ledger: Ledger,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /**
   * Compares the embedded ledger in the data folder, if there is one, with the server's, once that can be reached. Says
   * in the log what it found.
   * @returns what a person at the terminal should read; empty where nothing is left behind
   */
  async notice(): Promise<string[]> {
    try {
      await this.database.availability.whenUp();
      const left = this.database.availability.up ? await this.parts.lookIntoUnusedLedger(headOf) : null;
      if (!left) return [];
      const lines = left === 'none' || left.position === 0 ? [] : await this.compare(left);
      if (lines.length > 0) this.logger.warn(lines.join(' '));
      else this.logger.debug(`Nothing is left behind in the embedded ledger in ${this.config.dataDir}`);
      return lines;
    } catch (error) {
      if (error instanceof DatabaseUnavailable) return []; // it says so itself, and the next start looks again
      const fact = `The embedded ledger in ${this.config.dataDir} could not be compared with this one: ${messageOf(error)}`;
      this.logger.warn(fact);
      return [fact];
    }
  }

  private async compare(left: LedgerHead): Promise<string[]> {
    const head = await this.ledger.head();
    const sameLedger = head.ledgerId === left.ledgerId;
    if (sameLedger && (await this.ledger.hashAt(left.position)) === left.entryHash) return [];
    const goesOn = sameLedger && head.position < left.position;
    const missing = goesOn ? left.position - head.position : left.position;
    const found =
      `The embedded ledger in ${this.config.dataDir} has ${missing} ${missing === 1 ? 'entry' : 'entries'} ` +
      `that the ledger at ${new URL(this.config.databaseUrl).host} does not have.`;
    return head.position === 0 || goesOn
      ? [
          `${found} To move them, stop this service, then:`,
          'DATABASE_URL=embedded npm run ledger:export -- ledger.jsonl',
          'DATABASE_URL=postgres://… npm run ledger:import -- ledger.jsonl',
        ]
      : [
          `${found} They can be moved into an empty database only, and this one has ${head.position} ` +
            'entries of its own. To write them to a file, stop this service, then:',
          'DATABASE_URL=embedded npm run ledger:export -- ledger.jsonl',
        ];
  }
}

/** `none` where the folder was made but never came to hold a ledger. */
async function headOf(store: EmbeddedLedger): Promise<LedgerHead | 'none'> {
  try {
    const [head] = await store.query<LedgerHead>(
      `select ledger_id::text as "ledgerId", position::float8 as position, encode(entry_hash, 'hex') as "entryHash"
       from ledger_head`,
    );
    return head ?? 'none';
  } catch (error) {
    if (sqlStateOf(error) === UNDEFINED_TABLE) return 'none';
    throw error;
  }
}
