import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Audit } from '../../platform/audit/audit.js';
import { Database, type Executor } from '../../platform/database/database.js';
import type { Actor } from '../../shared/access.js';

/** A place that products lie at. */
export interface Warehouse {
  code: string;
  name: string;
}

/** The places that products lie at. */
@Injectable()
export class Warehouses {
  constructor(
    private readonly database: Database,
    private readonly audit: Audit,
  ) {}

  /** All of them, by code. @throws DatabaseUnavailable */
  all(): Promise<Warehouse[]> {
    return this.database.query(sql`select code, name from warehouses order by code`);
  }

  /** Makes one, or calls the one of this code otherwise. @throws DatabaseUnavailable */
  async put({ code, name }: Warehouse, actor: Actor): Promise<void> {
    await this.database.transaction(async (tx) => {
      const [before] = await tx.query<{ name: string }>(
        sql`select name from warehouses where code = ${code} for update`,
      );
      await tx.query(
        sql`insert into warehouses (code, name) values (${code}, ${name})
            on conflict (code) do update set name = excluded.name`,
      );
      await this.audit.record(tx, actor, {
        action: 'warehouse.put',
        target: `warehouse:${code}`,
        before,
        after: { name },
      });
    });
  }

  /** Makes one, unless there is one of this code. @returns whether it did */
  async addMissing(tx: Executor, { code, name }: Warehouse, actor: Actor): Promise<boolean> {
    const added = await tx.query(
      sql`insert into warehouses (code, name) values (${code}, ${name}) on conflict (code) do nothing returning 1`,
    );
    if (added.length === 0) return false;
    await this.audit.record(tx, actor, { action: 'warehouse.put', target: `warehouse:${code}`, after: { name } });
    return true;
  }
}
