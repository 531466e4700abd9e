import { type CanActivate, type ExecutionContext, Injectable, type RawBodyRequest } from '@nestjs/common';
import type { Request } from 'express';
import { WebhookSignatures } from './webhook-signatures.service.js';

/** Lets in whatever the payment provider signed. A guard, so that nothing of an unsigned body is looked at. */
@Injectable()
export class WebhookSignatureGuard implements CanActivate {
  constructor(private readonly signatures: WebhookSignatures) {}

  /** @throws InvalidWebhookSignature */
  canActivate(context: ExecutionContext): true {
    const { headers, rawBody } = context.switchToHttp().getRequest<RawBodyRequest<Request>>();
    this.signatures.assertSigned(headers, rawBody);
    return true;
  }
}
