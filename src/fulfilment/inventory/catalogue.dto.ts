import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Transform, Type } from 'class-transformer';
import {
  ArrayMaxSize,
  ArrayUnique,
  IsArray,
  IsIn,
  IsInt,
  IsObject,
  IsOptional,
  Length,
  Matches,
  Max,
  Min,
  NotEquals,
  ValidateIf,
  ValidateNested,
} from 'class-validator';
import { BodyMoney, QueryCursor, QueryInteger } from '../../platform/http/validation.js';
import { isoOf } from '../../shared/iso-time.js';
import { cents, decimalOf } from '../../domain/money.js';
import type { Movement, Product, StockedPlace } from './catalogue.service.js';

const DEFAULT_LIMIT = 50;
const MAX_PRODUCTS = 500;
const MAX_QUANTITY = 1_000_000;
const MAX_PRICE = 1_000_000_000;
const MAX_PLACES = 50;
const DEFAULT_LOW_STOCK = 5;
const CAUSES = ['received', 'corrected', 'shipped'];

/** Trims and upper-cases, as order events' ids are. */
function Upper(): PropertyDecorator {
  return Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.trim().toUpperCase() : value));
}

/** A SKU. */
export function Sku(): PropertyDecorator {
  return (target, property) => {
    ApiProperty({ example: 'A123', description: 'Upper-cased' })(target, property);
    Upper()(target, property);
    Matches(/^[A-Z0-9][A-Z0-9._-]{0,63}$/, { message: 'must be 1 to 64 letters, digits, ., _ or -' })(target, property);
  };
}

/** A query parameter that is a SKU. */
export function OptionalSku(): PropertyDecorator {
  return (target, property) => {
    Sku()(target, property);
    ApiProperty({ required: false, example: 'A123' })(target, property);
    IsOptional()(target, property);
  };
}

/** The code of a warehouse. */
export function WarehouseCode(): PropertyDecorator {
  return (target, property) => {
    ApiProperty({ example: 'EAST' })(target, property);
    Upper()(target, property);
    Matches(/^[A-Z0-9-]{1,32}$/, { message: 'must be the code of a warehouse' })(target, property);
  };
}

/** A price. */
function Price(api: typeof ApiProperty): PropertyDecorator {
  return (target, property) => {
    api({ description: 'More than 0, with at most two places', example: 12.99 })(target, property);
    BodyMoney(MAX_PRICE)(target, property);
  };
}

function LowStock(): PropertyDecorator {
  return (target, property) => {
    ApiPropertyOptional({
      type: 'integer',
      description: 'The product is low when no more than this can be sold',
      example: DEFAULT_LOW_STOCK,
    })(target, property);
    Max(MAX_QUANTITY, { message: `must be at most ${MAX_QUANTITY}` })(target, property);
    Min(0, { message: 'must be at least 0' })(target, property);
    IsInt({ message: 'must be a whole number' })(target, property);
  };
}

function Name(api: typeof ApiProperty): PropertyDecorator {
  return (target, property) => {
    api({ maxLength: 200, example: 'Headphones' })(target, property);
    Matches(/^\P{C}+$/u, { message: 'must be text in one line' })(target, property);
    Length(1, 200, { message: 'must have 1 to 200 characters' })(target, property);
  };
}

/** Path of one product. */
export class SkuPath {
  @Sku()
  sku!: string;
}

/** Which products are wanted. */
export class InventoryQuery {
  @ApiProperty({ required: false, enum: ['true', 'false'], description: 'Only those that are low, or are not' })
  @IsOptional()
  @IsIn(['true', 'false'], { message: 'must be true or false' })
  low_stock?: 'true' | 'false';

  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_PRODUCTS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** Which page of a product's movements is wanted. */
export class MovementsQuery {
  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_PRODUCTS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** How much of a new product is where. */
export class InitialStock {
  @WarehouseCode()
  warehouse!: string;

  @ApiProperty({ type: 'integer', minimum: 1, maximum: MAX_QUANTITY, example: 100 })
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(MAX_QUANTITY, { message: `must be at most ${MAX_QUANTITY}` })
  quantity!: number;
}

/** Body of `POST /api/v1/inventory`. */
export class ProductRequest {
  @Sku()
  sku!: string;

  @Name(ApiProperty)
  name!: string;

  @Price(ApiProperty)
  price!: number;

  @LowStock()
  low_stock_at = DEFAULT_LOW_STOCK;

  @ApiPropertyOptional({ type: [InitialStock], description: 'What is there at once, each warehouse once' })
  @IsArray({ message: 'must be a list' })
  @ArrayMaxSize(MAX_PLACES, { message: `must have at most ${MAX_PLACES} warehouses` })
  @ArrayUnique(({ warehouse }: InitialStock) => warehouse, { message: 'must name each warehouse once' })
  // A list among them would pass as a list of the DTO.
  @IsObject({ each: true, message: 'must be a list of objects' })
  @ValidateNested({ each: true, message: 'must be an object' })
  @Type(() => InitialStock)
  stock: InitialStock[] = [];
}

/** What is left out stays as it is; null is no value. */
const isGiven = (_: object, value: unknown): boolean => value !== undefined;

/** Body of `PATCH /api/v1/inventory/{sku}`. */
export class ProductChange {
  @ValidateIf(isGiven)
  @Name(ApiPropertyOptional)
  name?: string;

  @ValidateIf(isGiven)
  @Price(ApiPropertyOptional)
  price?: number;

  @ValidateIf(isGiven)
  @LowStock()
  low_stock_at?: number;
}

/** Body of `POST /api/v1/inventory/{sku}/restock`. */
export class RestockRequest {
  @WarehouseCode()
  warehouse!: string;

  @ApiProperty({
    type: 'integer',
    minimum: -MAX_QUANTITY,
    maximum: MAX_QUANTITY,
    description: 'Negative to take away what is broken or was counted wrong',
    example: 20,
  })
  @IsInt({ message: 'must be a whole number' })
  @Min(-MAX_QUANTITY, { message: `must be at least ${-MAX_QUANTITY}` })
  @Max(MAX_QUANTITY, { message: `must be at most ${MAX_QUANTITY}` })
  @NotEquals(0, { message: 'must not be 0' })
  quantity!: number;
}

/** A product, and how much of it there is at all places together. */
export class StockJson {
  @ApiProperty({ example: 'A123' })
  sku!: string;

  @ApiProperty({ example: 'Headphones' })
  name!: string;

  @ApiProperty({ example: 12.99 })
  price!: number;

  @ApiProperty({ type: 'integer', example: 100 })
  on_hand!: number;

  @ApiProperty({ type: 'integer', description: 'What of it is promised to orders', example: 1 })
  reserved!: number;

  @ApiProperty({ type: 'integer', description: 'What can be sold', example: 99 })
  available!: number;

  @ApiProperty({ description: 'Whether no more than `low_stock_at` can be sold', example: false })
  low_stock!: boolean;

  @ApiProperty({ type: 'integer', example: DEFAULT_LOW_STOCK })
  low_stock_at!: number;
}

/** How much of a product is at one place. */
export class PlaceJson {
  @ApiProperty({ example: 'EAST' })
  warehouse!: string;

  @ApiProperty({ type: 'integer', example: 60 })
  on_hand!: number;

  @ApiProperty({ type: 'integer', example: 1 })
  reserved!: number;

  @ApiProperty({ type: 'integer', example: 59 })
  available!: number;
}

/** A product, and where it is. */
export class StockOfProductJson extends StockJson {
  @ApiProperty({ type: [PlaceJson] })
  warehouses!: PlaceJson[];
}

/** A page of products, by SKU. */
export class InventoryPage {
  @ApiProperty({ type: [StockJson] })
  items!: StockJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** Why there is more or less of a product than before. */
export class MovementJson {
  @ApiProperty({ type: 'integer', example: 7 })
  id!: number;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  at!: string;

  @ApiProperty({ example: 'EAST' })
  warehouse!: string;

  @ApiProperty({ type: 'integer', example: -1 })
  quantity!: number;

  @ApiProperty({ enum: CAUSES, example: 'shipped' })
  cause!: Movement['cause'];

  @ApiProperty({ type: String, nullable: true, example: 'ORD-5F3C6F0E2A4F7B1C' })
  order_id!: string | null;
}

/** A page of movements, newest first. */
export class MovementPage {
  @ApiProperty({ type: [MovementJson] })
  items!: MovementJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** A product in the form of the API. */
export function stockJson({ sku, name, price, onHand, reserved, lowStockAt }: Product): StockJson {
  const available = onHand - reserved;
  return {
    sku,
    name,
    price: decimalOf(cents(price)),
    on_hand: onHand,
    reserved,
    available,
    low_stock: available <= lowStockAt,
    low_stock_at: lowStockAt,
  };
}

/** A product and its places in the form of the API. */
export function stockOfProductJson(product: Product & { places: StockedPlace[] }): StockOfProductJson {
  const warehouses = product.places.map(({ warehouse, onHand, reserved }) => ({
    warehouse,
    on_hand: onHand,
    reserved,
    available: onHand - reserved,
  }));
  return { ...stockJson(product), warehouses };
}

/** A movement in the form of the API. */
export function movementJson({ id, at, warehouse, quantity, cause, orderId }: Movement): MovementJson {
  return { id, at: isoOf(at), warehouse, quantity, cause, order_id: orderId };
}
