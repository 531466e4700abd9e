import { Module } from '@nestjs/common';
import { LedgerModule } from '../ledger/ledger.module.js';
import { Ledger } from '../ledger/ledger.js';
import { Metrics } from '../platform/observability/metrics.js';
import { Readiness } from '../platform/observability/readiness.js';
import { isoOf } from '../shared/iso-time.js';
import { Aggregation } from './aggregation.js';
import { ClearController } from './clear.controller.js';
import { FigureComparison } from './figure-comparison.js';
import { FigurePages } from './figure-pages.js';
import { FigureStore } from './figure-store.js';
import { GatheredReads } from './gathered-reads.js';
import { LiveFigures } from './live-figures.js';
import { ProjectionAuthority } from './projection-authority.js';
import { Projector } from './projector.js';
import { RangeQueries } from './range-queries.js';
import { RebuildRequests } from './rebuild-requests.js';
import { RebuildController } from './rebuild.controller.js';
import { Rebuild } from './rebuild.js';
import { StatsController } from './stats.controller.js';
import { UsersController } from './users.controller.js';
import { Verification } from './verification.js';
import { VerifyController } from './verify.controller.js';

/** The statistics are not ready after this long without progress, ms. */
const STALLED_AFTER_MS = 30_000;

/** Ledger → projector → Redis → REST. */
@Module({
  imports: [LedgerModule],
  controllers: [UsersController, StatsController, ClearController, RebuildController, VerifyController],
  providers: [
    FigureStore,
    ProjectionAuthority,
    Aggregation,
    Rebuild,
    Projector,
    RebuildRequests,
    GatheredReads,
    LiveFigures,
    RangeQueries,
    FigurePages,
    FigureComparison,
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
