import { spawnSync, type SpawnSyncOptionsWithStringEncoding } from 'node:child_process';
import { lchownSync, readdirSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';

/** `nobody` on all systems that have no user of the name `postgres`. */
const NOBODY = 65_534;
const AS_NOBODY = ['unshare', '--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`];

/** The user of a server that refuses to run as root. */
export class ServerUser {
  private constructor(
    /** What its command lines begin with. */
    readonly prefix: string[],
    readonly uid?: number,
    readonly gid?: number,
  ) {}

  /** Whom this process may be able to act as. Callers take the first that {@link canEnter} a folder. */
  static candidates(): ServerUser[] {
    const itself = new ServerUser([]);
    const mapped = new ServerUser(AS_NOBODY);
    // initdb fails for a user without a name.
    if (process.getuid!() !== 0) return hasName() ? [itself] : [mapped, itself];
    const [, uid = NOBODY, gid = NOBODY] = /^uid=(\d+)\S* gid=(\d+)/.exec(itself.run('id', ['postgres'])) ?? [];
    return [new ServerUser([], Number(uid), Number(gid)), mapped];
  }

  /** Runs a program to its end. @returns what it printed; nothing where it can't be run */
  run(program: string, args: string[]): string {
    const [file, ...rest] = [...this.prefix, program, ...args];
    const options: SpawnSyncOptionsWithStringEncoding = {
      uid: this.uid,
      gid: this.gid,
      cwd: '/',
      env: {},
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    };
    return spawnSync(file!, rest, options).stdout ?? '';
  }

  canEnter(folder: string): boolean {
    return this.run('/bin/sh', ['-c', 'cd "$0" && echo yes', folder]) === 'yes\n';
  }

  /** Makes it the owner of a folder and all that is in it. */
  own(folder: string): void {
    const [uid, gid] = [this.uid ?? process.getuid!(), this.gid ?? process.getgid!()];
    if (statSync(folder).uid === uid) return;
    for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' }))
      lchownSync(join(folder, path), uid, gid);
    lchownSync(folder, uid, gid); // last: after an interruption all of it is done again
  }
}

function hasName(): boolean {
  try {
    return userInfo().username !== '';
  } catch {
    return false; // as in a container that runs as a number
  }
}
