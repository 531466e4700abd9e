import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a server may take to write its files and end before it is killed. */
const END_TIMEOUT_MS = 4_000;
const POLL_INTERVAL_MS = 20;

/** Line numbers of the fields of postmaster.pid, see PostgreSQL's `miscadmin.h`. */
const PID = 0;
const SOCKET_DIR = 4;

/** The folder of the socket of the server that runs on some data, or null where none runs. */
export function socketOf(data: string): string | null {
  const lines = readPidFile(data);
  return lines && runsOn(data, Number(lines[PID])) ? (lines[SOCKET_DIR] ?? null) : null;
}

/**
 * Ends the server that a killed process left on some data, or waits until it has ended. A pid file whose pid belongs to
 * another program by now (pids repeat between containers) is removed. Only for the holder of the data folder's lock.
 */
export async function endPredecessor(data: string): Promise<void> {
  const lines = readPidFile(data);
  if (!lines) return;
  const pid = Number(lines[PID]);
  if (!isAlive(pid)) return; // the server sees by itself that this file is a leftover
  if (!runsOn(data, pid)) return rmSync(join(data, 'postmaster.pid'), { force: true });
  process.kill(pid, 'SIGINT');
  if (await hasEnded(pid, END_TIMEOUT_MS)) return;
  process.kill(pid, 'SIGQUIT');
  if (await hasEnded(pid, END_TIMEOUT_MS)) return;
  process.kill(pid, 'SIGKILL');
  await hasEnded(pid, END_TIMEOUT_MS);
}

function readPidFile(data: string): string[] | null {
  try {
    return readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function hasEnded(pid: number, withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs;
  while (isAlive(pid)) {
    if (performance.now() > deadline) return false;
    await sleep(POLL_INTERVAL_MS);
  }
  return true;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Whether a process is a server on this data: its working directory is the folder of the data. */
function runsOn(data: string, pid: number): boolean {
  if (!isAlive(pid)) return false;
  try {
    if (process.platform === 'linux') return realpathSync(`/proc/${pid}/cwd`) === realpathSync(data);
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).includes(data);
  } catch {
    return false; // it ended meanwhile, or belongs to somebody else
  }
}
