import { join } from 'node:path';

/** Where a service process can be killed by itself, see killed-at-point.cjs. */
export const KILL_POINTS = [
  'after receive',
  'before append',
  'during append',
  'after append',
  'before delete',
  'during projection',
  'after projection',
] as const;

/** Where it holds locks that others wait for: it does for no longer than a statement takes, unless it is frozen there. */
export const LOCK_POINTS = ['holding the head', 'holding stock'] as const;

export type KillPoint = (typeof KILL_POINTS)[number] | (typeof LOCK_POINTS)[number] | 'rebuild';

/** What a service process needs in its environment to die at a point when it comes by there for the nth time. */
export function diesAt(point: KillPoint, nth: number): Record<string, string> {
  return { NODE_OPTIONS: loading('killed-at-point.cjs'), KILL_AT: point, KILL_NTH: String(nth) };
}

/** The same where it is frozen, as by SIGSTOP, and can go on after SIGCONT. */
export function freezesAt(point: KillPoint, nth: number): Record<string, string> {
  return { ...diesAt(point, nth), KILL_SIGNAL: 'SIGSTOP' };
}

/** The same with a bug in the service, see planted-bugs.cjs; without a point it does not die by that. */
export function withBug(bug: string, dies: Record<string, string> = {}): Record<string, string> {
  return {
    ...dies,
    NODE_OPTIONS: [dies.NODE_OPTIONS, loading('planted-bugs.cjs')].filter(Boolean).join(' '),
    PLANTED_BUG: bug,
  };
}

function loading(file: string): string {
  return `--require=${join(__dirname, file)}`;
}
