import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import type { Actor } from '../../shared/access.js';
import type { Executor } from '../database/database.js';

/** A change that somebody made. */
export interface Act {
  /** What was done, as thing and past participle: `rebuild.requested`. */
  action: string;
  /** What it was done to: `position:7`, `account:…`. */
  target: string;
  /** What of it was so before, and is so now. Never a secret, never a name or an address of a person. */
  before?: object;
  after?: object;
}

/** The record of who changed what. */
@Injectable()
export class Audit {
  /** Records an act in the transaction of the change, so that neither is there without the other. */
  async record(tx: Executor, actor: Actor, { action, target, before, after }: Act): Promise<void> {
    await tx.query(
      sql`insert into audit_log (actor, action, target, before, after, request_id)
          values (${actor.name}, ${action}, ${target}, ${textOf(before)}, ${textOf(after)}, ${actor.requestId})`,
    );
  }
}

function textOf(state: object | undefined): string | null {
  return state ? JSON.stringify(state) : null;
}
