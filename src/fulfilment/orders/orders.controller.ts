import { Body, Controller, Get, Headers, HttpCode, Param, Post, Query, Req, Res } from '@nestjs/common';
import { ApiAcceptedResponse, ApiHeader, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { Request, Response } from 'express';
import { CurrentActor, CurrentCaller, RequireScope, NotAllowed } from '../../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { decodeCursor, encodeCursor } from '../../platform/http/cursor.js';
import { accountName, type Actor, type Caller } from '../../shared/access.js';
import { Cancellation, TooLateToCancel } from '../workflow/cancellation.service.js';
import {
  IdempotencyKeyMissing,
  idempotencyKeyIn,
  IdempotencyKeyReused,
  MAX_KEY_CHARACTERS,
  RequestInFlight,
} from './idempotency.service.js';
import {
  OrderDetailJson,
  orderDetailJson,
  orderJson,
  OrderPage,
  OrderPath,
  OrderRequest,
  OrdersQuery,
  OrderTaken,
  orderTaken,
  timelineEntryJson,
  TimelinePage,
  TimelineQuery,
} from './orders.dto.js';
import { Orders } from './orders.service.js';
import { Shipments } from '../shipments/shipments.service.js';

/** Beyond any number of an order, and as ms UTC beyond any time that one is placed at. */
const MAX_IN_CURSOR = 1e14;
const NO_ORDER = { not_found: 'There is no order ORD-5F3C6F0E2A4F7B1C, or it is not yours.' };

/** Orders: taken, looked at, cancelled. */
@ApiTags('orders')
@ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
@Controller('api/v1/orders')
export class OrdersController {
  constructor(
    private readonly orders: Orders,
    private readonly cancellation: Cancellation,
    private readonly shipments: Shipments,
  ) {}

  /**
   * Takes an order.
   * @throws InvalidInput @throws NotAllowed @throws IdempotencyKeyMissing @throws IdempotencyKeyReused
   * @throws RequestInFlight @throws DatabaseUnavailable
   */
  @Post()
  @HttpCode(202)
  @RequireScope('orders:own')
  @ApiOperation({
    summary: 'Place an order',
    description:
      'Prices are the catalogue’s. Stock, payment and shipment follow by themselves. Sent again with the same ' +
      'Idempotency-Key and body it is answered as at first, with `Idempotent-Replayed: true`, for IDEMPOTENCY_TTL_SECONDS.',
  })
  @ApiHeader({
    name: 'Idempotency-Key',
    required: true,
    description: `1 to ${MAX_KEY_CHARACTERS} printable characters, yours alone`,
    schema: { type: 'string', maxLength: MAX_KEY_CHARACTERS, example: '7d3c1f0a' },
  })
  @ApiAcceptedResponse({
    type: OrderTaken,
    headers: {
      Location: { description: 'The order', schema: { type: 'string' } },
      'Idempotent-Replayed': { description: '`true` where it is the first answer again', schema: { type: 'string' } },
    },
  })
  @ApiProblem(400, {
    invalid_input: 'items.0.sku: is not in the catalogue: X1',
    idempotency_key_missing: new IdempotencyKeyMissing().message,
  })
  @ApiProblem(409, { request_in_flight: new RequestInFlight().message })
  @ApiProblem(422, { idempotency_key_reused: new IdempotencyKeyReused().message })
  async place(
    @Body() body: OrderRequest,
    @Headers('idempotency-key') header: string | undefined,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
    @CurrentCaller() caller: Caller,
    @CurrentActor() actor: Actor,
  ): Promise<OrderTaken> {
    const { currency, items, shipping_address, payment_method, user_id } = body;
    const key = idempotencyKeyIn(header);
    if (user_id !== undefined && !caller.scopes.has('orders:manage-any')) throw NotAllowed.without('orders:manage-any');
    const order = {
      currency,
      items,
      shippingAddress: shipping_address,
      paymentMethod: payment_method,
      userId: user_id,
    };
    const repeatable = {
      caller: caller.account ? accountName(caller.account.id) : caller.name,
      route: 'POST /api/v1/orders',
      key,
      body: request.body as unknown,
    };
    const placed = await this.orders.place(order, repeatable, caller, actor, (id) => ({
      status: 202,
      answer: orderTaken(id),
    }));
    response.status(placed.status);
    response.setHeader('Location', placed.answer.links.self);
    if (placed.replayed) response.setHeader('Idempotent-Replayed', 'true');
    return placed.answer;
  }

  /** The caller's orders, or with the scope for it everybody's. @throws InvalidInput @throws DatabaseUnavailable */
  @Get()
  @RequireScope('orders:own')
  @ApiOperation({
    summary: 'Your orders, newest first',
    description: 'With the scope `orders:manage-any` all there are. Days are cut in BUSINESS_TIME_ZONE.',
  })
  @ApiOkResponse({ type: OrderPage })
  @ApiInvalidInput('status: must be one of pending, reserved, paid, …')
  async list(
    @Query() { status, start, end, sku, cursor, limit }: OrdersQuery,
    @CurrentCaller() caller: Caller,
  ): Promise<OrderPage> {
    const filter = {
      status,
      start,
      end,
      sku,
      before: cursor === undefined ? undefined : decodeCursor(cursor, isPlace),
    };
    const found = await this.orders.page(filter, caller, limit + 1);
    const orders = found.slice(0, limit);
    const last = found.length > limit ? orders.at(-1) : undefined;
    return {
      items: orders.map(orderJson),
      next_cursor: last ? encodeCursor({ placedAt: last.placedAt, number: last.number }) : null,
    };
  }

  /** One order. @throws InvalidInput @throws NotFound @throws DatabaseUnavailable */
  @Get(':order_id')
  @RequireScope('orders:own')
  @ApiOperation({ summary: 'One order: its lines, where it is, and what it can become next' })
  @ApiOkResponse({ type: OrderDetailJson })
  @ApiInvalidInput('order_id: must be ORD- and 16 letters or digits')
  @ApiProblem(404, NO_ORDER)
  async one(@Param() { order_id }: OrderPath, @CurrentCaller() caller: Caller): Promise<OrderDetailJson> {
    const order = await this.orders.one(order_id, caller);
    return orderDetailJson(order, await this.shipments.trackingNumberOf(order_id));
  }

  /** What happened to an order. @throws InvalidInput @throws NotFound @throws DatabaseUnavailable */
  @Get(':order_id/timeline')
  @RequireScope('orders:own')
  @ApiOperation({ summary: 'Everything that happened to an order, in order' })
  @ApiOkResponse({ type: TimelinePage })
  @ApiInvalidInput('cursor: must be a next_cursor of this list')
  @ApiProblem(404, NO_ORDER)
  async timeline(
    @Param() { order_id }: OrderPath,
    @Query() { cursor, limit }: TimelineQuery,
    @CurrentCaller() caller: Caller,
  ): Promise<TimelinePage> {
    const after = cursor === undefined ? 0 : decodeCursor(cursor, isAfter).after;
    const found = await this.orders.timeline(order_id, caller, after, limit + 1);
    const entries = found.slice(0, limit);
    const last = found.length > limit ? entries.at(-1) : undefined;
    const shown = entries.map((entry) => timelineEntryJson(entry, caller));
    return { items: shown, next_cursor: last ? encodeCursor({ after: last.sequence }) : null };
  }

  /** Cancels an order. @throws InvalidInput @throws NotFound @throws TooLateToCancel @throws DatabaseUnavailable */
  @Post(':order_id/cancel')
  @HttpCode(200)
  @RequireScope('orders:own')
  @ApiOperation({
    summary: 'Cancel an order that is not shipped',
    description: 'Its stock is free again at once; what was paid goes back. Cancelled twice it stays cancelled.',
  })
  @ApiOkResponse({ type: OrderDetailJson })
  @ApiInvalidInput('order_id: must be ORD- and 16 letters or digits')
  @ApiProblem(404, NO_ORDER)
  @ApiProblem(409, { too_late_to_cancel: new TooLateToCancel('ORD-5F3C6F0E2A4F7B1C', 'shipped').message })
  async cancel(
    @Param() { order_id }: OrderPath,
    @CurrentCaller() caller: Caller,
    @CurrentActor() actor: Actor,
  ): Promise<OrderDetailJson> {
    await this.cancellation.cancel(order_id, caller, actor);
    return this.one({ order_id }, caller);
  }
}

function isPlace(value: Record<string, unknown>): value is { placedAt: number; number: number } {
  return [value.placedAt, value.number].every(
    (part) => Number.isSafeInteger(part) && (part as number) >= 0 && (part as number) <= MAX_IN_CURSOR,
  );
}

function isAfter(value: Record<string, unknown>): value is { after: number } {
  return Number.isSafeInteger(value.after) && Math.abs(value.after as number) <= 2 ** 31 - 1;
}
