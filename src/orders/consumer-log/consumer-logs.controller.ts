import { Controller, Get, Query, Req, Res } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { Request, Response } from 'express';
import { RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { ConsumerLog, type StreamedLine } from './consumer-log.service.js';
import { ConsumerLogsAnswer, ConsumerLogsQuery } from './consumer-logs.dto.js';
import { LogStreams } from './log-streams.service.js';

const NDJSON = 'application/x-ndjson';

/** Shows the consumers of all processes at work. */
@ApiTags('consumer')
@RequireScope('order-events:read')
@Controller('consumer_logs')
export class ConsumerLogsController {
  constructor(
    private readonly log: ConsumerLog,
    private readonly streams: LogStreams,
  ) {}

  /** The latest lines, oldest first. @throws RedisUnavailable */
  @Get()
  @ApiOperation({
    summary: 'The latest lines of the consumer log, oldest first',
    description:
      'Across all processes. A message whose content is in the ledger already shows as "duplicate of position N". ' +
      '`total_logs` is how many lines are kept (about the latest 10,000). With `Accept: application/x-ndjson` the ' +
      'answer is one JSON object a line.',
  })
  @ApiProduces('application/json', NDJSON)
  @ApiOkResponse({ type: ConsumerLogsAnswer })
  @ApiInvalidInput('limit: must be a whole number from 1 to 10000')
  @ApiProblem(503, { redis_unavailable: 'Redis: connection refused' })
  async latest(
    @Query() { limit }: ConsumerLogsQuery,
    @Req() request: Request,
    @Res() response: Response,
  ): Promise<void> {
    const { total, lines } = await this.log.latest(limit);
    const logs = lines.map(withoutId);
    if (request.accepts(['application/json', NDJSON]) === NDJSON) {
      response.type(NDJSON).send(logs.map((each) => `${JSON.stringify(each)}\n`).join(''));
    } else {
      response.json({ total_logs: total, logs });
    }
  }

  /** New lines as they come, until the client leaves, its rights end, or the process ends. */
  @Get('stream')
  @ApiOperation({
    summary: 'New lines as server-sent events',
    description:
      'Each event has the id of its line; a client that reconnects with `Last-Event-ID` misses none that are still kept. ' +
      'Within 5 s after a log-out, another role, a revoked key or the end of the access token the stream ends with an event ' +
      '`end`. Its data is the problem that a new request would be answered with, such as `not_signed_in` or `not_allowed`: ' +
      'connect again only with other credentials.',
  })
  @ApiProduces('text/event-stream')
  @ApiOkResponse({ description: 'Events whose data is one line each, as in `logs`.', schema: { type: 'string' } })
  stream(@Req() request: Request, @Res() response: Response): void {
    this.streams.open(request, response);
  }
}

function withoutId({ id: _id, ...line }: StreamedLine): Omit<StreamedLine, 'id'> {
  return line;
}
