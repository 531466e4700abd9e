import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { Metrics } from '../platform/observability/metrics.js';
import { Readiness } from '../platform/observability/readiness.js';
import { Aggregation } from './aggregation.js';
import { ClearController } from './clear.controller.js';
import { FigureStore } from './figure-store.js';
import { LiveFigures } from './live-figures.js';
import { ProjectionAuthority } from './projection-authority.js';
import { Projector } from './projector.js';
import { RangeQueries } from './range-queries.js';
import { Rebuild } from './rebuild.js';
import { StatsController } from './stats.controller.js';
import { UsersController } from './users.controller.js';

/** Ledger → projector → Redis → REST. */
@Module({
  imports: [LedgerModule],
  controllers: [StatsController, UsersController, ClearController],
  providers: [FigureStore, ProjectionAuthority, Aggregation, Rebuild, Projector, LiveFigures, RangeQueries],
  exports: [Projector],
})
export class StatsModule {
  constructor(readiness: Readiness, metrics: Metrics, projector: Projector) {
    readiness.add('statistics', () => {
      const { position, at } = projector.served();
      return { up: true, position, as_of: new Date(at).toISOString() };
    });
    metrics.reading('stats_projection_lag_entries', 'Ledger entries that the live figures are behind', () =>
      projector.lag(),
    );
  }
}
