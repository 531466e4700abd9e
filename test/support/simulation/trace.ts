import { hash } from 'node:crypto';
import { START, type VirtualTime } from './virtual-time.js';

/** What happened in a simulation, in its order, and what of it was worth reaching. */
export class Trace {
  readonly lines: string[] = [];
  /** How often each thing came to pass that a simulation is meant to come across. */
  readonly reached = new Map<string, number>();
  readonly violations: string[] = [];

  constructor(private readonly time: VirtualTime) {}

  /** In ms from the start. @param who the process, or what happened by itself */
  add(who: string, what: string): void {
    this.lines.push(`${this.time.now - START} ${who} ${what}`);
  }

  reach(what: string): void {
    this.reached.set(what, (this.reached.get(what) ?? 0) + 1);
  }

  /** Something that must never be. */
  violated(what: string): void {
    this.add('VIOLATION', what);
    this.violations.push(what);
  }

  /** The same for the same course of events, and for no other. */
  get digest(): string {
    return hash('sha256', this.lines.join('\n'), 'hex');
  }
}
