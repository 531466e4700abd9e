import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { installedPrograms, packagedPrograms, type PostgresPrograms } from './postgres-programs.js';
import { ServerUser } from './server-user.js';

/** In the data folder: the server's files, or a link to where they are. */
const NAME = 'postgres';
/** Where the server's files go if its user can't enter the data folder. */
const OUTSIDE_FOLDER = '/var/lib/order-pipeline';
const OR_NAME_ONE = 'name a server: DATABASE_URL=postgres://user:password@host:5432/database npm start';

/** Where the files of an embedded server are, which programs run it, and as whom. */
export interface PostgresHome {
  folder: string;
  data: string;
  socketDir: string;
  programs: PostgresPrograms;
  user: ServerUser;
}

/** PostgreSQL can't be embedded here. */
export class NoPostgres extends Error {
  override readonly name = 'NoPostgres';
}

/** The data folder was made by an earlier version, whose ledger this one can't open. */
export class OldDataFolder extends Error {
  override readonly name = 'OldDataFolder';
}

/** The data are no longer those of a PostgreSQL. */
export class DamagedLedger extends Error {
  override readonly name = 'DamagedLedger';
}

/** The data are of another major version of PostgreSQL than any program here. */
export class OtherPostgresVersion extends Error {
  override readonly name = 'OtherPostgresVersion';
}

/**
 * Finds where the embedded server of a data folder has or gets its files, and makes that folder.
 * @throws DamagedLedger @throws NoPostgres @throws OldDataFolder @throws OtherPostgresVersion
 */
export function chooseHome(dataDir: string, searchPath: string): PostgresHome {
  refuseOldFolder(dataDir);
  const folder = folderOf(dataDir);
  const users = ServerUser.candidates();
  const user = users.find((candidate) => candidate.canEnter(dirname(folder)));
  if (user) return settle(folder, user, searchPath);
  if (!existsSync(folder) && users[0]!.canEnter('/')) {
    return settle(moveOutside(folder), users[0]!, searchPath);
  }
  throw new NoPostgres(
    `PostgreSQL does not run as root, and no other user can use ${folder}. Start the service as another user, or ${OR_NAME_ONE}`,
  );
}

/**
 * The folder of a data folder's embedded server.
 * @throws NoPostgres where it is a link, and what that leads to is gone
 */
export function folderOf(dataDir: string): string {
  const folder = join(realpathSync(dataDir), NAME);
  const target = outsideFolderOf(dataDir);
  if (target === null || existsSync(target)) return target ?? folder;
  throw new NoPostgres(
    `The ledger of ${folder} was in ${target}, which is gone. Put it back, or start over with npm run reset.`,
  );
}

/** Where a data folder's embedded server has its files if not in that folder, whether they still are there or not. */
export function outsideFolderOf(dataDir: string): string | null {
  try {
    return resolve(dataDir, readlinkSync(join(dataDir, NAME)));
  } catch {
    return null; // no link, or nothing there yet
  }
}

/** @throws OldDataFolder */
export function refuseOldFolder(dataDir: string): void {
  const old = join(dataDir, 'ledger');
  if (!existsSync(join(old, 'PG_VERSION'))) return;
  throw new OldDataFolder(
    `${old} holds a ledger of an earlier development version, which this one can't open. Nothing was changed. ` +
      'Start with another DATA_DIR, or delete the old data with npm run reset.',
  );
}

/** Deletes the files of a data folder's embedded server, wherever they are. */
export function removeHome(dataDir: string): void {
  const outside = outsideFolderOf(dataDir);
  // A link that somebody made by hand may lead to a folder with other things in it.
  if (outside !== null && dirname(outside) === OUTSIDE_FOLDER) rmSync(outside, { recursive: true, force: true });
  rmSync(join(dataDir, NAME), { recursive: true, force: true });
}

/** @param folder which there is a link instead of afterwards */
function moveOutside(folder: string): string {
  mkdirSync(OUTSIDE_FOLDER, { recursive: true });
  chmodSync(OUTSIDE_FOLDER, 0o755);
  // Never one that is there already: its link may have been deleted for its ledger to be gone.
  const outside = mkdtempSync(join(OUTSIDE_FOLDER, 'ledger-'));
  symlinkSync(outside, folder);
  return outside;
}

function settle(folder: string, user: ServerUser, searchPath: string): PostgresHome {
  const socketDir = join(folder, 'socket');
  mkdirSync(socketDir, { recursive: true, mode: 0o700 });
  user.own(folder);
  const programs = choosePrograms(folder, user, searchPath);
  return { folder, data: join(folder, 'data'), socketDir, programs, user };
}

function choosePrograms(folder: string, user: ServerUser, searchPath: string): PostgresPrograms {
  const version = versionOf(join(folder, 'data'));
  const fits = (programs: PostgresPrograms): boolean => version === null || programs.version === version;
  const packaged = packagedPrograms(join(folder, 'programs'), user);
  if (packaged && fits(packaged)) return packaged;
  const installed = installedPrograms(searchPath, user);
  const fitting = installed.find(fits);
  if (fitting) return fitting;
  const versions = [...(packaged ? [packaged] : []), ...installed].map((programs) => programs.version);
  if (versions.length > 0) {
    throw new OtherPostgresVersion(
      `The data in ${folder} are of PostgreSQL ${version}, and here is ${[...new Set(versions)].join(', ')}. ` +
        `Install PostgreSQL ${version} to open them.`,
    );
  }
  throw new NoPostgres(
    `npm has no PostgreSQL for ${process.platform}-${process.arch}, and none of version 15 or later is installed. ` +
      `Install one, or ${OR_NAME_ONE}`,
  );
}

/** The major version that made some data; null where there are none yet. @throws DamagedLedger */
function versionOf(data: string): number | null {
  if (!existsSync(data)) return null;
  const file = join(data, 'PG_VERSION');
  const version = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  if (version > 0) return version;
  throw new DamagedLedger(
    `${data} is damaged: its PG_VERSION names no version. Put it back, or start over with npm run reset.`,
  );
}
