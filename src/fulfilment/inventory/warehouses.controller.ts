import { Body, Controller, Get, Param, Put } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentActor, ForAnyCaller, RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import type { Actor } from '../../shared/access.js';
import { WarehouseJson, WarehousePath, WarehouseRequest } from './warehouses.dto.js';
import { Warehouses } from './warehouses.service.js';

/** The places that products lie at. */
@ApiTags('inventory')
@ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
@Controller('api/v1/warehouses')
export class WarehousesController {
  constructor(private readonly warehouses: Warehouses) {}

  /** All of them, by code. @throws DatabaseUnavailable */
  @Get()
  @ForAnyCaller()
  @ApiOperation({ summary: 'All warehouses, by code' })
  @ApiOkResponse({ type: [WarehouseJson] })
  all(): Promise<WarehouseJson[]> {
    return this.warehouses.all();
  }

  /** A new one, or another name. @throws InvalidInput @throws DatabaseUnavailable */
  @Put(':code')
  @RequireScope('catalogue:manage-any')
  @ApiOperation({ summary: 'Make a warehouse, or call it otherwise' })
  @ApiOkResponse({ type: WarehouseJson })
  @ApiInvalidInput('name: must have 1 to 200 characters')
  async put(
    @Param() { code }: WarehousePath,
    @Body() { name }: WarehouseRequest,
    @CurrentActor() actor: Actor,
  ): Promise<WarehouseJson> {
    await this.warehouses.put({ code, name }, actor);
    return { code, name };
  }
}
