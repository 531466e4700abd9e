import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { takenAwayAtTheEnd } from './leftovers.js';
import { freePort } from './processes.js';

/** A data folder for embedded parts. */
export interface DataFolder {
  path: string;
  /** The embedded queue of a service on this folder. */
  sqsEndpoint: string;
  /** What a service is told to use it. */
  environment: Record<string, string>;
}

/** Makes an empty data folder for as long as some work takes. */
export async function onDataFolder<T>(work: (folder: DataFolder) => Promise<T>): Promise<T> {
  const path = await mkdtemp(join(tmpdir(), 'order-pipeline-bench-'));
  const remove = takenAwayAtTheEnd(() => rm(path, { recursive: true, force: true }));
  try {
    const port = await freePort();
    const environment = { DATA_DIR: path, EMBEDDED_SQS_PORT: String(port) };
    return await work({ path, sqsEndpoint: `http://127.0.0.1:${port}`, environment });
  } finally {
    await remove();
  }
}
