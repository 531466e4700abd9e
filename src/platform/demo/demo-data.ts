import { Injectable, type OnModuleInit } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import type { Actor, Role } from '../../shared/access.js';
import { Audit } from '../audit/audit.js';
import { Database, type Executor } from '../database/database.js';

/** The parts, in the order in which they are made: what is sold is somebody's. */
const STAGES = ['accounts', 'catalogue'] as const;

/** One of the parts of demo data. */
export type DemoStage = (typeof STAGES)[number];

/** Any number, the same in all processes: the key of the lock under which demo data is made. */
const PLANTING_LOCK = 4_711_020;

/** A warehouse or a product of demo data. */
export interface PlantedThing {
  /** Its code or SKU. */
  id: string;
  /** `there`: it was there already, and is left as it is. */
  state: 'made' | 'there';
}

/** An account of demo data. */
export interface PlantedAccount {
  /** Null where no demo account has this role: its address is taken, or it was given another one. */
  id: string | null;
  email: string;
  role: Role;
  /** `reset`: it was there already, and has another password now. `taken`: the address is somebody else's. */
  state: 'made' | 'there' | 'reset' | 'taken';
  /** Where it was set by this call; it is not to be had again. */
  password: string | null;
  /** What a person should know of it. */
  note: string | null;
}

/** What demo data consists of, and what of it was there already. */
export interface Planted {
  accounts: PlantedAccount[];
  warehouses: PlantedThing[];
  products: PlantedThing[];
}

/** What a part is to know when it is its turn. */
export interface Planting {
  readonly actor: Actor;
  /** Whether accounts that were there already get another password. */
  readonly resetPasswords: boolean;
  /** What the parts before made or found. */
  readonly planted: Planted;
  /** Runs work in one transaction, in which nobody else makes demo data. */
  readonly transaction: <T>(work: (tx: Executor) => Promise<T>) => Promise<T>;
}

/** What a feature registers that has something to show. */
export interface DemoPart {
  /** Whether nobody has put anything of their own where this part would put something. */
  isUntouched?(): Promise<boolean>;
  /** Makes what is missing, with audit rows, and leaves alone what is there. */
  plant(planting: Planting): Promise<Partial<Planted>>;
}

/** Nobody makes a part of the demo data. */
export class MissingDemoPart extends Error {
  override readonly name = 'MissingDemoPart';
}

/** Something to try the service with. Each feature registers its {@link DemoPart}. */
@Injectable()
export class DemoData implements OnModuleInit {
  private readonly parts = new Map<DemoStage, DemoPart>();

  constructor(
    private readonly database: Database,
    private readonly audit: Audit,
  ) {}

  /** From now on it takes part, when the stages before its own are done. */
  register(stage: DemoStage, part: DemoPart): void {
    this.parts.set(stage, part);
  }

  /** @throws MissingDemoPart */
  onModuleInit(): void {
    const missing = STAGES.filter((stage) => !this.parts.has(stage));
    if (missing.length > 0) throw new MissingDemoPart(`Nobody registered to make demo data: ${missing.join(', ')}`);
  }

  /** Whether all that there is may be demo data, be it whole or not. @throws DatabaseUnavailable */
  async isUntouched(): Promise<boolean> {
    for (const part of this.parts.values()) if ((await part.isUntouched?.()) === false) return false;
    return true;
  }

  /**
   * Makes what is missing of the demo data. What is there is left alone, whoever made or changed it: nothing is restocked,
   * and no price is set again. A call that broke off is finished by the next.
   * @throws DatabaseUnavailable
   */
  async plant(actor: Actor, resetPasswords: boolean): Promise<Planted> {
    const transaction: Planting['transaction'] = (work) =>
      this.database.transaction(async (tx) => {
        await tx.query(sql`select pg_advisory_xact_lock(${PLANTING_LOCK})`);
        return work(tx);
      });
    let planted: Planted = { accounts: [], warehouses: [], products: [] };
    for (const stage of STAGES) {
      const part = await this.parts.get(stage)!.plant({ actor, resetPasswords, planted, transaction });
      planted = { ...planted, ...part };
    }
    await this.database.transaction((tx) =>
      this.audit.record(tx, actor, { action: 'demo_data.planted', target: 'demo-data', after: countsOf(planted) }),
    );
    return planted;
  }
}

/** How many of each kind were made, and passwords set anew. */
function countsOf({ accounts, warehouses, products }: Planted): Record<string, number> {
  const made = (things: { state: string }[]): number => things.filter(({ state }) => state === 'made').length;
  return {
    accounts: made(accounts),
    warehouses: made(warehouses),
    products: made(products),
    passwords_reset: accounts.filter(({ state }) => state === 'reset').length,
  };
}
