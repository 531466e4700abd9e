import { Injectable, Logger } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { sql, type SQL } from 'drizzle-orm';
import { Audit } from '../../platform/audit/audit.js';
import { Database, DatabaseUnavailable, type Executor } from '../../platform/database/database.js';
import { accountName, type Actor, type Role } from '../../shared/access.js';
import { ClientError } from '../../shared/errors.js';
import { assertOpen } from '../accounts/accounts.service.js';
import { digestOf, newToken } from '../access/secret-tokens.js';

/** A log-in ends when it was not refreshed for so long. What is over is kept as long again, so that a stolen token is noticed. */
const MAX_SILENCE_DAYS = 30;
const PURGE_EVERY_MS = 3_600_000;
const TOKENS_PER_ROUND = 10_000;
const TOKEN_PREFIX = 'opr_';

/** A log-in, and whose it is. */
export interface Session {
  id: string;
  accountId: string;
  role: Role;
  userId: string;
}

/** The refresh token is none, has expired, or its session has ended. */
export class InvalidRefreshToken extends ClientError {
  readonly code = 'invalid_refresh_token';
  readonly kind = 'unauthenticated';
  /** @param endedSession whether it had been used before, so that its session was ended */
  constructor(readonly endedSession: boolean) {
    super('This refresh token is not, or no longer, good. Log in again.');
  }
}

const SESSION = sql`sessions.id::text as id, accounts.id::text as "accountId", accounts.role, accounts.user_id as "userId"`;
const LIVE = sql`sessions.ended_at is null and sessions.expires_at > now() and accounts.closed_at is null`;

/**
 * Log-ins. Each has one refresh token that is good at a time; it is good once, for the next one. One that comes a second
 * time was stolen, by whoever came first or now, so then the whole session ends (RFC 9700, section 4.14.2).
 */
@Injectable()
export class Sessions {
  private readonly logger = new Logger('Sessions');

  constructor(
    private readonly database: Database,
    private readonly audit: Audit,
  ) {}

  /** Begins a session. @throws AccountClosed @throws DatabaseUnavailable */
  async begin(accountId: string, requestId: string | null): Promise<{ sessionId: string; refreshToken: string }> {
    return this.database.transaction(async (tx) => {
      await assertOpen(tx, accountId);
      const [session] = await tx.query<{ id: string }>(
        sql`insert into sessions (account_id, expires_at)
            values (${accountId}::uuid, now() + make_interval(days => ${MAX_SILENCE_DAYS})) returning id::text as id`,
      );
      const sessionId = session!.id;
      await this.audit.record(tx, actorOf(accountId, requestId), {
        action: 'session.begun',
        target: `session:${sessionId}`,
      });
      return { sessionId, refreshToken: await issue(tx, sessionId) };
    });
  }

  /**
   * Takes a refresh token and gives out the next one. The audit log has no row of it: it changes nobody's rights, and would be
   * most of a log that is never shortened. One that ends the session has its row.
   * @throws InvalidRefreshToken @throws DatabaseUnavailable
   */
  async refresh(token: string, requestId: string | null): Promise<{ session: Session; refreshToken: string }> {
    const refreshed = await this.database.transaction(async (tx) => {
      const [session] = await tx.query<Session>(
        sql`update refresh_tokens set used_at = now() from sessions, accounts
            where hash = ${digestOf(token)} and used_at is null
              and sessions.id = refresh_tokens.session_id and ${LIVE} and accounts.id = sessions.account_id
            returning ${SESSION}`,
      );
      if (!session) return { refused: new InvalidRefreshToken(await this.endWhereReused(tx, token, requestId)) };
      await tx.query(
        sql`update sessions set expires_at = now() + make_interval(days => ${MAX_SILENCE_DAYS})
            where id = ${session.id}::uuid`,
      );
      return { session, refreshToken: await issue(tx, session.id) };
    });
    // Only now: thrown earlier it would undo the end of the session.
    if (refreshed.refused) throw refreshed.refused;
    return refreshed;
  }

  /** Ends the session of a refresh token, used or not. @returns its id, or null where there was none @throws DatabaseUnavailable */
  async endByToken(token: string, requestId: string | null): Promise<string | null> {
    const [found] = await this.database.query<{ id: string }>(
      sql`select session_id::text as id from refresh_tokens where hash = ${digestOf(token)}`,
    );
    return found ? this.end(found.id, requestId) : null;
  }

  /** Ends a session. @returns its id, or null where it had ended @throws DatabaseUnavailable */
  async end(id: string, requestId: string | null): Promise<string | null> {
    return this.database.transaction(async (tx) => this.endIn(tx, id, 'logged_out', requestId));
  }

  /** A session that goes on. @returns null where it has ended @throws DatabaseUnavailable */
  async live(id: string): Promise<Session | null> {
    const [session] = await this.database.query<Session>(
      sql`select ${SESSION} from sessions join accounts on accounts.id = account_id
          where sessions.id = ${id}::uuid and ${LIVE}`,
    );
    return session ?? null;
  }

  /**
   * Deletes sessions that have been over for so long that nobody shows their tokens any more, and of those that go on the tokens
   * that were used as long ago: one that comes again after that is refused, and ends nothing. Any process may do it.
   */
  @Interval(PURGE_EVERY_MS)
  async purge(): Promise<void> {
    const isOld = (at: SQL): SQL => sql`${at} < now() - make_interval(days => ${MAX_SILENCE_DAYS})`;
    try {
      await this.database.query(sql`delete from sessions where ${isOld(sql`expires_at`)}`);
      let purged: unknown[];
      do {
        purged = await this.database.query(
          sql`delete from refresh_tokens where hash in (
                select hash from refresh_tokens where ${isOld(sql`used_at`)} limit ${TOKENS_PER_ROUND}
              ) returning 1`,
        );
      } while (purged.length === TOKENS_PER_ROUND);
    } catch (error) {
      if (!(error instanceof DatabaseUnavailable)) throw error;
    }
  }

  /** @returns whether a session was ended */
  private async endWhereReused(tx: Executor, token: string, requestId: string | null): Promise<boolean> {
    const [used] = await tx.query<{ id: string }>(
      sql`select session_id::text as id from refresh_tokens where hash = ${digestOf(token)} and used_at is not null`,
    );
    if (!used || !(await this.endIn(tx, used.id, 'token_reused', requestId))) return false;
    this.logger.warn(`A refresh token was used twice; its session ${used.id} was ended`);
    return true;
  }

  private async endIn(tx: Executor, id: string, because: string, requestId: string | null): Promise<string | null> {
    const [ended] = await tx.query<{ accountId: string }>(
      sql`update sessions set ended_at = now(), ended_because = ${because}
          where id = ${id}::uuid and ended_at is null returning account_id::text as "accountId"`,
    );
    if (!ended) return null;
    await this.audit.record(tx, actorOf(ended.accountId, requestId), {
      action: 'session.ended',
      target: `session:${id}`,
      after: { because },
    });
    return id;
  }
}

async function issue(tx: Executor, sessionId: string): Promise<string> {
  const token = newToken(TOKEN_PREFIX);
  await tx.query(sql`insert into refresh_tokens (hash, session_id) values (${digestOf(token)}, ${sessionId}::uuid)`);
  return token;
}

function actorOf(accountId: string, requestId: string | null): Actor {
  return { name: accountName(accountId), requestId };
}
