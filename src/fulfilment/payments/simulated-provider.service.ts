import { Inject, Injectable } from '@nestjs/common';
import { sql, type SQL } from 'drizzle-orm';
import { Database, DatabaseUnavailable } from '../../platform/database/database.js';
import { CONFIG, type Config } from '../../shared/config.js';
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
    const answer = sql`state, reason, attempts`;
    // Whoever is refused may come back with another key.
    const refused = sql`(select coalesce(sum(attempts), 0) from simulated_charges where order_id = ${orderId}) < ${refusals}`;
    const begins = refusals > 0 ? sql`case when ${refused} then 'refused' else ${ends} end` : sql`${ends}`;
    const known = await this.put<{ state: StoredState; reason: string | null; attempts: number }>(
      sql`insert into simulated_charges
            (key, order_id, amount_cents, currency, state, reason, attempts, capture_at, refund_refusals)
          values (${key}, ${orderId}, ${amount}, ${currency}, ${begins}, ${reason}, 1,
            clock_timestamp() + make_interval(secs => ${capturedAfterSeconds}::float8), ${refundRefusals})
          on conflict do nothing returning ${answer}`,
      sql`update simulated_charges set
            attempts = attempts + 1,
            state = case when state = 'refused' and attempts >= ${refusals}::int then ${ends} else state end
          where key = ${key}
            and (order_id is null or (order_id, amount_cents, currency) = (${orderId}, ${amount}::bigint, ${currency}))
          returning ${answer}`,
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
    const known = await this.put<{ state: 'voided' | 'captured' | 'declined' }>(
      sql`insert into simulated_charges (key, state) values (${key}, 'voided') on conflict do nothing returning state`,
      sql`update simulated_charges set
            state = case when state in ('refused', 'processing') then 'voided' else state end
          where key = ${key} returning state`,
    );
    return known!.state;
  }

  override async refund(refund: Refund): Promise<void> {
    const { key, chargeKey, amount } = refund;
    const known = await this.put<{ refunded: boolean }>(
      sql`insert into simulated_refunds (key, charge_key, amount_cents, refunded_at)
          select ${key}, key, captured_cents, case when refund_refusals < 1 then clock_timestamp() end
          from simulated_charges where key = ${chargeKey} and captured_cents = ${amount}
          on conflict do nothing returning refunded_at is not null as refunded`,
      sql`update simulated_refunds as known set
            attempts = attempts + 1,
            refunded_at = coalesce(refunded_at, (
              select clock_timestamp() from simulated_charges
              where key = known.charge_key and refund_refusals < known.attempts + 1
            ))
          where key = ${key} and charge_key = ${chargeKey} and amount_cents = ${amount}
          returning refunded_at is not null as refunded`,
    );
    if (!known) throw new NothingToRefund(refund);
    if (!known.refunded) throw new PaymentProviderUnavailable();
  }

  /**
   * Writes down what is asked for the first time, or else what comes of asking again. Two statements, because one that
   * inserts or updates knows of a single key only, and fails where it meets another asker at a second one. Only
   * what was settled months ago is ever deleted in between.
   */
  private async put<Row>(first: SQL, again: SQL): Promise<Row | undefined> {
    const [row] = await this.ask<Row>(first);
    return row ?? (await this.ask<Row>(again))[0];
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
