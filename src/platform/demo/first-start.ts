import { Inject, Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import type { Actor } from '../../shared/access.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { messageOf } from '../../shared/errors.js';
import { withTimeout } from '../back-off.js';
import { Database, DatabaseUnavailable } from '../database/database.js';
import { Readiness } from '../observability/readiness.js';
import { DemoData } from './demo-data.js';

const ACTOR: Actor = { name: 'first-start', requestId: null };
const STOP_TIMEOUT_MS = 1_000;

/**
 * Makes the demo data where nobody has put anything of their own yet. The service is ready only afterwards, so that the
 * first order of a new user finds its product.
 */
@Injectable()
export class FirstStart implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('FirstStart');
  private readonly stopping = new AbortController();
  private work: Promise<void> = Promise.resolve();
  private isSettled = false;

  constructor(
    private readonly demoData: DemoData,
    private readonly database: Database,
    readiness: Readiness,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    if (config.demoData) readiness.add('demo_data', () => ({ up: this.isSettled }));
  }

  onApplicationBootstrap(): void {
    if (this.config.demoData) this.work = this.settle();
  }

  async onModuleDestroy(): Promise<void> {
    this.stopping.abort();
    await withTimeout(STOP_TIMEOUT_MS, this.work);
  }

  private async settle(): Promise<void> {
    const { signal } = this.stopping;
    while (!this.isSettled) {
      await this.database.availability.waitUntilUp(signal);
      if (signal.aborted) return;
      try {
        await this.plantWhereUntouched();
        this.isSettled = true;
      } catch (error) {
        if (error instanceof DatabaseUnavailable) continue;
        // The service works without it, and `npm run seed` makes it later.
        this.logger.error(`The demo data could not be made: ${messageOf(error)}`);
        this.isSettled = true;
      }
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
