import { Inject, Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { Database, DatabaseUnavailable } from '../platform/database/database.js';
import { sqlStateOf } from '../platform/database/sql-state.js';
import { CONFIG, type Config } from '../shared/config.js';
import {
  type Charge,
  ChargeKeyTaken,
  type ChargeResult,
  type ChargeState,
  NothingToRefund,
  PaymentGateway,
  PaymentProviderUnavailable,
  PaymentTimeout,
  type Refund,
} from './payment-gateway.js';
import { treatmentOf } from './simulated-provider.rules.js';

const UNIQUE_VIOLATION = '23505';

/** A charge as the provider keeps it. */
type StoredState = 'refused' | 'processing' | 'captured' | 'declined' | 'voided';

const SHOWN_AS: Record<StoredState, ChargeState> = {
  refused: 'none',
  processing: 'processing',
  captured: 'captured',
  declined: 'declined',
  voided: 'declined',
};

/**
 * A payment provider that moves no money. It keeps its books in tables of its own, one statement a request, so it forgets
 * nothing and charges nothing twice whenever this service is killed. What it does with a charge, `treatmentOf` says; a
 * timeout is thrown at once.
 */
@Injectable()
export class SimulatedProvider extends PaymentGateway {
  constructor(
    private readonly database: Database,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    super();
  }

  override async charge(charge: Charge): Promise<ChargeResult> {
    const { key, orderId, amount, currency } = charge;
    const treatment = treatmentOf(charge, this.config.paymentFailureRate);
    const { refusals, ends, reason, capturedAfterSeconds, refundRefusals } = treatment;
    const [known] = await this.ask<{ state: StoredState; reason: string | null; attempts: number }>(
      sql`insert into simulated_charges as known
            (key, order_id, amount_cents, currency, state, reason, attempts, capture_at, refund_refusals)
          values (${key}, ${orderId}, ${amount}, ${currency}, ${refusals > 0 ? 'refused' : ends}, ${reason}, 1,
            clock_timestamp() + make_interval(secs => ${capturedAfterSeconds}::float8), ${refundRefusals})
          on conflict (key) do update set
            attempts = known.attempts + 1,
            state = case when known.state = 'refused' and known.attempts >= ${refusals}::int then ${ends}
              else known.state end
          where known.order_id is null or (known.order_id, known.amount_cents, known.currency)
            = (excluded.order_id, excluded.amount_cents, excluded.currency)
          returning state, reason, attempts`,
    );
    if (!known) throw new ChargeKeyTaken(key);
    switch (known.state) {
      case 'refused':
        throw treatment.refusedBy === 'timeout' ? new PaymentTimeout() : new PaymentProviderUnavailable();
      case 'processing':
        throw new PaymentTimeout();
      case 'captured':
        if (treatment.isAnswerLost && known.attempts === 1) throw new PaymentTimeout();
        return { outcome: 'captured' };
      case 'declined':
      case 'voided':
        return { outcome: 'declined', reason: known.reason ?? 'voided' };
    }
  }

  override async find(key: string): Promise<ChargeState> {
    const [known] = await this.ask<{ state: StoredState }>(sql`select state from simulated_charges where key = ${key}`);
    return known ? SHOWN_AS[known.state] : 'none';
  }

  override async void(key: string): Promise<'voided' | 'captured' | 'declined'> {
    const [known] = await this.ask<{ state: 'voided' | 'captured' | 'declined' }>(
      sql`insert into simulated_charges as known (key, state) values (${key}, 'voided')
          on conflict (key) do update set
            state = case when known.state in ('refused', 'processing') then 'voided' else known.state end
          returning state`,
    );
    return known!.state;
  }

  override async refund(refund: Refund): Promise<void> {
    const { key, chargeKey, amount } = refund;
    const [known] = await this.ask<{ refunded: boolean }>(
      sql`insert into simulated_refunds as known (key, charge_key, amount_cents, refunded_at)
          select ${key}, key, captured_cents, case when refund_refusals < 1 then clock_timestamp() end
          from simulated_charges where key = ${chargeKey} and captured_cents = ${amount}
          on conflict (key) do update set
            attempts = known.attempts + 1,
            refunded_at = coalesce(known.refunded_at, (
              select clock_timestamp() from simulated_charges
              where key = known.charge_key and refund_refusals < known.attempts + 1
            ))
          where known.charge_key = excluded.charge_key
          returning refunded_at is not null as refunded`,
    ).catch((error: unknown) => {
      throw sqlStateOf(error) === UNIQUE_VIOLATION ? new NothingToRefund(refund) : error;
    });
    if (!known) throw new NothingToRefund(refund);
    if (!known.refunded) throw new PaymentProviderUnavailable();
  }

  /** To whoever asks, the provider's tables being out of reach looks like any provider that does not answer. */
  private async ask<Row>(statement: SQL): Promise<Row[]> {
    try {
      return await this.database.query<Row>(statement);
    } catch (error) {
      throw error instanceof DatabaseUnavailable ? new PaymentTimeout({ cause: error }) : error;
    }
  }
}
