import { Injectable, type NestMiddleware } from '@nestjs/common';
import type { NextFunction, Request, Response } from 'express';
import { PinoLogger } from 'nestjs-pino';
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';

const inHand = new AsyncLocalStorage<Request>();

/** The request on whose behalf this code runs, to go into the lines that it logs. */
export function requestInHand(): { req?: Request } {
  const req = inHand.getStore();
  return req ? { req } : {};
}

/**
 * Gives requests an id and logs those that failed on our side; on the debug level, all of them. What pino-http would make
 * ready for each request, a logger of its own above all, is made of those alone that a line is written for.
 */
@Injectable()
export class RequestLog implements NestMiddleware {
  /** Sets this process's requests apart from those of others, and of this machine's earlier ones. */
  private readonly process = randomBytes(4).toString('hex');
  private requests = 0;

  constructor(private readonly logger: PinoLogger) {}

  use(request: Request, response: Response, next: NextFunction): void {
    request.id = `${this.process}-${++this.requests}`;
    // Who only reads need not know, unless it fails: see problem.filter.ts.
    if (request.method !== 'GET') response.setHeader('X-Request-Id', request.id);
    const began = performance.now();
    response.on('close', () => this.record(request, response, Math.round(performance.now() - began)));
    // Without a listener it would end the process; that the answer did not get through, the line above tells.
    response.on('error', () => undefined);
    inHand.run(request, next);
  }

  private record(req: Request, res: Response, responseTime: number): void {
    const failed = res.statusCode >= 500;
    // A part that is down says so itself; whoever asks for health every second need not fill the log with it.
    const level = failed && !asksForHealth(req) ? 'warn' : 'debug';
    const isWhole = res.writableEnded && !req.readableAborted;
    this.logger[level]({ req, res, responseTime }, `request ${failed ? 'errored' : isWhole ? 'completed' : 'aborted'}`);
  }
}

function asksForHealth({ originalUrl }: Request): boolean {
  return ['/health', '/api/v1/system/health'].some((path) => originalUrl.startsWith(path));
}
