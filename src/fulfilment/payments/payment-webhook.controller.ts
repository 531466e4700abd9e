import { Body, Controller, Headers, HttpCode, Post, UseGuards } from '@nestjs/common';
import { ApiHeader, ApiNoContentResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { OpenToAll } from '../../platform/http/access.js';
import { Decimal } from 'decimal.js';
import { ApiInvalidInput, ApiProblem } from '../../platform/http/api-problem.js';
import { centsOf } from '../../domain/money.js';
import type { ChargeResult } from './payment-gateway.js';
import { PaymentNotices } from './payment-notices.js';
import { ChargeEvent } from './payment-webhook.dto.js';
import { WebhookSignatureGuard } from './webhook-signature.guard.js';

/** What the payment provider tells of its own accord. */
@ApiTags('payments')
@Controller('api/v1/payments')
export class PaymentWebhookController {
  constructor(private readonly notices: PaymentNotices) {}

  /** Takes an event. @throws InvalidWebhookSignature @throws InvalidInput @throws DatabaseUnavailable */
  @Post('webhook')
  @OpenToAll()
  @UseGuards(WebhookSignatureGuard)
  @HttpCode(204)
  @ApiOperation({
    summary: 'For the payment provider: what became of a charge',
    description:
      'The signature is what lets it in, as https://www.standardwebhooks.com has it. An event may come more than once, by ' +
      'the same `webhook-id`. One of a charge that nobody knows is taken, too: a provider repeats whatever is not, and ' +
      'that would be of no use.',
  })
  @ApiHeader({ name: 'webhook-id', required: true, example: 'msg_5f3c6f0e' })
  @ApiHeader({ name: 'webhook-timestamp', required: true, description: 'Seconds since 1970', example: '1795132800' })
  @ApiHeader({
    name: 'webhook-signature',
    required: true,
    description: 'One or more, with a space between',
    example: 'v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=',
  })
  @ApiNoContentResponse({ description: 'Taken' })
  @ApiInvalidInput('type: must be charge.captured or charge.declined')
  @ApiProblem(401, { invalid_webhook_signature: 'No matching signature found.' })
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async take(@Headers('webhook-id') webhookId: string, @Body() event: ChargeEvent): Promise<void> {
    const { charge_key: key, order_id: orderId, amount } = event.data;
    await this.notices.told({ webhookId, key, orderId, amount: centsOf(new Decimal(amount)), result: resultOf(event) });
  }
}

function resultOf({ type, data }: ChargeEvent): ChargeResult {
  return type === 'charge.captured'
    ? { outcome: 'captured' }
    : { outcome: 'declined', reason: data.reason ?? 'declined' };
}
