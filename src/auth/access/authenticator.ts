import { Inject, Injectable } from '@nestjs/common';
import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import { createHash, hash, timingSafeEqual } from 'node:crypto';
import { DatabaseUnavailable } from '../../platform/database/database.js';
import type { Request } from 'express';
import { networkOf, Unauthenticated } from '../../platform/http/access.js';
import { accountName, type Caller, LOCAL_OPERATOR, SCOPES_OF } from '../../shared/access.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { AccessTokens, type Claims } from '../sessions/access-tokens.service.js';
import { API_KEY_PREFIX, ApiKeys } from '../api-keys/api-keys.service.js';
import { TooManyAttempts } from '../sessions/attempt-limits.js';
import { type Session, Sessions } from '../sessions/sessions.service.js';

/**
 * How long a caller is remembered. Other processes notice a log-out, a revoked key or another role after it at the latest; the
 * 5 s that are promised also hold the pause of an open stream and a slow look-up.
 */
const REMEMBERED_MS = 3_000;
const MAX_REMEMBERED = 10_000;
/** Keys that are none, from one network in a minute, before none that it shows is looked up any more. */
const MAX_FALSE_KEYS = 100;

/** Who showed a credential, until when that is taken for granted, in ms of performance.now(). */
interface Remembered {
  caller: Caller;
  until: number;
}

/** Finds out who makes a request. */
@Injectable()
export class Authenticator {
  private readonly isOpen: boolean;
  private readonly metricsToken: Buffer | null;
  /** By the digest of the token, so that none is kept. */
  private readonly remembered = new Map<string, Remembered>();
  /** Digests of keys that were good once: others' guesses from the same network must not shut them out. */
  private readonly provenKeys = new Set<string>();
  private readonly falseKeys = new RateLimiterMemory({ points: MAX_FALSE_KEYS, duration: 60 });
  /** What was looked up before somebody's rights changed must not be remembered afterwards. */
  private changes = 0;

  constructor(
    private readonly accessTokens: AccessTokens,
    private readonly sessions: Sessions,
    private readonly apiKeys: ApiKeys,
    @Inject(CONFIG) { access, metricsToken }: Config,
  ) {
    this.isOpen = access === 'open';
    this.metricsToken = metricsToken === null ? null : sha256(metricsToken);
  }

  /**
   * Who makes a request, by its Authorization header. Without one that is nobody, or the local operator where access is
   * open.
   * @throws Unauthenticated @throws TooManyAttempts @throws DatabaseUnavailable
   */
  of(request: Request): Caller | Promise<Caller> {
    const { authorization } = request.headers;
    if (authorization === undefined) {
      if (this.isOpen) return LOCAL_OPERATOR;
      throw new Unauthenticated();
    }
    const token = /^Bearer (\S+)$/i.exec(authorization)?.[1];
    if (token === undefined) throw new Unauthenticated();
    const digest = hash('sha256', token);
    const known = this.remembered.get(digest);
    return known && known.until > performance.now() ? known.caller : this.find(token, digest, request);
  }

  /** Takes nothing for granted any more. To be called when a change of somebody's rights is committed. */
  forget(): void {
    this.changes++;
    this.remembered.clear();
  }

  private async find(token: string, digest: string, request: Request): Promise<Caller> {
    const { changes } = this;
    const found = await this.lookUp(token, digest, request);
    if (!found) {
      throw new Unauthenticated(
        'These credentials are not, or no longer, good. Log in again, or refresh your access token.',
      );
    }
    if (changes === this.changes) {
      if (this.remembered.size >= MAX_REMEMBERED) this.remembered.clear();
      this.remembered.set(digest, found);
    }
    return found.caller;
  }

  private async lookUp(token: string, digest: string, request: Request): Promise<Remembered | null> {
    const until = performance.now() + REMEMBERED_MS;
    if (this.metricsToken && timingSafeEqual(sha256(token), this.metricsToken)) return { caller: SCRAPER, until };
    if (token.startsWith(API_KEY_PREFIX)) {
      const caller = await this.keyOwner(token, digest, networkOf(request));
      return caller && { caller, until };
    }
    const claims = this.accessTokens.read(token);
    const session = claims && (await this.sessionOf(claims));
    return (
      session && {
        caller: personIn(session),
        until: Math.min(until, performance.now() + claims.expiresAt - Date.now()),
      }
    );
  }

  /** A key is looked for in the database, whereas an access token shows by itself that it is none. */
  private async keyOwner(key: string, digest: string, network: string): Promise<Caller | null> {
    if (this.provenKeys.has(digest)) return this.apiKeys.callerBy(key);
    // Counted before it is looked at, so that many at once are not each the first.
    await this.falseKeys.consume(network).catch((refused: Error | RateLimiterRes) => {
      throw refused instanceof Error ? refused : new TooManyAttempts(refused.msBeforeNext);
    });
    const caller = await this.apiKeys.callerBy(key);
    if (caller) {
      await this.falseKeys.reward(network);
      if (this.provenKeys.size >= MAX_REMEMBERED) this.provenKeys.clear();
      this.provenKeys.add(digest);
    }
    return caller;
  }

  /** While the ledger's database is down a token's own word holds: it is a quarter of an hour old at most. */
  private async sessionOf({ session }: Claims): Promise<Session | null> {
    try {
      return await this.sessions.live(session.id);
    } catch (error) {
      if (error instanceof DatabaseUnavailable) return session;
      throw error;
    }
  }
}

const SCRAPER: Caller = Object.freeze({
  kind: 'scraper',
  name: 'scraper',
  scopes: new Set(['metrics:read'] as const),
  account: null,
  sessionId: null,
});

function personIn({ id, accountId, role, userId }: Session): Caller {
  return {
    kind: 'account',
    name: accountName(accountId),
    scopes: SCOPES_OF[role],
    account: { id: accountId, role, userId },
    sessionId: id,
  };
}

function sha256(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
