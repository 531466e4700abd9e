import { Controller, Get, Param } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentCaller, RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import type { Caller } from '../../shared/access.js';
import { ShipmentJson, shipmentJson, TrackingPath } from './shipments.dto.js';
import { Shipments } from './shipments.service.js';

/** What is on its way. */
@ApiTags('shipments')
@ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
@Controller('api/v1/shipments')
export class ShipmentsController {
  constructor(private readonly shipments: Shipments) {}

  /** One shipment. @throws InvalidInput @throws NotFound @throws DatabaseUnavailable */
  @Get(':tracking_number')
  @RequireScope('orders:own')
  @ApiOperation({ summary: 'Where a shipment is, and what happened to it' })
  @ApiOkResponse({ type: ShipmentJson })
  @ApiInvalidInput('tracking_number: must be a tracking number, such as SP473124829XX')
  @ApiProblem(404, { not_found: 'There is no shipment SP473124829XX, or it is not yours.' })
  async one(@Param() { tracking_number }: TrackingPath, @CurrentCaller() caller: Caller): Promise<ShipmentJson> {
    return shipmentJson(await this.shipments.one(tracking_number, caller));
  }
}
