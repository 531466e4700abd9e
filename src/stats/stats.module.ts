import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { Ledger } from '../ledger/ledger.repository.js';
import { Metrics } from '../platform/observability/metrics.js';
import { Readiness } from '../platform/observability/readiness.js';
import { isoOf } from '../shared/iso-time.js';
import { Aggregation } from './rebuild/aggregation.repository.js';
import { ClearController } from './rebuild/clear.controller.js';
import { StatisticsComparison } from './verification/statistics-comparison.js';
import { StatisticsPages } from './verification/statistics-pages.repository.js';
import { StatisticsRepository } from './projection/statistics.repository.js';
import { GatheredReads } from './api/gathered-reads.js';
import { LiveStatistics } from './api/live-statistics.service.js';
import { ProjectionStateRepository } from './projection/projection-state.repository.js';
import { Projector } from './projection/projector.worker.js';
import { RangeQueries } from './api/range-queries.repository.js';
import { RebuildRequests } from './rebuild/rebuild-requests.service.js';
import { RebuildController } from './rebuild/rebuild.controller.js';
import { Rebuild } from './rebuild/rebuild.service.js';
import { StatsController } from './api/stats.controller.js';
import { UsersController } from './api/users.controller.js';
import { Verification } from './verification/verification.service.js';
import { VerifyController } from './verification/verify.controller.js';

/** The statistics are not ready after this long without progress, ms. */
const STALLED_AFTER_MS = 30_000;

/** Ledger → projector → Redis → REST. */
@Module({
  imports: [LedgerModule],
  controllers: [UsersController, StatsController, ClearController, RebuildController, VerifyController],
  providers: [
    StatisticsRepository,
    ProjectionStateRepository,
    Aggregation,
    Rebuild,
    Projector,
    RebuildRequests,
    GatheredReads,
    LiveStatistics,
    RangeQueries,
    StatisticsPages,
    StatisticsComparison,
    Verification,
  ],
  exports: [Projector],
})
export class StatsModule {
  constructor(
    readiness: Readiness,
    metrics: Metrics,
    ledger: Ledger,
    reads: GatheredReads,
    projector: Projector,
    verification: Verification,
  ) {
    ledger.onAppended(() => reads.entriesArrive());
    readiness.add('statistics', async () => {
      const { position, at, behind, stalledMs, failure } = await projector.reached();
      const facts = { position, as_of: isoOf(at), behind };
      if (stalledMs < STALLED_AFTER_MS) return { up: true, ...facts };
      const seconds = Math.round(stalledMs / 1000);
      const why = failure === '' ? '' : `: ${failure}`;
      return {
        up: false,
        reason: `${behind} entries are missing, and none was added for ${seconds} s${why}`,
        ...facts,
      };
    });
    metrics.reading('stats_projection_lag_entries', 'Ledger entries that the live figures are behind', async () => {
      const { behind } = await projector.reached();
      return behind;
    });
    metrics.reading(
      'stats_drift_cents',
      'By how many cents money in Redis was off when the live figures were last verified',
      async () => (await verification.recorded()).driftCents,
    );
    metrics.reading(
      'stats_verified_timestamp_seconds',
      'When the live figures were last found to be what the ledger says',
      async () => {
        const { succeededAt } = await verification.recorded();
        return succeededAt && succeededAt / 1000;
      },
    );
  }
}
