import { Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { Interval } from '@nestjs/schedule';
import { sql } from 'drizzle-orm';
import type { Server } from 'node:http';
import { withTimeout } from '../../platform/back-off.js';
import { Database } from '../../platform/database/database.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { isoOf } from '../../shared/iso-time.js';
import { type Cents, decimalOf } from '../../domain/money.js';
import type { ChargeEvent } from './payment-webhook.dto.js';
import { MAX_DELIVERIES } from './simulated-books.repository.js';
import { WebhookSignatures } from './webhook-signatures.service.js';

const PATH = '/api/v1/payments/webhook';
const LOOK_EVERY_MS = 1_000;
const AT_ONCE = 20;
const ANSWER_TIMEOUT_MS = 5_000;
/** When an attempt is taken for dead that nothing more is heard of; longer than an answer may take. */
const LEASE_SECONDS = 10;
const STOP_TIMEOUT_MS = 1_000;

/** A webhook that is to be delivered now. */
interface DueWebhook {
  id: string;
  /** With this one. */
  attempts: number;
  /** ms UTC. */
  at: number;
  key: string;
  orderId: string;
  amount: Cents;
}

/**
 * What the simulated provider does by itself: it captures what it has been processing for long enough, and tells of it by
 * a webhook, over HTTP and signed, until that is taken. Every process looks for what is due, and one sends it, to itself.
 */
@Injectable()
export class SimulatedWebhooks implements OnModuleDestroy {
  private readonly logger = new Logger('SimulatedWebhooks');
  private readonly stopping = new AbortController();
  private underWay: Promise<void> | null = null;

  constructor(
    private readonly database: Database,
    private readonly signatures: WebhookSignatures,
    private readonly host: HttpAdapterHost,
  ) {}

  async onModuleDestroy(): Promise<void> {
    this.stopping.abort();
    await withTimeout(STOP_TIMEOUT_MS, this.underWay ?? Promise.resolve());
  }

  /** Does what is due. One that is asked for while another is under way is that one. */
  @Interval(LOOK_EVERY_MS)
  sweep(): Promise<void> {
    this.underWay ??= this.run().finally(() => (this.underWay = null));
    return this.underWay;
  }

  private async run(): Promise<void> {
    const url = this.ownUrl();
    if (url === null || !this.database.availability.up || this.stopping.signal.aborted) return;
    try {
      await this.capture();
      const due = await this.claim();
      await Promise.all(due.map((webhook) => this.deliver(webhook, url)));
    } catch (error) {
      // A database that is down says so itself.
      if (!(error instanceof UnavailableError)) this.logger.error(`Webhooks can't be sent: ${messageOf(error)}`);
    }
  }

  /** Captures what is due, and notes in the same statement that there is something to tell. */
  private async capture(): Promise<void> {
    await this.database.query(
      sql`with captured as (
            update simulated_charges set state = 'captured' where key in (
              select key from simulated_charges where state = 'processing' and capture_at <= clock_timestamp()
              order by capture_at limit ${AT_ONCE} for update skip locked
            ) returning key
          )
          insert into simulated_webhooks (charge_key) select key from captured`,
    );
  }

  /** Takes webhooks that are due, so that no other process sends them meanwhile. */
  private claim(): Promise<DueWebhook[]> {
    return this.database.query(
      sql`update simulated_webhooks as webhook set
            attempts = webhook.attempts + 1,
            next_attempt_at = clock_timestamp() + make_interval(secs => ${LEASE_SECONDS}::float8)
          from simulated_charges as charge
          where charge.key = webhook.charge_key and webhook.id in (
            select id from simulated_webhooks
            where delivered_at is null and attempts < ${MAX_DELIVERIES} and next_attempt_at <= clock_timestamp()
            order by next_attempt_at limit ${AT_ONCE} for update skip locked
          )
          returning webhook.id::text as id, webhook.attempts, webhook.at,
            charge.key, charge.order_id as "orderId", charge.amount_cents as amount`,
    );
  }

  private async deliver(webhook: DueWebhook, url: string): Promise<void> {
    const { id, attempts } = webhook;
    const refusal = await this.post(webhook, url);
    // Whoever sends it next, after a restart or elsewhere, waits until this attempt is taken for dead.
    if (this.stopping.signal.aborted) return;
    if (refusal === null) {
      await this.database.query(
        sql`update simulated_webhooks set delivered_at = clock_timestamp() where id = ${id}::uuid`,
      );
      return;
    }
    if (attempts >= MAX_DELIVERIES) this.logger.warn(`The webhook ${id} is given up: ${refusal}`);
    await this.database.query(
      sql`update simulated_webhooks
          set next_attempt_at = clock_timestamp() + make_interval(secs => ${2 ** (attempts - 1)}::float8)
          where id = ${id}::uuid`,
    );
  }

  /** @returns why it was not taken; null where it was */
  private async post({ id, at, key, orderId, amount }: DueWebhook, url: string): Promise<string | null> {
    const event: ChargeEvent = {
      type: 'charge.captured',
      timestamp: isoOf(at),
      data: { charge_key: key, order_id: orderId, amount: decimalOf(amount) },
    };
    const body = JSON.stringify(event);
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...this.signatures.headersFor(body, id, Date.now()) },
        body,
        redirect: 'error',
        signal: AbortSignal.any([this.stopping.signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]),
      });
      await response.arrayBuffer(); // so that its connection is free for the next
      return response.ok ? null : `status ${response.status}`;
    } catch (error) {
      return messageOf(error);
    }
  }

  /** Where this process takes webhooks; null while it does not listen. */
  private ownUrl(): string | null {
    const bound = (this.host.httpAdapter.getHttpServer() as Server).address();
    if (bound === null || typeof bound === 'string') return null;
    const { address, family, port } = bound;
    if (address === '0.0.0.0') return `http://127.0.0.1:${port}${PATH}`;
    if (address === '::') return `http://[::1]:${port}${PATH}`;
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}${PATH}`;
  }
}
