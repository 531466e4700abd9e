import { Injectable } from '@nestjs/common';
import { RateLimiterMemory, RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible';
import { createHash } from 'node:crypto';
import type { Quota } from '../../platform/http/rate-limit.js';
import { Redis } from '../../platform/redis/redis.js';
import { ClientError } from '../../shared/errors.js';

const WINDOW_SECONDS = 900;
/** Wrong passwords for one address of e-mail, and from one address of the net, in a quarter of an hour. */
const MAX_PER_ACCOUNT = 10;
const MAX_PER_ADDRESS = 100;
const SIGN_UP_WINDOW_SECONDS = 3_600;
const MAX_SIGN_UPS = 100;
/** Sign-ups from one address of the net that may meet an e-mail address with an account, in an hour. */
const MAX_TAKEN_SIGN_UPS = 20;

/** Too much was tried lately. */
export class TooManyAttempts extends ClientError {
  readonly code = 'too_many_attempts';
  readonly kind = 'too_many';
  override readonly retryAfter: number;
  /** @param waitMs until something may be tried again */
  constructor(waitMs: number) {
    const seconds = Math.max(1, Math.ceil(waitMs / 1000));
    super(`Too many attempts; try again in ${seconds} s.`);
    this.retryAfter = seconds;
  }
}

/** A limit that all processes share; while Redis is away each process counts by itself. */
class Limit {
  private readonly limiter: RateLimiterRedis;

  constructor(
    redis: Redis,
    private readonly name: string,
    private readonly points: number,
    private readonly windowSeconds: number,
  ) {
    const size = { points, duration: windowSeconds };
    this.limiter = new RateLimiterRedis({
      ...size,
      storeClient: redis.client,
      keyPrefix: redis.keys.attempts(name),
      insuranceLimiter: new RateLimiterMemory({ ...size, keyPrefix: name }),
    });
  }

  /** Counts one attempt. */
  async take(whose: string): Promise<Quota> {
    try {
      return this.quota(await this.limiter.consume(whose));
    } catch (refused) {
      if (refused instanceof Error) throw refused;
      return { ...this.quota(refused as RateLimiterRes), remaining: -1 };
    }
  }

  async giveBack(whose: string): Promise<void> {
    await this.limiter.reward(whose);
  }

  async forget(whose: string): Promise<void> {
    await this.limiter.delete(whose);
  }

  private quota({ remainingPoints, msBeforeNext }: RateLimiterRes): Quota {
    return {
      name: this.name,
      limit: this.points,
      windowSeconds: this.windowSeconds,
      remaining: remainingPoints,
      resetSeconds: Math.max(1, Math.ceil(msBeforeNext / 1000)),
    };
  }
}

/** An attempt that was counted. */
export interface Attempt {
  /** Uncounts the attempt. A right password also ends the count of the wrong ones before. */
  succeeded(): Promise<void>;
}

/** Limits guessing of passwords and of registered addresses, across processes. */
@Injectable()
export class AttemptLimits {
  private readonly perAccount: Limit;
  private readonly perAddress: Limit;
  private readonly signUps: Limit;
  private readonly taken: Limit;

  constructor(redis: Redis) {
    this.perAccount = new Limit(redis, 'login-account', MAX_PER_ACCOUNT, WINDOW_SECONDS);
    this.perAddress = new Limit(redis, 'login-address', MAX_PER_ADDRESS, WINDOW_SECONDS);
    this.signUps = new Limit(redis, 'signup-address', MAX_SIGN_UPS, SIGN_UP_WINDOW_SECONDS);
    this.taken = new Limit(redis, 'signup-taken', MAX_TAKEN_SIGN_UPS, SIGN_UP_WINDOW_SECONDS);
  }

  /**
   * Counts an attempt to log in before it is looked at, so that many at once are not each the first.
   * @param tell is told what is left, also where nothing is
   * @throws TooManyAttempts
   */
  async logIn(email: string, address: string, tell: (quota: Quota) => void): Promise<Attempt> {
    const account = digestOf(email);
    const ofAddress = await this.perAddress.take(address);
    // Whoever may not try any more must not lock others out either.
    announce([ofAddress], tell);
    announce([ofAddress, await this.perAccount.take(account)], tell);
    return {
      succeeded: async () => {
        await Promise.all([this.perAccount.forget(account), this.perAddress.giveBack(address)]);
      },
    };
  }

  /**
   * Counts a sign-up, and takes its e-mail address for one with an account until it is told to have `succeeded`. Whoever met too
   * many of these is refused before the next one is looked up, so that the refusal tells nothing of it.
   * @throws TooManyAttempts
   */
  async signUp(address: string, tell: (quota: Quota) => void): Promise<Attempt> {
    announce([await this.signUps.take(address)], tell);
    const taken = await this.taken.take(address);
    if (taken.remaining < 0) announce([taken], tell);
    return { succeeded: () => this.taken.giveBack(address) };
  }
}

/** Tells of the quota of which least is left. @throws TooManyAttempts */
function announce(quotas: Quota[], tell: (quota: Quota) => void): void {
  const [tightest] = quotas.sort((one, other) => one.remaining - other.remaining);
  const { remaining, resetSeconds } = tightest!;
  tell({ ...tightest!, remaining: Math.max(0, remaining) });
  if (remaining < 0) throw new TooManyAttempts(resetSeconds * 1000);
}

/** Redis need not know who logs in. */
function digestOf(email: string): string {
  return createHash('sha256').update(email.trim().toLowerCase()).digest('hex');
}
