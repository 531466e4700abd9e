import { Injectable, type NestMiddleware } from '@nestjs/common';
import type { NextFunction, Request, Response } from 'express';
import { Metrics } from './metrics.js';

/** Measures every HTTP request by its route's pattern, never by its path: a path may name a user or an order. */
@Injectable()
export class HttpMetrics implements NestMiddleware {
  constructor(private readonly metrics: Metrics) {}

  use(request: Request, response: Response, next: NextFunction): void {
    const stop = this.metrics.httpDuration.startTimer();
    response.once('close', () => {
      const route = (request.route as { path?: string } | undefined)?.path ?? 'unmatched';
      stop({
        http_request_method: request.method,
        http_route: route,
        http_response_status_code: response.statusCode,
      });
    });
    next();
  }
}
