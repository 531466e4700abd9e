import { Controller, Get } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { HealthCheck, HealthCheckService, type HealthCheckResult, type HealthIndicatorResult } from '@nestjs/terminus';
import { OpenToAll } from '../http/access.js';
import { ApiProblem } from '../http/api-problem.js';
import { Readiness } from './readiness.js';

const EXAMPLE = {
  status: 'ok',
  info: {
    ledger: { status: 'up' },
    redis: { status: 'up' },
    queue: { status: 'up', last_poll_at: '2026-01-31T12:00:00.000Z' },
    payment_queue: { status: 'up', last_poll_at: '2026-01-31T12:00:00.000Z' },
  },
  error: {},
  details: {
    ledger: { status: 'up' },
    redis: { status: 'up' },
    queue: { status: 'up' },
    payment_queue: { status: 'up' },
  },
};

/** Whether this process lives, and whether it should get traffic. */
@ApiTags('health')
@OpenToAll()
@Controller()
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly readiness: Readiness,
  ) {}

  /** All parts, with facts on each. */
  @Get(['health', 'api/v1/system/health'])
  @HealthCheck({ swaggerDocumentation: false })
  @ApiOperation({ summary: 'All parts, with facts on each' })
  @ApiOkResponse({ description: 'Every part is up.', example: EXAMPLE })
  @ApiProblem(503, { not_ready: 'Not ready: redis.' })
  all(): Promise<HealthCheckResult> {
    return this.check();
  }

  /** The process answers; parts it depends on may be down. */
  @Get('health/live')
  @ApiOperation({ summary: 'The process answers, whatever its parts do' })
  @ApiOkResponse({ example: { status: 'ok' } })
  live(): { status: 'ok' } {
    return { status: 'ok' };
  }

  /** Ready for traffic: every part is up, statistics are complete, and the process is not shutting down. */
  @Get('health/ready')
  @HealthCheck({ swaggerDocumentation: false })
  @ApiOperation({ summary: 'Ready for traffic' })
  @ApiOkResponse({ description: 'Every part is up.', example: EXAMPLE })
  @ApiProblem(503, { not_ready: 'Not ready: redis.' })
  ready(): Promise<HealthCheckResult> {
    return this.check();
  }

  private async check(): Promise<HealthCheckResult> {
    const parts = await this.readiness.parts();
    return this.health.check(
      Object.entries(parts).map(([part, { up, ...facts }]) => (): HealthIndicatorResult => ({
        [part]: { status: up ? 'up' : 'down', ...facts },
      })),
    );
  }
}
