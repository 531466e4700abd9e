import type { LedgerHead } from '../../../src/ledger/ledger-entry.js';
import type { Authority, BuildLease } from '../../../src/stats/projection/projection-state.repository.js';

const LEASE_MS = 15_000;

/** Who claims to hold a lease. */
export interface LeaseHolder {
  me: string;
  lease: BuildLease;
}

/**
 * The row that says which figures are served: a second implementation of what src/stats/projection/projection-state.repository.ts promises,
 * held to the same contract (test/ledger-contract.spec.ts). Every call is a transaction.
 */
export class ModelAuthority {
  private generation = 0;
  private base = 0;
  private state: Authority['state'] = 'empty';
  private last = 0;
  private builder: { me: string; until: number } | null = null;
  private progress = { done: 0, total: 0 };
  /** Where each generation begins, also those that never came into service. */
  readonly bases = new Map<number, number>();

  read(): Authority {
    const { generation, base, state } = this;
    return { generation, base, state, building: (this.builder?.until ?? 0) > Date.now() ? { ...this.progress } : null };
  }

  claim(me: string, fromBeginning: boolean, head: number): BuildLease | null {
    if (this.isBuilding()) return null;
    const base = fromBeginning ? 0 : this.base;
    this.builder = { me, until: Date.now() + LEASE_MS };
    this.progress = { done: 0, total: Math.max(0, head - base) };
    return { generation: this.next(base), base, replaces: this.generation };
  }

  /** @returns whether the lease still held; so do the next two */
  keep(holder: LeaseHolder): boolean {
    if (!this.holds(holder)) return false;
    this.builder!.until = Date.now() + LEASE_MS;
    return true;
  }

  renew(holder: LeaseHolder, done: number, total: number): boolean {
    if (!this.keep(holder)) return false;
    this.progress = { done, total };
    return true;
  }

  switchTo(holder: LeaseHolder): boolean {
    if (!this.holds(holder)) return false;
    this.generation = holder.lease.generation;
    this.base = holder.lease.base;
    this.state = 'ready';
    this.builder = null;
    return true;
  }

  withdraw(generation: number): number | null {
    if (generation !== this.generation || this.isBuilding()) return null;
    this.generation = this.next(this.base);
    return this.generation;
  }

  giveUp({ me, lease }: LeaseHolder): void {
    if (this.builder?.me === me && this.last === lease.generation) this.builder = null;
  }

  clear({ position, ledgerId, entryHash }: LedgerHead) {
    const cleared = this.generation;
    this.generation = this.next(position);
    this.base = position;
    this.state = 'ready';
    this.builder = null;
    return { generation: this.generation, base: position, ledgerId, entryHash, cleared };
  }

  private next(base: number): number {
    this.last = Math.max(this.last + 1, Date.now());
    this.bases.set(this.last, base);
    return this.last;
  }

  private isBuilding(): boolean {
    return this.builder !== null && this.builder.until >= Date.now();
  }

  private holds({ me, lease }: LeaseHolder): boolean {
    return this.builder?.me === me && this.last === lease.generation && this.generation === lease.replaces;
  }
}
