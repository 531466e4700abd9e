import { Inject, Injectable } from '@nestjs/common';
import type { Response } from 'express';
import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import { tellQuota } from '../../platform/http/rate-limit.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { ClientError } from '../../shared/errors.js';

const WINDOW_SECONDS = 60;

/** A caller asks for more than anybody may. */
export class TooManyRequests extends ClientError {
  readonly code = 'too_many_requests';
  readonly kind = 'too_many';
  /** @param retryAfter in seconds */
  constructor(override readonly retryAfter: number) {
    super(`Too many requests; try again in ${retryAfter} s.`);
  }
}

/**
 * Keeps one account, or one network of whoever does not say who they are, from taking the service from all others. Each
 * process counts by itself: a look at Redis would cost more than most requests do.
 */
@Injectable()
export class RequestLimits {
  private readonly limiter: RateLimiterMemory | null;

  constructor(@Inject(CONFIG) { access, rateLimitPerMinute: points }: Config) {
    // Where access is open there is nobody but the operator.
    this.limiter =
      access === 'open' || points === 0 ? null : new RateLimiterMemory({ points, duration: WINDOW_SECONDS });
  }

  /** Whether there are any. */
  get apply(): boolean {
    return this.limiter !== null;
  }

  /** Counts a request and tells what is left. @throws TooManyRequests */
  async count(whose: string, response: Response): Promise<void> {
    if (!this.limiter) return;
    const left = await this.limiter.consume(whose).catch((refused: Error | RateLimiterRes) => {
      if (refused instanceof Error) throw refused;
      return refused;
    });
    const resetSeconds = Math.max(1, Math.ceil(left.msBeforeNext / 1000));
    const { points: limit } = this.limiter;
    const remaining = Math.max(0, limit - left.consumedPoints);
    tellQuota(response, { name: 'requests', limit, windowSeconds: WINDOW_SECONDS, remaining, resetSeconds });
    if (left.consumedPoints > limit) throw new TooManyRequests(resetSeconds);
  }
}
