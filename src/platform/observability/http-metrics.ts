import { Injectable, type NestMiddleware } from '@nestjs/common';
import type { NextFunction, Request, Response } from 'express';
import { Metrics } from './metrics.js';

/** Measures every HTTP request by its route's pattern, never by its path: a path may name a user or an order. */
@Injectable()
export class HttpMetrics implements NestMiddleware {
  constructor(private readonly metrics: Metrics) {}

  use(request: Request, response: Response, next: NextFunction): void {
    const began = performance.now();
    response.on('close', () => {
      const route = (request.route as { path?: string } | undefined)?.path ?? 'unmatched';
      const labels = {
        http_request_method: request.method,
        http_route: route,
        http_response_status_code: response.statusCode,
      };
      this.metrics.httpDuration.observe(labels, (performance.now() - began) / 1_000);
    });
    next();
  }
}
