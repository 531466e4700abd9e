import { Body, Controller, Header, HttpCode, Post } from '@nestjs/common';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { Actor } from '../../shared/access.js';
import { CurrentActor, RequireScope } from '../http/access.js';
import { ApiInvalidInput, ApiProblem } from '../http/api-problem.js';
import { DemoDataJson, demoDataJson, DemoDataRequest } from './demo-data.dto.js';
import { DemoData } from './demo-data.js';

/** Something to try the service with. */
@ApiTags('demo data')
@Controller('api/v1/system/demo-data')
export class DemoDataController {
  constructor(private readonly demoData: DemoData) {}

  /** Makes what is missing of it. @throws InvalidInput @throws DatabaseUnavailable */
  @Post()
  @HttpCode(200)
  @Header('Cache-Control', 'no-store')
  @RequireScope('demo-data:plant')
  @ApiOperation({
    summary: 'Make a demo catalogue: products, two warehouses, a customer and a vendor',
    description:
      'What is there is left alone: nothing is restocked, and no price is set again. So it may be repeated at any time. ' +
      'Passwords are random, and shown only in the answer that sets them.',
  })
  @ApiBody({
    type: DemoDataRequest,
    required: false,
    examples: {
      default: { summary: 'What is missing', value: {} },
      reset_passwords: { summary: 'And other passwords', value: { reset_passwords: true } },
    },
  })
  @ApiOkResponse({ type: DemoDataJson })
  @ApiInvalidInput('reset_passwords: must be true or false')
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async plant(@Body() { reset_passwords }: DemoDataRequest, @CurrentActor() actor: Actor): Promise<DemoDataJson> {
    return demoDataJson(await this.demoData.plant(actor, reset_passwords));
  }
}
