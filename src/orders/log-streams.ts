import { Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import type { Request, Response } from 'express';
import { pause } from '../platform/back-off.js';
import { messageOf } from '../shared/errors.js';
import { ConsumerLog } from './consumer-log.js';

const LOOK_EVERY_MS = 250;
/** An otherwise silent stream sends a comment this often, so that proxies do not take it for dead. */
const COMMENT_EVERY_MS = 15_000;
const LINES_PER_LOOK = 1_000;
/** Who may read is asked anew as often: a stream ends after it, and a client that comes back misses nothing. */
const LONGEST_STREAM_MS = 900_000;
/** A client that does not read is let go when this many bytes wait for it. */
const MAX_WAITING_BYTES = 1024 * 1024;

/** The open server-sent event streams of the consumer log. */
@Injectable()
export class LogStreams implements OnModuleDestroy {
  private readonly logger = new Logger('LogStreams');
  private readonly stopping = new AbortController();
  private readonly running = new Set<Promise<void>>();

  constructor(private readonly log: ConsumerLog) {}

  /** Sends new lines to a client until it leaves, a quarter of an hour is over, or the process ends. */
  open(request: Request, response: Response): void {
    response.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-cache',
      'X-Accel-Buffering': 'no',
    });
    response.write(': lines of the consumer log as they come\n\n');
    const streaming = this.send(response, request.get('Last-Event-ID')).finally(() => {
      this.running.delete(streaming);
      response.end();
    });
    this.running.add(streaming);
  }

  async onModuleDestroy(): Promise<void> {
    this.stopping.abort();
    await Promise.all(this.running);
  }

  private async send(response: Response, lastEventId: string | undefined): Promise<void> {
    let lastId = /^\d+-\d+$/.test(lastEventId ?? '') ? lastEventId! : null;
    let writtenAt = performance.now();
    const until = writtenAt + LONGEST_STREAM_MS;
    while (
      performance.now() < until &&
      !this.stopping.signal.aborted &&
      !response.closed &&
      response.writableLength < MAX_WAITING_BYTES
    ) {
      try {
        lastId ??= (await this.log.latest(1)).lines.at(-1)?.id ?? '0-0';
        for (const { id, ...line } of await this.log.after(lastId, LINES_PER_LOOK)) {
          response.write(`id: ${id}\ndata: ${JSON.stringify(line)}\n\n`);
          lastId = id;
          writtenAt = performance.now();
        }
      } catch (error) {
        // Redis is away; the stream goes on where it was when it is back.
        this.logger.debug(`No lines to stream: ${messageOf(error)}`);
      }
      if (performance.now() - writtenAt > COMMENT_EVERY_MS) {
        response.write(': still here\n\n');
        writtenAt = performance.now();
      }
      await pause(LOOK_EVERY_MS, this.stopping.signal);
    }
  }
}
