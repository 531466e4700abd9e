import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Database, type Executor } from '../../platform/database/database.js';
import type { Erased, Eraser } from '../../platform/privacy/personal-data.js';
import { ERASED } from '../../shared/erased.js';
import { admins, ADMINS_LOCK, isOnly, LastAdmin } from './accounts.service.js';
import { Authenticator } from '../access/authenticator.js';

/** Closes the account of a person: its name and its address are gone, and nobody can use it any more. */
@Injectable()
export class AccountErasure implements Eraser {
  constructor(
    private readonly database: Database,
    private readonly callers: Authenticator,
  ) {}

  /** @throws DatabaseUnavailable */
  async knows(userId: string): Promise<boolean> {
    const found = await this.database.query(sql`select 1 from accounts where user_id = ${userId}`);
    return found.length > 0;
  }

  /** @throws LastAdmin @throws DatabaseUnavailable */
  async erase(tx: Executor, userId: string): Promise<{ erased: Erased; next: null }> {
    await tx.query(sql`select pg_advisory_xact_lock(${ADMINS_LOCK})`);
    const [account] = await tx.query<{ id: string }>(
      sql`select id::text as id from accounts where user_id = ${userId} and closed_at is null for update`,
    );
    if (!account) return { erased: { accounts: 0 }, next: null };
    const { id } = account;
    if (isOnly(id, await admins(tx))) throw new LastAdmin();
    await tx.query(
      sql`update accounts set email = 'erased-' || id, full_name = ${ERASED}, password_hash = '', closed_at = now()
          where id = ${id}::uuid`,
    );
    await tx.query(
      sql`update sessions set ended_at = now(), ended_because = 'erased'
          where account_id = ${id}::uuid and ended_at is null`,
    );
    await tx.query(
      sql`update api_keys set name = ${ERASED}, revoked_at = coalesce(revoked_at, now()) where account_id = ${id}::uuid`,
    );
    return { erased: { accounts: 1 }, next: null };
  }

  committed(): void {
    this.callers.forget();
  }
}
