import { Inject, Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import type { Actor } from '../../shared/access.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { messageOf } from '../../shared/errors.js';
import { atMost, pause } from '../back-off.js';
import { Database, DatabaseUnavailable } from '../database/database.js';
import { Readiness } from '../observability/readiness.js';
import { DemoData } from './demo-data.js';

const ACTOR: Actor = { name: 'first-start', requestId: null };
const LOOK_EVERY_MS = 100;
/** Demo data needs the ledger's database only; where another part is away for long, it is made all the same. */
const LONGEST_WAIT_MS = 10_000;
const LONGEST_STOP_MS = 1_000;

/** Makes the demo data where nobody has put anything of their own yet, after the start: nothing waits for it. */
@Injectable()
export class FirstStart implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('FirstStart');
  private readonly stopping = new AbortController();
  private work: Promise<void> = Promise.resolve();

  constructor(
    private readonly demoData: DemoData,
    private readonly database: Database,
    private readonly readiness: Readiness,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  onApplicationBootstrap(): void {
    if (this.config.demoData) this.work = this.settle();
  }

  async onModuleDestroy(): Promise<void> {
    this.stopping.abort();
    await atMost(LONGEST_STOP_MS, this.work);
  }

  private async settle(): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      await this.database.availability.whenUp(signal);
      await this.whenReady(signal);
      if (signal.aborted) return;
      try {
        return await this.plantWhereUntouched();
      } catch (error) {
        if (error instanceof DatabaseUnavailable) continue;
        this.logger.error(`The demo data could not be made: ${messageOf(error)}`);
        return;
      }
    }
  }

  /** Waits for the rest of the start, which would take longer beside this. */
  private async whenReady(signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + LONGEST_WAIT_MS;
    while (!signal.aborted && performance.now() < deadline) {
      const parts = Object.values(await this.readiness.parts());
      if (parts.every(({ up }) => up)) return;
      await pause(LOOK_EVERY_MS, signal);
    }
  }

  private async plantWhereUntouched(): Promise<void> {
    if (!(await this.demoData.isUntouched())) return;
    const { warehouses, products } = await this.demoData.plant(ACTOR, false);
    this.logger.log(
      `Made demo data: ${products.length} products in ${warehouses.length} warehouses, a customer and a vendor ` +
        '(npm run seed gives these two passwords; with DEMO_DATA=off none is made)',
    );
  }
}
