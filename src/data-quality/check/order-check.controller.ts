import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { InvalidInput } from '../../shared/errors.js';
import { cleanId } from '../../domain/ids.js';
import { orderCheckJson, OrderCheckJson, OrderCheckRequest } from './order-check.dto.js';
import { type OrderCheck, OrderChecks } from './order-checks.service.js';

/** Looks at one order at a time. */
@ApiTags('data quality')
@Controller('data-quality')
export class OrderCheckController {
  constructor(private readonly checks: OrderChecks) {}

  /** Checks an order. @throws InvalidInput @throws NotFound @throws NotAnOrder @throws DatabaseUnavailable */
  @Post('check')
  @RequireScope('data-quality:check')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Check one order: by the rules, and by a language model where one is configured',
    description:
      'An order that is given is judged as if it were sent now; one of the ledger is told as it was judged. The rules prevail, ' +
      'and where the model says something else it is listed. Nothing is changed: `apply` is the call that would make the ' +
      'proposed fix. Without a model, or without its answer, `model` is null and `model_reason` says why. Personal data ' +
      'are sent to it only with LLM_SEND_PERSONAL_DATA.',
  })
  @ApiBody({
    type: OrderCheckRequest,
    examples: {
      position: { summary: 'An entry of the ledger', value: { position: 7 } },
      order_id: { summary: 'The order that counts under an id, else the newest', value: { order_id: 'ORD-1001' } },
      order: {
        summary: 'An order that may never be sent',
        value: {
          order: {
            order_id: 'ORD-1001',
            user_id: 'U042',
            order_timestamp: '2026-01-31T12:00:00Z',
            order_value: 20,
            items: [{ product_id: 'P001', quantity: 2, price_per_unit: 12.99 }],
            shipping_address: '742 Evergreen Terrace, Shelbyville, India',
          },
        },
      },
    },
  })
  @ApiOkResponse({ type: OrderCheckJson })
  @ApiInvalidInput('body: must have exactly one of order, order_id and position')
  @ApiProblem(404, { not_found: 'The ledger has no position 7.' })
  @ApiProblem(409, { not_an_order: 'Position 7 is a refund of position 3, not an order.' })
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async check(@Body() request: OrderCheckRequest): Promise<OrderCheckJson> {
    return orderCheckJson(await this.checked(request));
  }

  private checked({ order, order_id, position }: OrderCheckRequest): Promise<OrderCheck> {
    if ([order, order_id, position].filter((given) => given !== undefined).length !== 1) {
      throw new InvalidInput([{ field: 'body', message: 'must have exactly one of order, order_id and position' }]);
    }
    if (order) return this.checks.ofOrder(order);
    if (position !== undefined) return this.checks.ofPosition(position);
    const id = cleanId(order_id!);
    if (id !== null) return this.checks.ofOrderId(id);
    throw new InvalidInput([{ field: 'order_id', message: 'must be printable ASCII of at most 128 characters' }]);
  }
}
