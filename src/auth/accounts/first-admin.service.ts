import { Inject, Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { Database, DatabaseUnavailable } from '../../platform/database/database.js';
import { Readiness } from '../../platform/observability/readiness.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { messageOf } from '../../shared/errors.js';
import { Accounts, personalWords } from './accounts.service.js';
import { assertUncommon, CommonPassword } from './passwords.js';

/** ADMIN_PASSWORD would be guessed. */
export class CommonAdminPassword extends Error {
  override readonly name = 'CommonAdminPassword';
  constructor() {
    super('ADMIN_PASSWORD is among the first that anybody would guess. Choose another: a few unrelated words will do.');
  }
}

/** To be asked before anything starts. @throws CommonAdminPassword */
export async function assertFirstAdminIsSafe({ firstAdmin }: Config): Promise<void> {
  if (!firstAdmin) return;
  try {
    await assertUncommon(firstAdmin.password, personalWords(firstAdmin.email, ''));
  } catch (error) {
    throw error instanceof CommonPassword ? new CommonAdminPassword() : error;
  }
}

/** Makes the admin that the configuration names where there is none, as soon as the database is there. */
@Injectable()
export class FirstAdmin implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('FirstAdmin');
  private readonly stopping = new AbortController();
  private isSettled = false;

  constructor(
    private readonly accounts: Accounts,
    private readonly database: Database,
    readiness: Readiness,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    // Whoever waits for readiness is to find the admin there.
    if (config.firstAdmin) readiness.add('first_admin', () => ({ up: this.isSettled }));
  }

  onApplicationBootstrap(): void {
    void this.settle();
  }

  onModuleDestroy(): void {
    this.stopping.abort();
  }

  private async settle(): Promise<void> {
    const { signal } = this.stopping;
    while (!this.isSettled) {
      await this.database.availability.waitUntilUp(signal);
      if (signal.aborted) return;
      try {
        await this.makeOrMiss();
        this.isSettled = true;
      } catch (error) {
        if (error instanceof DatabaseUnavailable) continue;
        this.logger.error(`The first admin could not be made: ${messageOf(error)}`);
        return;
      }
    }
  }

  private async makeOrMiss(): Promise<void> {
    const { access, firstAdmin } = this.config;
    if (await this.accounts.haveAdmin()) return;
    const made = firstAdmin && (await this.accounts.makeFirstAdmin(firstAdmin));
    if (made) this.logger.log(`Made the first admin, account ${made.id}`);
    else if (access === 'secured') {
      this.logger.warn(
        'There is no admin, so nobody can be made an analyst. Start once with ADMIN_EMAIL and ADMIN_PASSWORD',
      );
    }
  }
}
