import { PGlite } from '@electric-sql/pglite';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Whether a data folder has an embedded ledger. Does not look into it. */
export function hasEmbeddedLedger(dataDir: string): boolean {
  return existsSync(join(folderIn(dataDir), 'PG_VERSION'));
}

/**
 * Opens the embedded ledger of a data folder, making it where there is none. Only the holder of the folder's lock may
 * do so, and has to close it.
 */
export async function openEmbeddedLedger(dataDir: string): Promise<PGlite> {
  const store = new PGlite(folderIn(dataDir));
  await store.waitReady;
  return store;
}

function folderIn(dataDir: string): string {
  return join(dataDir, 'ledger');
}
