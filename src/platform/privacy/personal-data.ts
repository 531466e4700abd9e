import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import type { Actor } from '../../shared/access.js';
import { NotFound, UnavailableError } from '../../shared/errors.js';
import { Audit } from '../audit/audit.js';
import { Database, type Executor } from '../database/database.js';

/** How many records of each kind were changed, e.g. `{ order_events: 2, repairs: 0 }`. */
export type Erased = Record<string, number>;

/** What a feature registers that keeps personal data. */
export interface Eraser {
  /** Whether anything of this user is kept. */
  knows(userId: string): Promise<boolean>;
  /**
   * Erases the next part of what is kept of a user, so little that nobody waits long for the transaction to end.
   * @param tx the only thing that may be used
   * @param after what the call before answered as `next`; 0 in the first
   * @returns what was changed, with the kinds of which nothing was, and where to go on; null at the end
   */
  erase(tx: Executor, userId: string, after: number): Promise<{ erased: Erased; next: number | null }>;
  /** What it erased is gone for everybody now. */
  committed?(): void;
}

/** The process ends; what is erased so far stays erased. */
export class ErasureInterrupted extends UnavailableError {
  readonly code = 'erasure_interrupted';
  constructor() {
    super('The service is stopping. Ask again: the erasure goes on where it was.');
  }
}

/** Erases what this service keeps of a person. Each feature that keeps something registers its {@link Eraser}. */
@Injectable()
export class PersonalData implements OnModuleDestroy {
  private readonly erasers: Eraser[] = [];
  private stopping = false;

  constructor(
    private readonly database: Database,
    private readonly audit: Audit,
  ) {}

  /** From now on it takes part in every erasure, after those that were registered before. */
  register(eraser: Eraser): void {
    this.erasers.push(eraser);
  }

  /** The same, before all others: for what else would pass personal data on to them, or forbid to erase any. */
  registerFirst(eraser: Eraser): void {
    this.erasers.unshift(eraser);
  }

  onModuleDestroy(): void {
    this.stopping = true;
  }

  /**
   * Erases a user's personal data, part by part: each is a transaction with an audit row of its own, so one that broke off
   * is finished by the next call. One that finds nothing to erase leaves an audit row too.
   * @param userId cleaned
   * @param actor who asked for it
   * @returns how many records were changed
   * @throws NotFound @throws ErasureInterrupted @throws DatabaseUnavailable and what an {@link Eraser} throws
   */
  async erase(userId: string, actor: Actor): Promise<Erased> {
    const known = await Promise.all(this.erasers.map((eraser) => eraser.knows(userId)));
    if (!known.includes(true)) throw new NotFound(`No orders of user ${userId} are known.`);
    const total: Erased = {};
    for (const eraser of this.erasers) {
      for (let after: number | null = 0; after !== null;) {
        if (this.stopping) throw new ErasureInterrupted();
        const { erased, next } = await this.erasePart(eraser, userId, after, actor);
        eraser.committed?.();
        for (const [kind, count] of Object.entries(erased)) total[kind] = (total[kind] ?? 0) + count;
        after = next;
      }
    }
    if (isNothing(total)) await this.database.transaction((tx) => this.record(tx, userId, total, actor));
    return total;
  }

  private erasePart(
    eraser: Eraser,
    userId: string,
    after: number,
    actor: Actor,
  ): Promise<{ erased: Erased; next: number | null }> {
    return this.database.transaction(async (tx) => {
      const part = await eraser.erase(tx, userId, after);
      if (!isNothing(part.erased)) await this.record(tx, userId, part.erased, actor);
      return part;
    });
  }

  private record(tx: Executor, userId: string, erased: Erased, actor: Actor): Promise<void> {
    return this.audit.record(tx, actor, { action: 'personal_data.erased', target: `user:${userId}`, after: erased });
  }
}

function isNothing(erased: Erased): boolean {
  return Object.values(erased).every((count) => count === 0);
}
