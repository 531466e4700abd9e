import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** https://sqlite.org/rescode.html#busy */
const SQLITE_BUSY = 5;

/** Another process keeps its data in this folder. */
export class DataFolderInUse extends Error {
  /** @param holder its pid, or `unknown` */
  constructor(
    dataDir: string,
    readonly holder: string,
  ) {
    super(
      `The data folder ${dataDir} is in use by another process (pid ${holder}). ` +
        'Stop that one first, or start this one with another DATA_DIR and other ports.',
    );
    this.name = 'DataFolderInUse';
  }
}

/**
 * Sole ownership of a data folder. Two processes on one embedded ledger would lose acknowledged entries,
 * so the lock is one of the operating system (SQLite's exclusive file lock): it dies with its holder, however
 * that ends, and does not depend on process ids, which repeat between containers. The pid file beside it only
 * serves to name the holder.
 */
export class DataFolderLock {
  private constructor(
    private readonly database: DatabaseSync,
    private readonly pidFile: string,
  ) {}

  /** @throws DataFolderInUse naming the holder's pid */
  static acquire(dataDir: string): DataFolderLock {
    mkdirSync(dataDir, { recursive: true });
    const pidFile = join(dataDir, 'owner.pid');
    const database = new DatabaseSync(join(dataDir, 'owner.lock'), { timeout: 0 });
    try {
      database.exec('BEGIN EXCLUSIVE');
      writeFileSync(pidFile, `${process.pid}\n`);
    } catch (error) {
      database.close();
      if ((error as { errcode?: number }).errcode === SQLITE_BUSY)
        throw new DataFolderInUse(dataDir, holderOf(pidFile));
      throw error;
    }
    return new DataFolderLock(database, pidFile);
  }

  release(): void {
    rmSync(this.pidFile, { force: true });
    this.database.close();
  }
}

function holderOf(pidFile: string): string {
  try {
    return readFileSync(pidFile, 'utf8').trim() || 'unknown';
  } catch {
    return 'unknown';
  }
}
