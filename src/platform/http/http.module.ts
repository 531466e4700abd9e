import { Module } from '@nestjs/common';
import { ApiOverview } from './api-overview.js';
import { ApiOverviewController } from './api-overview.controller.js';
import { ConnectionDrain } from './connection-drain.js';

/** The HTTP face of the service as a whole. */
@Module({ controllers: [ApiOverviewController], providers: [ApiOverview, ConnectionDrain], exports: [ApiOverview] })
export class HttpModule {}
