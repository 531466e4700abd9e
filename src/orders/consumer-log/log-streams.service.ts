import { Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import type { Request, Response } from 'express';
import { pause } from '../../platform/back-off.js';
import { problemOf } from '../../platform/http/problem.filter.js';
import { untilRefused } from '../../platform/http/until-refused.js';
import { messageOf } from '../../shared/errors.js';
import { ConsumerLog, type StreamedLine } from './consumer-log.service.js';

const LOOK_EVERY_MS = 250;
/** An otherwise silent stream sends a comment this often, so that proxies do not take it for dead. */
const COMMENT_EVERY_MS = 15_000;
const LINES_PER_LOOK = 1_000;
/** A client that does not read is let go when this many bytes wait for it. */
const MAX_WAITING_BYTES = 1024 * 1024;

/** The open server-sent event streams of the consumer log. */
@Injectable()
export class LogStreams implements OnModuleDestroy {
  private readonly logger = new Logger('LogStreams');
  private readonly stopping = new AbortController();
  private readonly running = new Set<Promise<void>>();

  constructor(private readonly log: ConsumerLog) {}

  /** Sends new lines to a client until it leaves, its rights end, or the process ends. */
  open(request: Request, response: Response): void {
    response.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-cache',
      'X-Accel-Buffering': 'no',
    });
    response.write(': lines of the consumer log as they come\n\n');
    const ending = new AbortController();
    const signal = AbortSignal.any([this.stopping.signal, ending.signal]);
    const streaming = this.send(response, request.get('Last-Event-ID'), signal).finally(() => {
      this.running.delete(streaming);
      ending.abort();
      response.end();
    });
    this.running.add(streaming);
    void untilRefused(request, signal).then((refusal) => {
      if (refusal === null) return;
      const problem = problemOf(refusal, request);
      if (problem.status === 500) this.logger.error(`A reader's rights can't be checked: ${messageOf(refusal)}`);
      response.end(`event: end\ndata: ${JSON.stringify(problem)}\n\n`);
      ending.abort();
    });
  }

  async onModuleDestroy(): Promise<void> {
    this.stopping.abort();
    await Promise.all(this.running);
  }

  private async send(response: Response, lastEventId: string | undefined, signal: AbortSignal): Promise<void> {
    let lastId = /^\d+-\d+$/.test(lastEventId ?? '') ? lastEventId! : null;
    let writtenAt = performance.now();
    while (!signal.aborted && !response.closed && response.writableLength < MAX_WAITING_BYTES) {
      let lines: StreamedLine[] = [];
      try {
        lastId ??= (await this.log.latest(1)).lines.at(-1)?.id ?? '0-0';
        lines = await this.log.after(lastId, LINES_PER_LOOK);
      } catch (error) {
        // Redis is away; the stream goes on where it was when it is back.
        this.logger.debug(`No lines to stream: ${messageOf(error)}`);
      }
      // Meanwhile the stream may have ended.
      if (signal.aborted) return;
      for (const { id, ...line } of lines) {
        response.write(`id: ${id}\ndata: ${JSON.stringify(line)}\n\n`);
        lastId = id;
        writtenAt = performance.now();
      }
      if (performance.now() - writtenAt > COMMENT_EVERY_MS) {
        response.write(': still here\n\n');
        writtenAt = performance.now();
      }
      await pause(LOOK_EVERY_MS, signal);
    }
  }
}
