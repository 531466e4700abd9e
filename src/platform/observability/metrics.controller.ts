import { Controller, Get, Header } from '@nestjs/common';
import { ApiOperation, ApiOkResponse, ApiProduces, ApiTags } from '@nestjs/swagger';
import { Registry } from 'prom-client';
import { RequireScope } from '../http/access.js';
import { Metrics } from './metrics.js';

/** Metrics for Prometheus. */
@ApiTags('health')
@RequireScope('metrics:read')
@Controller(['metrics', 'api/v1/system/metrics'])
export class MetricsController {
  constructor(private readonly metrics: Metrics) {}

  /** Every metric in Prometheus's text format. */
  @Get()
  @Header('Content-Type', Registry.PROMETHEUS_CONTENT_TYPE)
  @ApiOperation({ summary: 'Metrics in Prometheus text format' })
  @ApiProduces('text/plain')
  @ApiOkResponse({
    description: 'All metrics.',
    schema: { type: 'string', example: 'orders_processed_total{outcome="accepted"} 42\n' },
  })
  scrape(): Promise<string> {
    return this.metrics.registry.metrics();
  }
}
