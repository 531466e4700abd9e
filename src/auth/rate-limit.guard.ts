import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import type { Request, Response } from 'express';
import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import { addressOf } from '../platform/http/access.js';
import { tellQuota } from '../platform/http/rate-limit.js';
import { CONFIG, type Config } from '../shared/config.js';
import { CallerError } from '../shared/errors.js';

const WINDOW_SECONDS = 60;

/** A caller asks for more than anybody may. */
export class TooManyRequests extends CallerError {
  readonly code = 'too_many_requests';
  readonly kind = 'too_many';
  /** @param retryAfter in seconds */
  constructor(override readonly retryAfter: number) {
    super(`Too many requests; try again in ${retryAfter} s.`);
  }
}

/**
 * Keeps one caller, or one address that did not say who it is, from taking the service from all others. Each process counts
 * by itself: a look at Redis would cost more than most requests do.
 */
@Injectable()
export class RateLimitGuard implements CanActivate {
  private readonly limiter: RateLimiterMemory | null;

  constructor(@Inject(CONFIG) { access, rateLimitPerMinute: points }: Config) {
    // Where access is open there is nobody but the operator.
    this.limiter =
      access === 'open' || points === 0 ? null : new RateLimiterMemory({ points, duration: WINDOW_SECONDS });
  }

  /** @throws TooManyRequests */
  canActivate(context: ExecutionContext): true | Promise<true> {
    return this.limiter ? this.count(this.limiter, context) : true;
  }

  private async count(limiter: RateLimiterMemory, context: ExecutionContext): Promise<true> {
    const request = context.switchToHttp().getRequest<Request>();
    const response = context.switchToHttp().getResponse<Response>();
    const whose = request.caller?.name ?? `address ${addressOf(request)}`;
    const left = await limiter.consume(whose).catch((refused: Error | RateLimiterRes) => {
      if (refused instanceof Error) throw refused;
      return refused;
    });
    const resetSeconds = Math.max(1, Math.ceil(left.msBeforeNext / 1000));
    const { points: limit } = limiter;
    const remaining = Math.max(0, limit - left.consumedPoints);
    tellQuota(response, { name: 'requests', limit, windowSeconds: WINDOW_SECONDS, remaining, resetSeconds });
    if (left.consumedPoints > limit) throw new TooManyRequests(resetSeconds);
    return true;
  }
}
