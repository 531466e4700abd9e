import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentActor, RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import type { Actor } from '../../shared/access.js';
import {
  deadLetterJson,
  DeadLetterPath,
  DeadLetterSample,
  DeadLettersQuery,
  DeletedDeadLetter,
  redriveAnswer,
  RedriveAnswer,
  redriveOrder,
  RedriveRequest,
} from './dead-letters.dto.js';
import { DeadLetters } from './dead-letters.service.js';

const NOTE =
  "SQS can't list a queue: this is a sample of what it handed out, released again at once, and may differ from call to call.";
const UNREACHABLE = "The dead letters of the queue orders-queue can't be reached: connect ECONNREFUSED";

/** Messages that this service could not process. */
@ApiTags('dead letters')
@Controller('dead-letters')
export class DeadLettersController {
  constructor(private readonly deadLetters: DeadLetters) {}

  /** A sample. @throws InvalidInput @throws DeadLetterQueueUnavailable */
  @Get()
  @RequireScope('order-events:read')
  @ApiOperation({
    summary: 'Some of the messages that could not be processed, and why',
    description:
      'Messages that this service failed to process as often as SQS_MAX_RECEIVE_COUNT allows. Orders that are wrong are ' +
      'not among them: they are entries of the ledger. Looking counts as a receive, and hides a message for a moment.',
  })
  @ApiOkResponse({ type: DeadLetterSample })
  @ApiInvalidInput('limit: must be a whole number from 1 to 100')
  @ApiProblem(503, { queue_unavailable: UNREACHABLE })
  async sample(@Query() { limit }: DeadLettersQuery): Promise<DeadLetterSample> {
    const { waiting, letters } = await this.deadLetters.sample(limit);
    return { sample: true, note: NOTE, waiting, items: letters.map(deadLetterJson) };
  }

  /**
   * Back to the orders queue.
   * @throws InvalidInput @throws RedriveRunning @throws DeadLetterQueueUnavailable @throws QueueUnavailable
   * @throws RedriveBrokenOff @throws DatabaseUnavailable
   */
  @Post('redrive')
  @RequireScope('order-events:repair')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Send dead letters back to the orders queue',
    description:
      'Each is sent and then deleted; one that is sent twice counts once. A message gets a new id and a new time of ' +
      'sending, by which it is judged: an order whose time then lay too far in the future may pass now. Ends by itself ' +
      'within half a minute; ask again for more.',
  })
  @ApiBody({
    type: RedriveRequest,
    required: false,
    examples: {
      dryRun: {
        summary: 'Which would it be?',
        value: { filter: { error_contains: 'is not a function' }, dry_run: true },
      },
      redrive: { summary: 'Up to a hundred of any', value: {} },
      slowly: {
        summary: 'Certain ones, one a second',
        value: { filter: { body_contains: 'U042' }, limit: 20, per_second: 1 },
      },
    },
  })
  @ApiOkResponse({ type: RedriveAnswer })
  @ApiInvalidInput('per_second: must be so that limit / per_second is at most 20 seconds')
  @ApiProblem(409, { redrive_running: 'A redrive is running; ask again when it has ended, within half a minute.' })
  @ApiProblem(503, {
    queue_unavailable: UNREACHABLE,
    ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED',
  })
  async redrive(@Body() request: RedriveRequest, @CurrentActor() actor: Actor): Promise<RedriveAnswer> {
    return redriveAnswer(await this.deadLetters.redrive(redriveOrder(request), actor), request.dry_run);
  }

  /**
   * One less.
   * @throws InvalidInput @throws NotFound @throws DeadLetterQueueUnavailable @throws NotDeleted @throws DatabaseUnavailable
   */
  @Delete(':message_id')
  @RequireScope('order-events:repair')
  @ApiOperation({
    summary: 'Delete one dead letter for good',
    description: 'Looks for it among the first 1,000 that SQS hands out; the others are released at once.',
  })
  @ApiOkResponse({ type: DeletedDeadLetter })
  @ApiInvalidInput('message_id: must be the id of a message')
  @ApiProblem(404, { not_found: 'No dead letter 5f3c6f0e was met among 40.' })
  @ApiProblem(503, {
    queue_unavailable: UNREACHABLE,
    ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED',
  })
  async delete(@Param() { message_id }: DeadLetterPath, @CurrentActor() actor: Actor): Promise<DeletedDeadLetter> {
    await this.deadLetters.delete(message_id, actor);
    return { deleted: message_id };
  }
}
