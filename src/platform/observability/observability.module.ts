import { Global, Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { LoggerModule } from 'nestjs-pino';
import { CONFIG, type Config } from '../../shared/config.js';
import { Database } from '../database/database.js';
import { Redis } from '../redis/redis.js';
import { HealthController } from './health.controller.js';
import { HttpMetrics } from './http-metrics.js';
import { loggerOptions, ServiceLogger } from './logging.js';
import { Metrics } from './metrics.js';
import { MetricsController } from './metrics.controller.js';
import { Readiness } from './readiness.js';
import { RequestLog } from './request-log.js';

/** Logs, metrics and health. */
@Global()
@Module({
  imports: [
    LoggerModule.forRootAsync({ useFactory: (config: Config) => loggerOptions(config), inject: [CONFIG] }),
    TerminusModule.forRoot({ logger: false }),
  ],
  controllers: [HealthController, MetricsController],
  providers: [HttpMetrics, Metrics, Readiness, RequestLog, ServiceLogger],
  exports: [Metrics, Readiness],
})
export class ObservabilityModule {
  constructor(readiness: Readiness, database: Database, redis: Redis) {
    readiness.add('ledger', async () => {
      await database.availability.confirm();
      return database.availability.health;
    });
    readiness.add('redis', async () => {
      await redis.availability.confirm();
      return redis.availability.health;
    });
  }
}
