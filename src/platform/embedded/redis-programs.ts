import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const PROGRAMS = ['redis-server', 'valkey-server'];

/** Where an installed Redis or Valkey server is, or null where there is none on the PATH. */
export function findRedisServer(searchPath: string): string | null {
  const folders = searchPath.split(delimiter);
  for (const program of PROGRAMS) {
    for (const folder of folders) {
      const path = join(folder, program);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        continue; // not here: look in the next folder
      }
    }
  }
  return null;
}
