import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Transform, Type } from 'class-transformer';
import {
  ArrayMaxSize,
  ArrayMinSize,
  IsArray,
  IsIn,
  IsInt,
  IsObject,
  IsOptional,
  IsString,
  Length,
  Matches,
  Max,
  Min,
  ValidateBy,
  ValidateIf,
  ValidateNested,
} from 'class-validator';
import { QueryCursor, QueryDay, QueryInteger } from '../../platform/http/validation.js';
import { accountName, type Caller } from '../../shared/access.js';
import { cleanId } from '../../domain/ids.js';
import { isoOf } from '../../shared/iso-time.js';
import { cents, decimalOf } from '../../domain/money.js';
import { OptionalSku, Sku } from '../inventory/catalogue.dto.js';
import { isOrderId } from './order-id.rules.js';
import { isCancellable, TRANSITIONS, ORDER_STATUSES, type OrderStatus } from '../workflow/order-states.rules.js';
import { MAX_QUANTITY, type Order, type OrderedLine, type TimelineEntry } from './orders.service.js';

const DEFAULT_LIMIT = 20;
const MAX_ORDERS = 500;
const MAX_ITEMS = 500;
/** Who is no person. */
const OPEN_ACTORS = ['workflow', 'payment-provider'];
/** Text in one line, in any script, emoji and direction marks included. */
const ONE_LINE = /^[^\p{Cc}\p{Cs}\p{Cn}\p{Zl}\p{Zp}]+$/u;
const EXAMPLE_ID = 'ORD-5F3C6F0E2A4F7B1C';

/** Upper-cased and trimmed, as order events' ids are. */
const upper = ({ value }: { value: unknown }): unknown =>
  typeof value === 'string' ? value.trim().toUpperCase() : value;

/** Beyond ASCII some letters become others in upper case, and more of them. */
function isAscii(value: unknown): boolean {
  return typeof value === 'string' && /^[\x20-\x7e]*$/.test(value.trim());
}

function Text(most: number, description: string, example: string): PropertyDecorator {
  return (target, property) => {
    ApiProperty({ maxLength: most, description, example })(target, property);
    Matches(ONE_LINE, { message: 'must be text in one line' })(target, property);
    Length(1, most, { message: `must have 1 to ${most} characters` })(target, property);
    IsString({ message: 'must be text' })(target, property);
    Transform(({ value }: { value: unknown }) => (typeof value === 'string' ? value.trim() : value))(target, property);
  };
}

/** What is wanted of one product. */
export class OrderItem {
  @Sku()
  sku!: string;

  @ApiProperty({ type: 'integer', minimum: 1, maximum: MAX_QUANTITY, example: 1 })
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(MAX_QUANTITY, { message: `must be at most ${MAX_QUANTITY}` })
  quantity!: number;
}

/** Body of `POST /api/v1/orders`. */
export class OrderRequest {
  @ApiProperty({ description: 'The currency of this shop: CURRENCY', example: 'USD' })
  @Matches(/^[A-Z]{3}$/, { message: 'must be the code of a currency, such as USD' })
  @Transform(upper)
  currency!: string;

  @ApiProperty({ type: [OrderItem], description: `1 to ${MAX_ITEMS}; what comes several times is added up` })
  @IsArray({ message: 'must be a list' })
  @ArrayMinSize(1, { message: 'must have at least 1 item' })
  @ArrayMaxSize(MAX_ITEMS, { message: `must have at most ${MAX_ITEMS} items` })
  @IsObject({ each: true, message: 'must be a list of objects' })
  @ValidateNested({ each: true, message: 'must be an object' })
  @Type(() => OrderItem)
  items!: OrderItem[];

  @Text(500, 'Where it is to be sent', '1 Main Street, Springfield')
  shipping_address!: string;

  @ApiProperty({
    description:
      'Upper-cased. The simulated provider declines a share of PAYMENT_FAILURE_RATE, and behaves as it is told by ' +
      '`TEST-OK`, `TEST-DECLINE`, `TEST-TIMEOUT-BEFORE`, `TEST-TIMEOUT-AFTER`, `TEST-LATE-WEBHOOK`, `TEST-UNAVAILABLE`, `TEST-LOST`, ' +
      '`TEST-REFUND-FLAKY`, `TEST-REFUND-FAILS`',
    maxLength: 64,
    example: 'CARD',
  })
  @Matches(/^[\x20-\x7e]{1,64}$/, { message: 'must be 1 to 64 printable characters' })
  @Transform(({ value }: { value: unknown }) => (isAscii(value) ? upper({ value }) : value))
  payment_method!: string;

  @ApiPropertyOptional({ description: 'Whose order it is; only with the scope `orders:manage-any`', example: 'U042' })
  @ValidateBy({
    name: 'userId',
    validator: {
      validate: (given) => typeof given === 'string' && cleanId(given)?.startsWith('U') === true,
      defaultMessage: () => 'must start with U and be at most 128 printable characters',
    },
  })
  @ValidateIf((_, value) => value !== undefined)
  @Transform(upper)
  user_id?: string;
}

/** Path of one order. */
export class OrderPath {
  @ApiProperty({ example: EXAMPLE_ID })
  @ValidateBy({
    name: 'orderId',
    validator: {
      validate: (given) => typeof given === 'string' && isOrderId(given),
      defaultMessage: () => 'must be ORD- and 16 letters or digits',
    },
  })
  @Transform(upper)
  order_id!: string;
}

/** Which orders are wanted. */
export class OrdersQuery {
  @ApiProperty({ required: false, enum: ORDER_STATUSES })
  @IsOptional()
  @IsIn(ORDER_STATUSES, { message: `must be one of ${ORDER_STATUSES.join(', ')}` })
  status?: OrderStatus;

  @QueryDay({ description: 'First day on which they were placed, inclusive', example: '2026-01-01' })
  start?: string;

  @QueryDay({ description: 'Last day on which they were placed, inclusive', example: '2026-01-31' })
  end?: string;

  @OptionalSku()
  sku?: string;

  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_ORDERS, { default: DEFAULT_LIMIT })
  limit = DEFAULT_LIMIT;
}

/** Which part of a timeline is wanted. */
export class TimelineQuery {
  @QueryCursor()
  cursor?: string;

  @QueryInteger(1, MAX_ORDERS, { default: 100 })
  limit = 100;
}

/** Where to go on from an order. */
export class OrderLinks {
  @ApiProperty({ example: `/api/v1/orders/${EXAMPLE_ID}` })
  self!: string;

  @ApiProperty({ example: `/api/v1/orders/${EXAMPLE_ID}/timeline` })
  timeline!: string;

  @ApiProperty({ example: `/api/v1/orders/${EXAMPLE_ID}/cancel` })
  cancel!: string;
}

/** What a taken order is answered with. */
export class OrderTaken {
  @ApiProperty({ example: EXAMPLE_ID })
  order_id!: string;

  @ApiProperty({ enum: ['accepted'], example: 'accepted' })
  status!: 'accepted';

  @ApiProperty({ enum: ORDER_STATUSES, example: 'pending' })
  order_status!: OrderStatus;

  @ApiProperty({ example: 'The order was taken. Look at its links for what becomes of it.' })
  message!: string;

  @ApiProperty({ type: OrderLinks })
  links!: OrderLinks;
}

/** An order without its lines. */
export class OrderJson {
  @ApiProperty({ example: EXAMPLE_ID })
  order_id!: string;

  @ApiProperty({ enum: ORDER_STATUSES, example: 'completed' })
  order_status!: OrderStatus;

  @ApiProperty({ example: 'U042' })
  user_id!: string;

  @ApiProperty({ example: 'USD' })
  currency!: string;

  @ApiProperty({ example: 12.99 })
  total!: number;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  placed_at!: string;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:04.000Z' })
  changed_at!: string;
}

/** A line of an order, at the price of when it was placed. */
export class OrderLineJson {
  @ApiProperty({ example: 'A123' })
  sku!: string;

  @ApiProperty({ example: 'Headphones' })
  name!: string;

  @ApiProperty({ type: 'integer', example: 1 })
  quantity!: number;

  @ApiProperty({ example: 12.99 })
  price!: number;

  @ApiProperty({ example: 12.99 })
  total!: number;
}

/** An order with everything about it but its timeline. */
export class OrderDetailJson extends OrderJson {
  @ApiProperty({ type: [OrderLineJson] })
  items!: OrderLineJson[];

  @ApiProperty({ example: '1 Main Street, Springfield' })
  shipping_address!: string;

  @ApiProperty({ example: 'CARD' })
  payment_method!: string;

  @ApiProperty({ enum: ORDER_STATUSES, isArray: true, description: 'What it can become next', example: [] })
  allowed_next!: OrderStatus[];

  @ApiProperty({ description: 'Whether it can be cancelled now', example: false })
  cancellable!: boolean;

  @ApiProperty({ type: String, nullable: true, description: 'Once it is shipped', example: null })
  tracking_number!: string | null;

  @ApiProperty({ type: OrderLinks })
  links!: OrderLinks;
}

/** A page of orders, newest first. */
export class OrderPage {
  @ApiProperty({ type: [OrderJson] })
  items!: OrderJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** Something that happened to an order. */
export class TimelineEntryJson {
  @ApiProperty({ type: 'integer', description: 'From 1, without gaps', example: 2 })
  sequence!: number;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  at!: string;

  @ApiProperty({ example: 'stock.missing' })
  event!: string;

  @ApiProperty({ enum: ORDER_STATUSES, description: 'What the order was then', example: 'failed_no_stock' })
  order_status!: OrderStatus;

  @ApiProperty({ description: 'Who it was: an account, the workflow, the payment provider', example: 'workflow' })
  actor!: string;

  @ApiProperty({
    type: Object,
    nullable: true,
    description: 'Of what the order lacks: what was asked for of each line, and what there was',
    example: { lines: [{ sku: 'B456', requested: 1, available: 0 }] },
  })
  detail!: Record<string, unknown> | null;
}

/** A page of a timeline, oldest first. */
export class TimelinePage {
  @ApiProperty({ type: [TimelineEntryJson] })
  items!: TimelineEntryJson[];

  @ApiProperty({ type: String, nullable: true, description: 'For the page after; null on the last', example: null })
  next_cursor!: string | null;
}

/** What a taken order is answered with. */
export function orderTaken(orderId: string): OrderTaken {
  return {
    order_id: orderId,
    status: 'accepted',
    order_status: 'pending',
    message: 'The order was taken. Look at its links for what becomes of it.',
    links: linksOf(orderId),
  };
}

/** An order in the form of lists. */
export function orderJson({ id, status, userId, currency, total, placedAt, changedAt }: Order): OrderJson {
  return {
    order_id: id,
    order_status: status,
    user_id: userId,
    currency,
    total: decimalOf(cents(total)),
    placed_at: isoOf(placedAt),
    changed_at: isoOf(changedAt),
  };
}

/** An order with everything about it. */
export function orderDetailJson(
  order: Order & { lines: OrderedLine[] },
  trackingNumber: string | null,
): OrderDetailJson {
  return {
    ...orderJson(order),
    items: order.lines.map(({ sku, name, quantity, price }) => ({
      sku,
      name,
      quantity,
      price: decimalOf(cents(price)),
      total: decimalOf(cents(price * quantity)),
    })),
    shipping_address: order.shippingAddress,
    payment_method: order.paymentMethod,
    allowed_next: [...TRANSITIONS[order.status]],
    cancellable: isCancellable(order.status),
    tracking_number: trackingNumber,
    links: linksOf(order.id),
  };
}

/** An entry of a timeline in the form of the API. Which operator or account did something is not everybody's to know. */
export function timelineEntryJson(
  { sequence, at, event, status, actor, detail }: TimelineEntry,
  { account, scopes }: Caller,
): TimelineEntryJson {
  const isOwn = account !== null && actor === accountName(account.id);
  const isKnown = isOwn || scopes.has('orders:manage-any') || OPEN_ACTORS.includes(actor);
  return { sequence, at: isoOf(at), event, order_status: status, actor: isKnown ? actor : 'operator', detail };
}

function linksOf(orderId: string): OrderLinks {
  const self = `/api/v1/orders/${orderId}`;
  return { self, timeline: `${self}/timeline`, cancel: `${self}/cancel` };
}
