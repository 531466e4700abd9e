import { Body, Controller, Get, HttpCode, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { Decimal } from 'decimal.js';
import { CurrentActor, CurrentCaller, ForAnyCaller, RequireScope } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { decodeCursor, encodeCursor, placeBefore } from '../../platform/http/cursor.js';
import type { Actor, Caller } from '../../shared/access.js';
import { centsOf } from '../../domain/money.js';
import {
  InventoryPage,
  InventoryQuery,
  movementJson,
  MovementPage,
  MovementsQuery,
  ProductChange,
  ProductRequest,
  RestockRequest,
  SkuPath,
  stockJson,
  StockOfProductJson,
  stockOfProductJson,
} from './catalogue.dto.js';
import { Catalogue } from './catalogue.service.js';

const NO_PRODUCT = { not_found: 'There is no product A123, or it is not yours.' };

/** What is sold, and how much there is of it. */
@ApiTags('inventory')
@ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
@Controller('api/v1/inventory')
export class InventoryController {
  constructor(private readonly catalogue: Catalogue) {}

  /** Products by SKU. @throws InvalidInput @throws DatabaseUnavailable */
  @Get()
  @ForAnyCaller()
  @ApiOperation({ summary: 'What is sold, and how much of it there is' })
  @ApiOkResponse({ type: InventoryPage })
  @ApiInvalidInput('low_stock: must be true or false')
  async list(@Query() { low_stock, cursor, limit }: InventoryQuery): Promise<InventoryPage> {
    const low = low_stock === undefined ? undefined : low_stock === 'true';
    const after = cursor === undefined ? undefined : decodeCursor(cursor, isPlace).after;
    const found = await this.catalogue.page({ low, after }, limit + 1);
    const products = found.slice(0, limit);
    const last = found.length > limit ? products.at(-1) : undefined;
    return { items: products.map(stockJson), next_cursor: last ? encodeCursor({ after: last.sku }) : null };
  }

  /** One product. @throws InvalidInput @throws NotFound @throws DatabaseUnavailable */
  @Get(':sku')
  @ForAnyCaller()
  @ApiOperation({ summary: 'One product, and how much of it is where' })
  @ApiOkResponse({ type: StockOfProductJson })
  @ApiInvalidInput('sku: must be 1 to 64 letters, digits, ., _ or -')
  @ApiProblem(404, NO_PRODUCT)
  async one(@Param() { sku }: SkuPath): Promise<StockOfProductJson> {
    return stockOfProductJson(await this.catalogue.one(sku));
  }

  /** Why there is as much as there is. @throws InvalidInput @throws NotFound @throws DatabaseUnavailable */
  @Get(':sku/movements')
  @RequireScope('catalogue:manage')
  @ApiOperation({
    summary: "A product's stock movements, newest first",
    description: 'The sum of a place’s movements is what is on hand there.',
  })
  @ApiOkResponse({ type: MovementPage })
  @ApiInvalidInput('cursor: must be a next_cursor of this list')
  @ApiProblem(404, NO_PRODUCT)
  async movements(
    @Param() { sku }: SkuPath,
    @Query() { cursor, limit }: MovementsQuery,
    @CurrentCaller() caller: Caller,
  ): Promise<MovementPage> {
    const found = await this.catalogue.movements(sku, caller, limit + 1, placeBefore(cursor));
    const movements = found.slice(0, limit);
    const last = found.length > limit ? movements.at(-1) : undefined;
    return { items: movements.map(movementJson), next_cursor: last ? encodeCursor({ before: last.id }) : null };
  }

  /** A new product. @throws InvalidInput @throws SkuTaken @throws DatabaseUnavailable */
  @Post()
  @RequireScope('catalogue:manage')
  @ApiOperation({ summary: 'Put a product on sale', description: 'A vendor’s is theirs; an admin’s is nobody’s.' })
  @ApiCreatedResponse({ type: StockOfProductJson })
  @ApiInvalidInput('price: must be an amount from 0.01 to 1000000000 with at most two places')
  @ApiProblem(409, { sku_taken: 'There is a product A123 already. Restock it, or take another SKU.' })
  async add(
    @Body() { sku, name, price, low_stock_at, stock }: ProductRequest,
    @CurrentCaller() caller: Caller,
    @CurrentActor() actor: Actor,
  ): Promise<StockOfProductJson> {
    const product = { sku, name, price: centsOf(new Decimal(price)), lowStockAt: low_stock_at, stock };
    await this.catalogue.add(product, caller, actor);
    return stockOfProductJson(await this.catalogue.one(sku));
  }

  /** Another name, price or limit. @throws InvalidInput @throws NotFound @throws DatabaseUnavailable */
  @Patch(':sku')
  @RequireScope('catalogue:manage')
  @ApiOperation({
    summary: 'Change what a product is called or costs, or when it is low',
    description: 'Orders that were taken before keep the price they were taken at.',
  })
  @ApiOkResponse({ type: StockOfProductJson })
  @ApiInvalidInput('price: must be an amount from 0.01 to 1000000000 with at most two places')
  @ApiProblem(404, NO_PRODUCT)
  async change(
    @Param() { sku }: SkuPath,
    @Body() { name, price, low_stock_at }: ProductChange,
    @CurrentCaller() caller: Caller,
    @CurrentActor() actor: Actor,
  ): Promise<StockOfProductJson> {
    const given = {
      name,
      price: price === undefined ? undefined : centsOf(new Decimal(price)),
      lowStockAt: low_stock_at,
    };
    await this.catalogue.change(sku, given, caller, actor);
    return stockOfProductJson(await this.catalogue.one(sku));
  }

  /** More of it. @throws InvalidInput @throws NotFound @throws NotInStock @throws DatabaseUnavailable */
  @Post(':sku/restock')
  @HttpCode(200)
  @RequireScope('catalogue:manage')
  @ApiOperation({ summary: 'Put more of a product on a shelf, or take some away' })
  @ApiOkResponse({ type: StockOfProductJson })
  @ApiInvalidInput('warehouse: must be one of GET /api/v1/warehouses')
  @ApiProblem(404, NO_PRODUCT)
  @ApiProblem(409, {
    not_in_stock: 'Of A123 in EAST only 7 can be taken away; the rest is promised to orders, or not there.',
  })
  async restock(
    @Param() { sku }: SkuPath,
    @Body() { warehouse, quantity }: RestockRequest,
    @CurrentCaller() caller: Caller,
    @CurrentActor() actor: Actor,
  ): Promise<StockOfProductJson> {
    await this.catalogue.restock(sku, warehouse, quantity, caller, actor);
    return stockOfProductJson(await this.catalogue.one(sku));
  }
}

function isPlace(value: Record<string, unknown>): value is { after: string } {
  return typeof value.after === 'string' && /^[A-Z0-9._-]{1,64}$/.test(value.after);
}
