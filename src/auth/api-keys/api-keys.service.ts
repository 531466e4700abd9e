import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Audit } from '../../platform/audit/audit.js';
import { Database } from '../../platform/database/database.js';
import { NotAllowed } from '../../platform/http/access.js';
import { type Actor, type Caller, type Role, type Scope, SCOPES_OF } from '../../shared/access.js';
import { NotFound } from '../../shared/errors.js';
import { assertOpen } from '../accounts/accounts.service.js';
import { digestOf, newToken } from '../access/secret-tokens.js';

/** How an API key begins. */
export const API_KEY_PREFIX = 'opk_';

/** A machine's way in. Times are ms UTC. */
export interface ApiKey {
  id: string;
  /** Null where the operator of a service that nobody logs in to made it. */
  accountId: string | null;
  name: string;
  scopes: Scope[];
  createdAt: number;
  revokedAt: number | null;
  /** To the minute. */
  lastUsedAt: number | null;
}

const COLUMNS = sql`api_keys.id::text as id, account_id::text as "accountId", name, scopes,
  api_keys.created_at as "createdAt",
  revoked_at as "revokedAt",
  last_used_at as "lastUsedAt"`;

/** API keys. What one may do never goes beyond what its owner may. */
@Injectable()
export class ApiKeys {
  constructor(
    private readonly database: Database,
    private readonly audit: Audit,
  ) {}

  /**
   * Makes a key.
   * @returns with the key itself, which is not to be had again @throws NotAllowed @throws AccountClosed @throws DatabaseUnavailable
   */
  async create(
    { name, scopes }: { name: string; scopes: Scope[] },
    owner: Caller,
    actor: Actor,
  ): Promise<{ key: string; apiKey: ApiKey }> {
    const missing = scopes.find((scope) => !owner.scopes.has(scope));
    if (missing) throw NotAllowed.without(missing);
    const key = newToken(API_KEY_PREFIX);
    return this.database.transaction(async (tx) => {
      // An account that is being closed is waited for, so that no key of it is left.
      if (owner.account) await assertOpen(tx, owner.account.id);
      const [apiKey] = await tx.query<ApiKey>(
        sql`insert into api_keys (account_id, name, hash, scopes)
            values (${owner.account?.id ?? null}::uuid, ${name}, ${digestOf(key)},
              array(select json_array_elements_text(${JSON.stringify([...new Set(scopes)])}::json)))
            returning ${COLUMNS}`,
      );
      const target = `api-key:${apiKey!.id}`;
      await this.audit.record(tx, actor, { action: 'api_key.created', target, after: { scopes: apiKey!.scopes } });
      return { key, apiKey: apiKey! };
    });
  }

  /**
   * Keys, newest first: the caller's own, or everybody's for who manages accounts.
   * @param before only such as were made before this one @throws DatabaseUnavailable
   */
  async latest(caller: Caller, limit: number, before?: string): Promise<ApiKey[]> {
    const older =
      before === undefined
        ? sql`true`
        : sql`(created_at, id) < (select created_at, id from api_keys where id = ${before}::uuid)`;
    return this.database.query(
      sql`select ${COLUMNS} from api_keys where ${mayBeSeenBy(caller)} and ${older}
          order by created_at desc, api_keys.id desc limit ${limit}`,
    );
  }

  /** Makes a key useless. Again does nothing. @throws NotFound @throws DatabaseUnavailable */
  async revoke(id: string, caller: Caller, actor: Actor): Promise<void> {
    await this.database.transaction(async (tx) => {
      const [key] = await tx.query<{ revoked: boolean }>(
        sql`select revoked_at is not null as revoked from api_keys
            where id = ${id}::uuid and ${mayBeSeenBy(caller)} for update`,
      );
      if (!key) throw new NotFound(`There is no API key ${id}.`);
      if (!key.revoked) await tx.query(sql`update api_keys set revoked_at = now() where id = ${id}::uuid`);
      await this.audit.record(tx, actor, {
        action: 'api_key.revoked',
        target: `api-key:${id}`,
        before: { revoked: key.revoked },
        after: { revoked: true },
      });
    });
  }

  /** Who shows a key, and notes that it was used. @returns null where it is none, or revoked @throws DatabaseUnavailable */
  async callerBy(key: string): Promise<Caller | null> {
    const [found] = await this.database.query<{
      id: string;
      scopes: Scope[];
      accountId: string | null;
      role: Role | null;
      userId: string | null;
    }>(
      sql`with found as (
            select api_keys.id, scopes, account_id, last_used_at, role, user_id
            from api_keys left join accounts on accounts.id = account_id
            where hash = ${digestOf(key)} and revoked_at is null and closed_at is null
          ), noted as (
            update api_keys set last_used_at = now() from found
            where api_keys.id = found.id
              and (found.last_used_at is null or found.last_used_at < now() - interval '1 minute')
          )
          select id::text as id, scopes, account_id::text as "accountId", role, user_id as "userId" from found`,
    );
    if (!found) return null;
    const { id, accountId, role, userId } = found;
    // What the operator made has no account.
    const ofOwner = accountId === null ? SCOPES_OF.admin : SCOPES_OF[role!];
    return {
      kind: 'api-key',
      name: `api-key:${id}`,
      scopes: new Set(found.scopes.filter((scope) => ofOwner.has(scope))),
      account: accountId && role && userId ? { id: accountId, role, userId } : null,
      sessionId: null,
    };
  }
}

function mayBeSeenBy({ account, scopes }: Caller): ReturnType<typeof sql> {
  return scopes.has('accounts:manage') ? sql`true` : sql`account_id = ${account?.id ?? null}::uuid`;
}
