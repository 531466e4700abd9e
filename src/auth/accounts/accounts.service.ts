import { Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { randomBytes } from 'node:crypto';
import { Audit } from '../../platform/audit/audit.js';
import { Database, type Executor } from '../../platform/database/database.js';
import { accountName, type Actor, type Role } from '../../shared/access.js';
import { ClientError, NotFound } from '../../shared/errors.js';
import { assertUncommon, hashOf, PasswordCheck } from './passwords.js';

/** Who may use this service. */
export interface Account {
  id: string;
  /** In lower case. */
  email: string;
  fullName: string;
  role: Role;
  /** Whose order events are this account's own. */
  userId: string;
  /** ms UTC. */
  createdAt: number;
}

/** There is an account of this address already. */
export class EmailTaken extends ClientError {
  readonly code = 'email_taken';
  readonly kind = 'conflict';
  constructor() {
    super('There is an account of this e-mail address already. Log in, or take another address.');
  }
}

/** The account was closed; nobody can use it any more. */
export class AccountClosed extends ClientError {
  readonly code = 'account_closed';
  readonly kind = 'unauthenticated';
  constructor() {
    super('This account was closed.');
  }
}

/** Without an admin nobody could make one. */
export class LastAdmin extends ClientError {
  readonly code = 'last_admin';
  readonly kind = 'conflict';
  constructor() {
    super('This is the only admin. Make another account an admin first.');
  }
}

const COLUMNS = sql`id::text as id, email, full_name as "fullName", role, user_id as "userId",
  created_at as "createdAt"`;

/** What the first admin is called. */
const FIRST_ADMIN = 'First admin';

/** Any number, the same in all processes: the key of the lock under which it is decided who is an admin. */
export const ADMINS_LOCK = 4_711_003;

/** The accounts, in the ledger's database. */
@Injectable()
export class Accounts {
  private readonly passwords = new PasswordCheck();

  constructor(
    private readonly database: Database,
    private readonly audit: Audit,
  ) {}

  /**
   * Makes the account of a customer.
   * @throws CommonPassword @throws EmailTaken @throws DatabaseUnavailable
   */
  async signUp(
    given: { email: string; password: string; fullName: string },
    requestId: string | null,
  ): Promise<Account> {
    const email = asStored(given.email);
    await assertUncommon(given.password, personalWords(email, given.fullName));
    const hash = await hashOf(given.password);
    return this.database.transaction(async (tx) => {
      const account = await insertAccount(tx, { email, hash, fullName: given.fullName, role: 'customer' });
      if (!account) throw new EmailTaken();
      const actor = { name: accountName(account.id), requestId };
      await this.audit.record(tx, actor, created(account));
      return account;
    });
  }

  /**
   * Makes the first admin, unless there is one. An account of that address becomes it, and gets this password: it may
   * have been made by anybody.
   * @throws DatabaseUnavailable
   */
  async makeFirstAdmin(given: { email: string; password: string }): Promise<Account | null> {
    const hash = await hashOf(given.password);
    return this.database.transaction(async (tx) => {
      await tx.query(sql`select pg_advisory_xact_lock(${ADMINS_LOCK})`);
      if ((await admins(tx)).length > 0) return null;
      const actor: Actor = { name: 'configuration', requestId: null };
      const email = asStored(given.email);
      const account = await insertAccount(tx, { email, hash, fullName: FIRST_ADMIN, role: 'admin' });
      if (account) {
        await this.audit.record(tx, actor, created(account));
        return account;
      }
      const [promoted] = await tx.query<Account>(
        sql`update accounts set role = 'admin', password_hash = ${hash}, full_name = ${FIRST_ADMIN}, demo = false
            where email = ${email} returning ${COLUMNS}`,
      );
      await revokeAll(tx, promoted!.id);
      await this.audit.record(tx, actor, {
        action: 'account.made_first_admin',
        target: accountName(promoted!.id),
        after: { role: 'admin' },
      });
      return promoted!;
    });
  }

  /** Whether anybody may set roles. @throws DatabaseUnavailable */
  async haveAdmin(): Promise<boolean> {
    return (await admins(this.database)).length > 0;
  }

  /**
   * The account of an address, if the password is its own. Takes as long where there is no such account.
   * @throws DatabaseUnavailable
   */
  async withPassword(email: string, password: string): Promise<Account | null> {
    const [found] = await this.database.query<Account & { hash: string }>(
      sql`select ${COLUMNS}, password_hash as hash from accounts
          where email = ${asStored(email)} and closed_at is null`,
    );
    if (!(await this.passwords.matches(password, found?.hash ?? null))) return null;
    const { hash: _, ...account } = found!;
    return account;
  }

  /** @throws NotFound @throws DatabaseUnavailable */
  async one(id: string): Promise<Account> {
    const [account] = await this.database.query<Account>(sql`select ${COLUMNS} from accounts where id = ${id}::uuid`);
    if (!account) throw unknown(id);
    return account;
  }

  /**
   * Accounts, newest first.
   * @param before only such as were made before this one @throws DatabaseUnavailable
   */
  async latest(filter: { role?: Role; email?: string; before?: string }, limit: number): Promise<Account[]> {
    const conditions: SQL[] = [sql`true`];
    if (filter.role) conditions.push(sql`role = ${filter.role}`);
    if (filter.email !== undefined) conditions.push(sql`email = ${asStored(filter.email)}`);
    if (filter.before !== undefined) {
      conditions.push(sql`(created_at, id) < (select created_at, id from accounts where id = ${filter.before}::uuid)`);
    }
    return this.database.query(
      sql`select ${COLUMNS} from accounts where ${sql.join(conditions, sql` and `)}
          order by created_at desc, accounts.id desc limit ${limit}`,
    );
  }

  /** Gives an account another role. @throws NotFound @throws LastAdmin @throws DatabaseUnavailable */
  async setRole(id: string, role: Role, actor: Actor): Promise<Account> {
    return this.database.transaction(async (tx) => {
      await tx.query(sql`select pg_advisory_xact_lock(${ADMINS_LOCK})`);
      const [before] = await tx.query<{ role: Role }>(
        sql`select role from accounts where id = ${id}::uuid and closed_at is null for update`,
      );
      if (!before) throw unknown(id);
      if (role !== 'admin' && isOnly(id, await admins(tx))) throw new LastAdmin();
      const [account] = await tx.query<Account>(
        sql`update accounts set role = ${role} where id = ${id}::uuid returning ${COLUMNS}`,
      );
      await this.audit.record(tx, actor, {
        action: 'account.role_set',
        target: accountName(id),
        before: { role: before.role },
        after: { role },
      });
      return account!;
    });
  }
}

/** Keeps an account from being closed while something of it is made. @throws AccountClosed */
export async function assertOpen(tx: Executor, id: string): Promise<void> {
  const [open] = await tx.query(sql`select 1 from accounts where id = ${id}::uuid and closed_at is null for share`);
  if (!open) throw new AccountClosed();
}

/** Ends whatever anybody uses an account by, but for its password. */
export async function revokeAll(tx: Executor, id: string): Promise<void> {
  await tx.query(
    sql`update sessions set ended_at = now(), ended_because = 'logged_out'
        where account_id = ${id}::uuid and ended_at is null`,
  );
  await tx.query(sql`update api_keys set revoked_at = now() where account_id = ${id}::uuid and revoked_at is null`);
}

/**
 * Makes an account of an address that has none.
 * @param given `demo`: whether demo data may set its password anew @returns nothing where the address has one
 */
export function insertAccount(
  tx: Executor,
  given: { email: string; hash: string; fullName: string; role: Role; demo?: boolean },
): Promise<Account | undefined> {
  const { email, hash, fullName, role, demo = false } = given;
  const userId = `U${randomBytes(8).toString('hex').toUpperCase()}`;
  return tx
    .query<Account>(
      sql`insert into accounts (email, password_hash, full_name, role, user_id, demo)
          values (${email}, ${hash}, ${fullName}, ${role}, ${userId}, ${demo})
          on conflict (email) do nothing returning ${COLUMNS}`,
    )
    .then(([account]) => account);
}

/** Those who are admins, two at most: that is all that anybody asks. */
export function admins(executor: Executor): Promise<{ id: string }[]> {
  return executor.query(sql`select id::text as id from accounts where role = 'admin' and closed_at is null limit 2`);
}

/** Whether an account is the only one of those found. */
export function isOnly(id: string, found: { id: string }[]): boolean {
  return found.length === 1 && found[0]!.id === id;
}

/** The act of making an account. */
export function created({ id, role, userId }: Account): { action: string; target: string; after: object } {
  return { action: 'account.created', target: accountName(id), after: { role, user_id: userId } };
}

function unknown(id: string): NotFound {
  return new NotFound(`There is no account ${id}.`);
}

/** What whoever guesses a person's password would try first. */
export function personalWords(email: string, fullName: string): string[] {
  return [email, ...email.split('@'), ...email.split(/[@.]/), fullName, ...fullName.split(/\s+/)];
}

/** Nobody tells two addresses apart by upper and lower case. */
function asStored(email: string): string {
  return email.trim().toLowerCase();
}
