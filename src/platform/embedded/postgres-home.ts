import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { copyPrograms, installedPrograms, packagedPrograms, type PostgresPrograms } from './postgres-programs.js';

/** Where the server's files go if its user can't enter the data folder. */
const OUTSIDE_FOLDER = '/var/lib/order-pipeline';
/** In the data folder: where its server's files are instead. */
const POINTER = 'postgres.location';
/** `nobody` on all systems that have no user of the name `postgres`. */
const NOBODY = 65_534;

/** As whom the server runs; it refuses to run as root. */
interface ServerUser {
  /** What its command line begins with. */
  prefix: string[];
  uid?: number;
  gid?: number;
}

/** Where the files of an embedded server are, which programs run it, and as whom. */
export interface PostgresHome {
  folder: string;
  data: string;
  socketDir: string;
  programs: PostgresPrograms;
  user: ServerUser;
}

/** This machine has no PostgreSQL that could be the embedded one. */
export class NoPostgres extends Error {
  override readonly name = 'NoPostgres';
}

/** The data folder was made by an earlier version, whose ledger this one can't open. */
export class OldDataFolder extends Error {
  override readonly name = 'OldDataFolder';
}

/** The data are of another major version of PostgreSQL than any program here. */
export class OtherPostgresVersion extends Error {
  override readonly name = 'OtherPostgresVersion';
}

/**
 * Finds where the embedded server of a data folder has or gets its files, and makes that folder.
 * @throws NoPostgres @throws OldDataFolder @throws OtherPostgresVersion
 */
export function chooseHome(dataDir: string, searchPath: string): PostgresHome {
  refuseOldFolder(dataDir);
  const moved = movedFolder(dataDir);
  const folder = moved ?? join(dataDir, 'postgres');
  mkdirSync(join(folder, 'socket'), { recursive: true, mode: 0o700 });
  const programs = choosePrograms(folder, searchPath);
  const user = usersToTry().find((candidate) => canRun(candidate, programs, folder));
  if (user) return settle(folder, programs, user);
  if (moved !== null || existsSync(join(folder, 'data'))) {
    throw new NoPostgres(
      `The embedded PostgreSQL can't run as an unprivileged user on ${folder}. Start the service as another user than ` +
        'root, or name a PostgreSQL by DATABASE_URL.',
    );
  }
  return moveOutside(dataDir, folder, searchPath);
}

/** Deletes the files of a data folder's embedded server, wherever they are. */
export function removeHome(dataDir: string): void {
  const moved = movedFolder(dataDir);
  if (moved !== null) rmSync(moved, { recursive: true, force: true });
  rmSync(join(dataDir, POINTER), { force: true });
  rmSync(join(dataDir, 'postgres'), { recursive: true, force: true });
}

function refuseOldFolder(dataDir: string): void {
  const old = join(dataDir, 'ledger');
  if (!existsSync(join(old, 'PG_VERSION'))) return;
  throw new OldDataFolder(
    `${old} holds a ledger of an earlier development version, which this one can't open. Nothing was changed. ` +
      'Start with another DATA_DIR, or delete the old data with npm run reset.',
  );
}

function movedFolder(dataDir: string): string | null {
  const pointer = join(dataDir, POINTER);
  if (!existsSync(pointer)) return null;
  const folder = readFileSync(pointer, 'utf8').trim();
  if (existsSync(folder)) return folder;
  throw new NoPostgres(
    `${pointer} says that the ledger is in ${folder}, which is gone. Put it back, or start over with npm run reset.`,
  );
}

function choosePrograms(folder: string, searchPath: string): PostgresPrograms {
  const packaged = packagedPrograms(join(folder, 'programs'));
  const candidates = [...(packaged ? [packaged] : []), ...installedPrograms(searchPath)];
  if (candidates.length === 0) {
    throw new NoPostgres(
      `npm has no PostgreSQL for ${process.platform}-${process.arch}, and none of version 15 or later is installed. ` +
        'Install one, or name a server: DATABASE_URL=postgres://user:password@host:5432/database npm start',
    );
  }
  const version = versionOf(join(folder, 'data'));
  const fitting = candidates.find((programs) => version === null || programs.version === version);
  if (fitting) return fitting;
  throw new OtherPostgresVersion(
    `The data in ${folder} are of PostgreSQL ${version}, and here is ` +
      `${candidates.map((programs) => programs.version).join(', ')}. Install PostgreSQL ${version} to open them.`,
  );
}

function versionOf(data: string): number | null {
  const file = join(data, 'PG_VERSION');
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : null;
}

/** The first that can enter the folder and run the programs is taken. */
function usersToTry(): ServerUser[] {
  if (process.getuid!() !== 0) return [{ prefix: [] }];
  const mapped = [`--map-user=${NOBODY}`, `--map-group=${NOBODY}`];
  return [unprivilegedUser(), { prefix: ['unshare', '--user', ...mapped] }];
}

function unprivilegedUser(): ServerUser {
  try {
    const id = (which: string): number =>
      Number(execFileSync('id', [which, 'postgres'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
    return { prefix: [], uid: id('-u'), gid: id('-g') };
  } catch {
    return { prefix: [], uid: NOBODY, gid: NOBODY }; // there is no user of that name
  }
}

function canRun({ prefix, uid, gid }: ServerUser, { bin }: PostgresPrograms, folder: string): boolean {
  const script = 'cd "$1" && exec "$0" --version';
  const args = [...prefix, '/bin/sh', '-c', script, join(bin, 'postgres'), join(folder, '..')];
  return spawnSync(args[0]!, args.slice(1), { uid, gid, cwd: '/', env: {} }).status === 0;
}

function settle(folder: string, programs: PostgresPrograms, user: ServerUser): PostgresHome {
  const owner = user.uid ?? process.getuid!();
  if (statSync(folder).uid !== owner) changeOwner(folder, owner, user.gid ?? process.getgid!());
  return { folder, data: join(folder, 'data'), socketDir: join(folder, 'socket'), programs, user };
}

function changeOwner(folder: string, uid: number, gid: number): void {
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' }))
    lchownSync(join(folder, path), uid, gid);
  lchownSync(folder, uid, gid); // last: whoever is interrupted begins anew
}

function moveOutside(dataDir: string, unused: string, searchPath: string): PostgresHome {
  const name = createHash('sha256').update(realpathSync(dataDir)).digest('hex').slice(0, 12);
  const folder = join(OUTSIDE_FOLDER, name);
  mkdirSync(join(folder, 'socket'), { recursive: true, mode: 0o755 });
  const user = unprivilegedUser();
  const programs = copyPrograms(join(OUTSIDE_FOLDER, 'programs')) ?? installedPrograms(searchPath)[0];
  if (!programs || !canRun(user, programs, folder)) {
    throw new NoPostgres(
      `The embedded PostgreSQL can't run as root, and here it can't run as another user either. Start the service as ` +
        'another user than root, or name a PostgreSQL by DATABASE_URL.',
    );
  }
  writeFileSync(join(dataDir, POINTER), `${folder}\n`);
  rmSync(unused, { recursive: true });
  return settle(folder, programs, user);
}
