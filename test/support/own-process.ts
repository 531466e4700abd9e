import { execFileSync } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';

const running = new Set<() => void>();

process.once('exit', () => {
  for (const end of running) end();
});

/** Has something ended at the latest when this process exits. @returns takes it off that list */
export function endedAtExit(end: () => void): () => void {
  running.add(end);
  return () => void running.delete(end);
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
