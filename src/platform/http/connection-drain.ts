import { Injectable, type BeforeApplicationShutdown } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { Server } from 'node:http';

const LONGEST_ANSWER_MS = 2_000;

/**
 * Lets requests in hand be answered when the process ends, but not for ever: a client that never finishes its request
 * or never reads its answer is cut off.
 */
@Injectable()
export class ConnectionDrain implements BeforeApplicationShutdown {
  constructor(private readonly host: HttpAdapterHost) {}

  beforeApplicationShutdown(): void {
    const server = this.host.httpAdapter.getHttpServer() as Server;
    setTimeout(() => server.closeAllConnections(), LONGEST_ANSWER_MS).unref();
  }
}
