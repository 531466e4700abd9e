import { Inject, Injectable } from '@nestjs/common';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { createHash, timingSafeEqual } from 'node:crypto';
import { DatabaseUnavailable } from '../platform/database/database.js';
import type { Request } from 'express';
import { addressOf, NotSignedIn } from '../platform/http/access.js';
import { type Caller, LOCAL_OPERATOR, SCOPES_OF } from '../shared/access.js';
import { CONFIG, type Config } from '../shared/config.js';
import { AccessTokens, type Claims } from './access-tokens.js';
import { API_KEY_PREFIX, ApiKeys } from './api-keys.js';
import { TooManyAttempts } from './attempt-limits.js';
import { type Session, Sessions } from './sessions.js';

/** How long it may take until a log-out, a revoked key or another role is noticed by the other processes. */
const REMEMBERED_MS = 5_000;
const MOST_REMEMBERED = 10_000;
/** Credentials that are none, from one address in a minute, before it is no longer listened to. */
const MOST_FALSE_CREDENTIALS = 100;

/** Who showed a credential, until when that is taken for granted, in ms UTC. */
interface Remembered {
  caller: Caller;
  until: number;
}

/** Finds out who makes a request. */
@Injectable()
export class Callers {
  private readonly isOpen: boolean;
  private readonly metricsToken: Buffer | null;
  private readonly remembered = new Map<string, Remembered>();
  private readonly falseCredentials = new RateLimiterMemory({ points: MOST_FALSE_CREDENTIALS, duration: 60 });

  constructor(
    private readonly accessTokens: AccessTokens,
    private readonly sessions: Sessions,
    private readonly apiKeys: ApiKeys,
    @Inject(CONFIG) { access, metricsToken }: Config,
  ) {
    this.isOpen = access === 'open';
    this.metricsToken = metricsToken === null ? null : digest(metricsToken);
  }

  /**
   * Who makes a request, by its Authorization header. Without one that is nobody, or the local operator where access is
   * open.
   * @throws NotSignedIn @throws TooManyAttempts @throws DatabaseUnavailable
   */
  of(request: Request): Caller | Promise<Caller> {
    const { authorization } = request.headers;
    if (authorization === undefined) {
      if (this.isOpen) return LOCAL_OPERATOR;
      throw new NotSignedIn();
    }
    const known = this.remembered.get(authorization);
    if (known && known.until > Date.now()) return known.caller;
    return this.find(authorization, addressOf(request));
  }

  /** Takes nothing for granted any more: somebody's rights have changed. */
  forget(): void {
    this.remembered.clear();
  }

  private async find(authorization: string, address: string): Promise<Caller> {
    const strikes = await this.falseCredentials.get(address);
    if (strikes && strikes.remainingPoints <= 0) throw new TooManyAttempts(strikes.msBeforeNext);
    const found = await this.lookUp(/^Bearer +(\S+) *$/i.exec(authorization)?.[1]);
    if (!found) {
      await this.falseCredentials.penalty(address);
      throw new NotSignedIn(
        'These credentials are not, or no longer, good. Log in again, or refresh your access token.',
      );
    }
    if (this.remembered.size >= MOST_REMEMBERED) this.remembered.clear();
    this.remembered.set(authorization, found);
    return found.caller;
  }

  private async lookUp(token: string | undefined): Promise<Remembered | null> {
    if (token === undefined) return null;
    const until = Date.now() + REMEMBERED_MS;
    if (this.metricsToken && timingSafeEqual(digest(token), this.metricsToken)) return { caller: SCRAPER, until };
    if (token.startsWith(API_KEY_PREFIX)) {
      const caller = await this.apiKeys.callerBy(token);
      return caller && { caller, until };
    }
    const claims = this.accessTokens.read(token);
    const session = claims && (await this.sessionOf(claims));
    return session && { caller: personIn(session), until: Math.min(until, claims.expiresAt) };
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
    name: `account:${accountId}`,
    scopes: SCOPES_OF[role],
    account: { id: accountId, role, userId },
    sessionId: id,
  };
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
