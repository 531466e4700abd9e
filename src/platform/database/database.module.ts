import { Global, Module } from '@nestjs/common';
import { CONFIG, type Config } from '../../shared/config.js';
import { EmbeddedParts } from '../embedded/embedded-parts.js';
import { Database } from './database.js';

const MAX_STATEMENT_MS = 10_000;

/** The ledger's PostgreSQL, connected to and migrated in the background. */
@Global()
@Module({
  providers: [
    {
      provide: Database,
      useFactory: ({ queue }: Config, { databaseUrl }: EmbeddedParts) => {
        // A statement must be over before the messages it stores become visible to another poller.
        const statementTimeout = Math.min(MAX_STATEMENT_MS, (queue.visibilityTimeout * 1000) / 3);
        const database = new Database(databaseUrl, Math.round(statementTimeout));
        void database.availability.start();
        return database;
      },
      inject: [CONFIG, EmbeddedParts],
    },
  ],
  exports: [Database],
})
export class DatabaseModule {}
