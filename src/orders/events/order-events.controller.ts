import { Controller, Get, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { entryPage, EntryPage } from '../../ledger/entry-page.dto.js';
import { entryTable } from '../../ledger/entry-table.js';
import { Ledger } from '../../ledger/ledger.repository.js';
import { entryJson, EntryJson } from '../../ledger/entry.dto.js';
import { RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { JsonOrCsv } from '../../platform/http/csv.js';
import { InvalidInput, NotFound } from '../../shared/errors.js';
import { cleanId } from '../../domain/ids.js';
import { OrderEventsQuery, PositionParam } from './order-events.dto.js';

/** What is in the ledger, entry by entry, failed orders among them. */
@ApiTags('order events')
@RequireScope('order-events:read')
@Controller('order-events')
export class OrderEventsController {
  constructor(private readonly ledger: Ledger) {}

  /** Entries, newest first; every filter given must hold. @throws DatabaseUnavailable */
  @Get()
  @ApiOperation({
    summary: 'Ledger entries, newest first, by kind, outcome, reason, user, order or repair',
    description:
      'A refund shows the position of its order as `ref_position`. One whose order is not counted yet is no entry: see ' +
      '`GET /refunds/waiting`.',
  })
  @JsonOrCsv(EntryPage, entryTable(() => 'order-events'))
  @ApiInvalidInput('outcome: must be one of accepted, corrected, failed')
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async list(@Query() query: OrderEventsQuery): Promise<EntryPage> {
    const { kind, outcome, reason, user_id, order_id } = query;
    const repaired = query.repaired === undefined ? undefined : query.repaired === 'true';
    const filter = {
      kind,
      outcome,
      reason,
      repaired,
      userId: idIn('user_id', user_id),
      orderId: idIn('order_id', order_id),
    };
    return entryPage(this.ledger, filter, query);
  }

  /** One entry. @throws NotFound @throws DatabaseUnavailable */
  @Get(':position')
  @ApiOperation({ summary: 'One ledger entry, with its body as received' })
  @ApiOkResponse({ type: EntryJson })
  @ApiInvalidInput('position: must be a whole number from 1 to 999999999999999')
  @ApiProblem(404, { not_found: 'The ledger has no position 7.' })
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async one(@Param() { position }: PositionParam): Promise<EntryJson> {
    const entry = await this.ledger.entry(position);
    if (!entry) throw new NotFound(`The ledger has no position ${position}.`);
    return entryJson(entry);
  }
}

function idIn(field: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const id = cleanId(text);
  if (id === null) throw new InvalidInput([{ field, message: 'must be printable ASCII of at most 128 characters' }]);
  return id;
}
