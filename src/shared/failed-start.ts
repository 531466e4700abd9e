/** What a user can correct by its message. */
const NAMES = [
  'CommonAdminPassword',
  'DamagedLedger',
  'DataFolderInUse',
  'DataFolderUnusable',
  'EmbeddedQueuePortTaken',
  'InvalidConfiguration',
  'NoPostgres',
  'OldDataFolder',
  'OtherPostgresVersion',
  'PortTaken',
  'ServerNotStarted',
];
/** What a file system refuses, in Node's words and SQLite's. */
const CODES = ['EACCES', 'EDQUOT', 'EIO', 'ENOSPC', 'ENOTDIR', 'EPERM', 'EROFS', 'ERR_SQLITE_ERROR'];

/** Why the process can't start: one line where the user can do something about it, else with the stack trace. */
export function describeFailure(error: Error & { code?: string }): string {
  const isExpected = NAMES.includes(error.name) || CODES.includes(error.code ?? '');
  return isExpected ? error.message : error.stack!;
}
