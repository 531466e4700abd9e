import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Readiness } from '../observability/readiness.js';

/** From the beginning of the shutdown; what has to end after the last answer needs the rest of 10 s. */
const LAST_ANSWER_AFTER_MS = 7_000;
/** However late it has become: what was asked for before nobody could ask any more. */
const MIN_TIME_TO_ANSWER_MS = 2_000;

/**
 * Lets requests in hand be answered when the process ends, but not for ever: a client that never finishes its request
 * or never reads its answer is cut off. Each connection ends with the next answer, or a client that asks without a pause
 * would go on until it is cut off in the middle of something.
 */
@Injectable()
export class ConnectionDrain implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly readiness: Readiness,
  ) {}

  onApplicationBootstrap(): void {
    this.server.prependListener('request', (_request: IncomingMessage, response: ServerResponse) => {
      if (this.readiness.stoppingSince !== null) response.shouldKeepAlive = false;
    });
  }

  beforeApplicationShutdown(): void {
    const elapsed = performance.now() - (this.readiness.stoppingSince ?? performance.now());
    const left = Math.max(MIN_TIME_TO_ANSWER_MS, LAST_ANSWER_AFTER_MS - elapsed);
    setTimeout(() => this.server.closeAllConnections(), left).unref();
  }

  private get server(): Server {
    return this.host.httpAdapter.getHttpServer() as Server;
  }
}
