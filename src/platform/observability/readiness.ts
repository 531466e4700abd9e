import { Injectable } from '@nestjs/common';

/** What a part says of itself: whether it is up, and facts for whoever reads the health page. */
export interface PartHealth {
  up: boolean;
  /** Why it is down, in words. */
  reason?: string;
  [fact: string]: unknown;
}

/** The parts that have to be up before this process should get traffic. Each feature adds its own. */
@Injectable()
export class Readiness {
  private readonly checks = new Map<string, () => Promise<PartHealth> | PartHealth>();
  private stopsSince: number | null = null;

  /** When the process began to end, ms of performance.now(); null while it does not. */
  get stoppingSince(): number | null {
    return this.stopsSince;
  }

  /** @param part how the health page names it, e.g. `ledger` */
  add(part: string, check: () => Promise<PartHealth> | PartHealth): void {
    this.checks.set(part, check);
  }

  /** Asks every part. A check that throws counts as down. */
  async parts(): Promise<Record<string, PartHealth>> {
    const asked = [...this.checks].map(async ([part, check]) => [part, await ask(check)] as const);
    const parts = Object.fromEntries(await Promise.all(asked));
    return this.stoppingSince !== null ? { ...parts, process: { up: false, reason: 'shutting down' } } : parts;
  }

  /** From now on this process should get no more traffic. */
  shutDown(): void {
    this.stopsSince ??= performance.now();
  }
}

async function ask(check: () => Promise<PartHealth> | PartHealth): Promise<PartHealth> {
  try {
    return await check();
  } catch (error) {
    return { up: false, reason: error instanceof Error ? error.message : String(error) };
  }
}
