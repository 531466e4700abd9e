import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a server may take to write its files and end before it is killed. */
const END_TIMEOUT_MS = 4_000;
const POLL_INTERVAL_MS = 20;

/** Whether a server runs on some data. */
export function isServed(data: string): boolean {
  return runsOn(data, pidIn(data));
}

/**
 * Ends the server that a killed process left on some data, or waits until it has ended. Then deletes the pid file: its pid
 * may belong to another program. Only for the holder of the data folder's lock.
 */
export async function endPredecessor(data: string): Promise<void> {
  const pid = pidIn(data);
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    if (!runsOn(data, pid)) break;
    kill(pid, signal);
    await hasEnded(data, pid);
  }
  rmSync(pidFile(data), { force: true });
}

function pidFile(data: string): string {
  return join(data, 'postmaster.pid');
}

/** @returns NaN where there is no such file */
function pidIn(data: string): number {
  try {
    return Number.parseInt(readFileSync(pidFile(data), 'utf8')); // its first line
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return NaN;
    throw error;
  }
}

async function hasEnded(data: string, pid: number): Promise<void> {
  const deadline = performance.now() + END_TIMEOUT_MS;
  while (runsOn(data, pid) && performance.now() < deadline) await sleep(POLL_INTERVAL_MS);
}

/** Whether a process is a server on this data, by its command line. That of a zombie is empty. */
function runsOn(data: string, pid: number): boolean {
  if (!(pid > 0)) return false;
  try {
    return process.platform === 'linux'
      ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(data)
      : execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).includes(data);
  } catch {
    return false; // it has ended
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // else it ended just now
  }
}
