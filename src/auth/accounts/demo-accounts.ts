import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Audit } from '../../platform/audit/audit.js';
import type { Executor } from '../../platform/database/database.js';
import type { DemoPart, Planted, PlantedAccount, Planting } from '../../platform/demo/demo-data.js';
import { accountName, type Role } from '../../shared/access.js';
import { ADMINS_LOCK, created, insertAccount, revokeAll } from './accounts.service.js';
import { Authenticator } from '../access/authenticator.js';
import { hashOf } from './passwords.js';
import { newToken } from '../access/secret-tokens.js';

/** Whom demo data consists of. Nobody ever gets mail at example domains (RFC 2606). */
const PERSONS: Person[] = [
  { email: 'customer@demo.example', fullName: 'Demo customer', role: 'customer' },
  { email: 'vendor@demo.example', fullName: 'Demo vendor', role: 'vendor' },
];
const PASSWORD_PREFIX = 'demo_';

interface Person {
  email: string;
  fullName: string;
  role: Role;
}

/** A customer and a vendor to try the service as. Their passwords are random, so nobody can know them beforehand. */
@Injectable()
export class DemoAccounts implements DemoPart {
  constructor(
    private readonly audit: Audit,
    private readonly callers: Authenticator,
  ) {}

  /** @throws DatabaseUnavailable */
  async plant(planting: Planting): Promise<Pick<Planted, 'accounts'>> {
    // Needed or not: while they are made, no transaction is to be open.
    const passwords = PERSONS.map(() => newToken(PASSWORD_PREFIX));
    const hashes = await Promise.all(passwords.map(hashOf));
    const accounts = await planting.transaction(async (tx) => {
      // Meanwhile nobody is erased, nor given another role.
      await tx.query(sql`select pg_advisory_xact_lock(${ADMINS_LOCK})`);
      const found: PlantedAccount[] = [];
      for (const [i, person] of PERSONS.entries()) {
        found.push(await this.makeOrFind(tx, person, { password: passwords[i]!, hash: hashes[i]! }, planting));
      }
      return found;
    });
    if (accounts.some(({ state }) => state === 'reset')) this.callers.forget();
    return { accounts };
  }

  private async makeOrFind(
    tx: Executor,
    { email, fullName, role }: Person,
    { password, hash }: { password: string; hash: string },
    { actor, resetPasswords }: Planting,
  ): Promise<PlantedAccount> {
    const account = await insertAccount(tx, { email, hash, fullName, role, demo: true });
    if (account) {
      await this.audit.record(tx, actor, created(account));
      return { id: account.id, email, role, state: 'made', password, note: null };
    }
    const [found] = await tx.query<{ id: string; role: Role; demo: boolean }>(
      sql`select id::text as id, role, demo from accounts where email = ${email}`,
    );
    const { id, role: present, demo } = found!;
    if (!demo) return { id: null, email, role, state: 'taken', password: null, note: TAKEN };
    // It may do more now than whoever asks for demo data may get at.
    if (present !== role) return { id: null, email, role, state: 'there', password: null, note: otherRole(present) };
    if (!resetPasswords) return { id, email, role, state: 'there', password: null, note: null };
    await tx.query(sql`update accounts set password_hash = ${hash} where id = ${id}::uuid`);
    await revokeAll(tx, id);
    await this.audit.record(tx, actor, { action: 'account.password_reset', target: accountName(id) });
    return { id, email, role, state: 'reset', password, note: null };
  }
}

const TAKEN = 'This address is taken: somebody else signed up with it. That account is left alone.';

function otherRole(role: Role): string {
  return `Somebody made this account ${role === 'analyst' || role === 'admin' ? 'an' : 'a'} ${role}. It is left alone.`;
}
