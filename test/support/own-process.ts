import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import type { Writable } from 'node:stream';

/**
 * Reads which processes there are (`watch PID`, `leave PID`) and which folders (`folder PATH`), until its standard input closes:
 * that pipe ends with this process, however it ends. Then it ends all of them, with those that they have started, and takes
 * the folders away. Node itself can't tie a child's life to its own.
 */
const GUARDIAN = `
  while read -r what value; do
    case $what in
      watch) pids="$pids $value" ;;
      leave) pids=$(for pid in $pids; do [ "$pid" = "$value" ] || echo "$pid"; done) ;;
      folder) set -- "$@" "$value" ;;
    esac
  done
  for pid in $pids; do
    kill -9 "$pid" $(ps -A -o pid=,ppid= | awk -v parent="$pid" '$2 == parent { print $1 }')
  done
  [ $# = 0 ] || rm -rf "$@"`;

let guardian: Writable | null = null;

/** Has a process, and those that it has started by then, end with this one at the latest. */
export function endsWithThisProcess(child: ChildProcess): void {
  tellGuardian(`watch ${child.pid}`);
  child.once('exit', () => tellGuardian(`leave ${child.pid}`));
}

/** Has a folder taken away when this process has ended, if it is still there. */
export function goesWithThisProcess(folder: string): void {
  tellGuardian(`folder ${folder}`);
}

function tellGuardian(line: string): void {
  guardian ??= startGuardian();
  guardian.write(`${line}\n`);
}

function startGuardian(): Writable {
  // In a group of its own, so that what ends this process from the keyboard does not end it.
  const shell = spawn('/bin/sh', ['-c', GUARDIAN], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  shell.unref();
  const input = shell.stdin as Socket;
  input.unref();
  return input;
}

/** A port of loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** The processes that a process has started, and which are still there. */
export function childrenOf(pid: number): number[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n');
  return lines
    .map((line) => line.trim().split(/\s+/).map(Number) as [number, number])
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child);
}

/** Sends a signal to processes, of which some may have ended by themselves. */
export function signal(pids: number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
