import type { Logger } from '@nestjs/common';

/** What fails again sooner than this after it came back is not well. */
export const STEADY_MS = 30_000;

/**
 * Tells the log when something fails and when it is back, once each. What comes back and fails again over and over would
 * fill the log with that: it is said to be back when it has stayed so for {@link STEADY_MS}.
 */
export class OutageNotice {
  private isTold = false;
  private isUnsteady = false;
  private backSince = -Infinity;
  private timer: NodeJS.Timeout | undefined;

  /** @param back what is said when it is over */
  constructor(
    private readonly logger: Logger,
    private readonly back: string,
  ) {}

  /** It fails, for the first time or still. @param what is said of it */
  fails(what: string): void {
    this.stop();
    if (this.isTold) return;
    this.isTold = true;
    this.isUnsteady = performance.now() - this.backSince < STEADY_MS;
    const again = `; it comes and goes, and is said to be back when that was so for ${STEADY_MS / 1000} s`;
    this.logger.warn(`${what}${this.isUnsteady ? again : ''}`);
  }

  /** It does not fail, any more or at all. */
  isWell(): void {
    if (!this.isTold) return;
    if (!this.isUnsteady) return this.tellBack();
    this.timer ??= setTimeout(() => this.tellBack(), STEADY_MS).unref();
  }

  /** That it is back is not said any more, unless it fails and comes back once more. */
  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private tellBack(): void {
    this.stop();
    this.isTold = false;
    this.backSince = performance.now();
    this.logger.log(this.back);
  }
}
