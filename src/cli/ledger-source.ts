import { EMBEDDED_LEDGER_OWNER, LEDGER_POSITION } from '../ledger/archive-transfer.js';
import { LedgerArchive } from '../ledger/ledger-archive.js';
import { openCommandDatabase } from '../platform/database/command-database.js';
import { DataFolderInUse } from '../platform/embedded/data-folder-lock.js';
import { hasEmbeddedLedger } from '../platform/embedded/embedded-ledger.js';
import type { Config } from '../shared/config.js';
import { InvalidInput, messageOf } from '../shared/errors.js';
import { credentialsOf, serviceUrlOf } from './service-url.js';

/** A ledger to be written down. */
export interface LedgerSource {
  /** Where it is, in words. */
  name: string;
  /** Whether it is a running service's own, so that more entries may come. */
  live: boolean;
  /** Where it ended when it was asked. */
  position: number;
  /** Its lines, the header first. */
  pages: AsyncIterable<string[]>;
  close: () => Promise<void>;
}

/** There is no ledger to write down, or it can't be reached, with what to do about it. */
export class NoLedger extends Error {
  override readonly name = 'NoLedger';
}

/** The ledger does not go as far as what is asked to be continued. */
export class LedgerEndsBefore extends Error {
  override readonly name = 'LedgerEndsBefore';
}

/**
 * The ledger that the configuration names: a server's, or the embedded one, which a running service hands out over HTTP
 * because nobody else may open its files.
 * @param after the last entry that is written down already
 * @throws NoLedger @throws LedgerEndsBefore @throws DatabaseUnavailable
 */
export async function openLedgerSource(config: Config, after: number): Promise<LedgerSource> {
  if (config.databaseUrl === 'embedded' && !hasEmbeddedLedger(config.dataDir)) {
    throw new NoLedger(
      `There is no embedded ledger in ${config.dataDir}. Set DATA_DIR, or DATABASE_URL for a server's.`,
    );
  }
  try {
    return await openDirectly(config, after);
  } catch (error) {
    if (error instanceof InvalidInput) throw new LedgerEndsBefore(error.message);
    if (error instanceof DataFolderInUse) return askService(config, after, error.holder);
    throw error;
  }
}

async function openDirectly(config: Config, after: number): Promise<LedgerSource> {
  const { database, name, close } = await openCommandDatabase(config);
  try {
    const archive = new LedgerArchive(database);
    const extent = await archive.extent(after);
    return { name, live: false, position: extent.end.position, pages: archive.pages(extent), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function askService(config: Config, after: number, holder: string): Promise<LedgerSource> {
  const url = serviceUrlOf(config);
  const inUse = `The data folder ${config.dataDir} is in use by another process (pid ${holder})`;
  const response = await fetch(`${url}/ledger/export?after=${after}`, {
    headers: credentialsOf(config),
  }).catch((error: unknown) => {
    throw new NoLedger(`${inUse}, and no service answers at ${url}. Stop that process, or set PORT to its port.`, {
      cause: error,
    });
  });
  if (response.status === 400) throw new LedgerEndsBefore(await detailOf(response));
  if (response.status === 401 || response.status === 403) {
    throw new NoLedger(
      `${inUse}, and ${url} refuses: ${await detailOf(response)} Set API_KEY to a key with the scope ledger:export.`,
    );
  }
  if (!response.ok) throw new NoLedger(`${inUse}, and ${url} answers ${response.status}: ${await detailOf(response)}`);
  if (response.headers.get(EMBEDDED_LEDGER_OWNER) !== holder) {
    await response.body?.cancel();
    throw new NoLedger(`${inUse}, and the ledger of the service at ${url} is not in it. Stop that process first.`);
  }
  return {
    name: `the service at ${url}`,
    live: true,
    position: Number(response.headers.get(LEDGER_POSITION)),
    pages: linesOf(response.body!, url),
    close: async () => response.body?.cancel().catch(() => undefined),
  };
}

async function* linesOf(body: ReadableStream<Uint8Array>, url: string): AsyncGenerator<string[]> {
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop()!;
      if (lines.length > 0) yield lines;
    }
  } catch (error) {
    throw new NoLedger(`The service at ${url} broke off: ${messageOf(error)}. Run this again: it continues.`, {
      cause: error,
    });
  }
}

async function detailOf(response: Response): Promise<string> {
  const text = await response.text();
  try {
    return (JSON.parse(text) as { detail?: string }).detail ?? text;
  } catch {
    return text.slice(0, 200);
  }
}
