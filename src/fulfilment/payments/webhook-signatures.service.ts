import { Inject, Injectable } from '@nestjs/common';
import { randomBytes } from 'node:crypto';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';
import { CONFIG, type Config } from '../../shared/config.js';
import { ClientError } from '../../shared/errors.js';

const ID_HEADER = 'webhook-id';
const TIMESTAMP_HEADER = 'webhook-timestamp';
const SIGNATURE_HEADER = 'webhook-signature';

const SECRET_BYTES = 32;
const ID = /^[\x21-\x7e]{1,128}$/;

/** Headers of a request, by their names in lower case. */
type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** The event is not signed by the payment provider, or was so too long ago. */
export class InvalidWebhookSignature extends ClientError {
  readonly code = 'invalid_webhook_signature';
  readonly kind = 'unauthenticated';
}

/** Whether a request says that it is signed, so that its body is needed as it came. */
export function saysItIsSigned(headers: Headers): boolean {
  return headers[SIGNATURE_HEADER] !== undefined;
}

/**
 * Signs and checks webhooks as https://www.standardwebhooks.com lays down (HMAC-SHA-256; 5 minutes of tolerance). Where no
 * secret is configured, each process makes its own.
 */
@Injectable()
export class WebhookSignatures {
  private readonly webhook: Webhook;

  constructor(@Inject(CONFIG) { webhookSecret }: Config) {
    this.webhook = new Webhook(webhookSecret ?? randomBytes(SECRET_BYTES).toString('base64'));
  }

  /** The headers that a body goes out with. @param id the same in every attempt to deliver it @param at ms UTC */
  headersFor(body: string, id: string, at: number): Record<string, string> {
    return {
      [ID_HEADER]: id,
      [TIMESTAMP_HEADER]: String(Math.floor(at / 1000)),
      [SIGNATURE_HEADER]: this.webhook.sign(id, new Date(at), body),
    };
  }

  /** @param body as it came; absent where {@link saysItIsSigned} is false @throws InvalidWebhookSignature */
  assertSigned(headers: Headers, body: Buffer | undefined): void {
    const id = textOf(headers[ID_HEADER]);
    if (!body || !ID.test(id)) {
      throw new InvalidWebhookSignature(
        `A signed event is needed, with its ${ID_HEADER}, ${TIMESTAMP_HEADER} and ${SIGNATURE_HEADER}.`,
      );
    }
    const signed = {
      [ID_HEADER]: id,
      [TIMESTAMP_HEADER]: textOf(headers[TIMESTAMP_HEADER]),
      [SIGNATURE_HEADER]: textOf(headers[SIGNATURE_HEADER]),
    };
    try {
      this.webhook.verify(body, signed, { jsonParse: false });
    } catch (error) {
      if (!(error instanceof WebhookVerificationError)) throw error;
      throw new InvalidWebhookSignature(`${error.message}.`);
    }
  }
}

function textOf(header: string | string[] | undefined): string {
  return typeof header === 'string' ? header : '';
}
