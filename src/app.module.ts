import { type DynamicModule, Global, Module } from '@nestjs/common';
import { ScheduleModule } from '@nestjs/schedule';
import { AuthModule } from './auth/auth.module.js';
import { DashboardModule } from './dashboard/dashboard.module.js';
import { DataQualityModule } from './data-quality/data-quality.module.js';
import { FulfilmentModule } from './fulfilment/fulfilment.module.js';
import { OrdersModule } from './orders/orders.module.js';
import { AuditModule } from './platform/audit/audit.module.js';
import { DatabaseModule } from './platform/database/database.module.js';
import { DemoModule } from './platform/demo/demo.module.js';
import { EmbeddedModule } from './platform/embedded/embedded.module.js';
import { HttpModule } from './platform/http/http.module.js';
import { ObservabilityModule } from './platform/observability/observability.module.js';
import { PrivacyModule } from './platform/privacy/privacy.module.js';
import { QueueModule } from './platform/queue/queue.module.js';
import { WorkersModule } from './platform/queue/workers.module.js';
import { RedisModule } from './platform/redis/redis.module.js';
import { ProducerModule } from './producer/producer.module.js';
import { CONFIG, type Config } from './shared/config.js';
import { StatsModule } from './stats/stats.module.js';

/** The configuration, for whoever asks for {@link CONFIG}. */
@Global()
@Module({})
class ConfigModule {
  static of(config: Config): DynamicModule {
    return { module: ConfigModule, providers: [{ provide: CONFIG, useValue: config }], exports: [CONFIG] };
  }
}

/**
 * The map of the house: the outside world first, then the features. Order events flow
 * ProducerModule → (SQS) → OrdersModule → LedgerModule → StatsModule.
 */
@Module({})
export class AppModule {
  static with(config: Config): DynamicModule {
    return {
      module: AppModule,
      imports: [
        ConfigModule.of(config),
        EmbeddedModule,
        QueueModule,
        DatabaseModule,
        RedisModule,
        ObservabilityModule,
        HttpModule,
        ScheduleModule.forRoot(),
        OrdersModule.register(config),
        StatsModule,
        ProducerModule,
        FulfilmentModule.register(config),
        DataQualityModule,
        // Last: routes are tried in this order, and these are asked least.
        AuthModule,
        AuditModule,
        PrivacyModule,
        WorkersModule,
        DemoModule,
        DashboardModule,
      ],
    };
  }
}
