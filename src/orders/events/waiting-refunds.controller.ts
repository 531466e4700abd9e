import { Controller, Get, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { WaitingRefunds } from '../../ledger/waiting-refunds.repository.js';
import { RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { encodeCursor, placeBefore } from '../../platform/http/cursor.js';
import { WaitingRefundPage, waitingRefundJson, WaitingRefundsQuery } from './waiting-refunds.dto.js';

/** Which refunds wait for their orders. Once settled they are ledger entries. */
@ApiTags('order events')
@Controller('refunds')
export class WaitingRefundsController {
  constructor(private readonly waiting: WaitingRefunds) {}

  /** Those that wait, the latest first. @throws InvalidInput @throws DatabaseUnavailable */
  @Get('waiting')
  @RequireScope('order-events:read')
  @ApiOperation({
    summary: 'Refunds whose order is not counted yet, the latest first',
    description:
      'None of them counts, as success or as failure, before its order does; then it becomes an entry of kind refund ' +
      'by itself. One that names an order that never comes waits for ever.',
  })
  @ApiOkResponse({ type: WaitingRefundPage })
  @ApiInvalidInput('cursor: must be a next_cursor of this list')
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async list(@Query() { cursor, limit }: WaitingRefundsQuery): Promise<WaitingRefundPage> {
    const { refunds, more } = await this.waiting.page(placeBefore(cursor), limit);
    const last = more ? refunds.at(-1) : undefined;
    return {
      total: await this.waiting.count(),
      items: refunds.map(waitingRefundJson),
      next_cursor: last ? encodeCursor({ before: last.number }) : null,
    };
  }
}
