import { UnavailableError } from '../../shared/errors.js';
import type { Cents } from '../../domain/money.js';

/** What is to be charged. */
export interface Charge {
  /** The attempt's id, by which the provider knows it again. */
  key: string;
  orderId: string;
  amount: Cents;
  currency: string;
  /** How it is paid, trimmed and upper-cased. */
  method: string;
}

/** What came of a charge, for good. */
export type ChargeResult = { outcome: 'captured' } | { outcome: 'declined'; reason: string };

/** What the provider knows of a key; `none`: that nothing was charged, so far. */
export type ChargeState = 'captured' | 'declined' | 'none' | 'processing';

/** What is to be given back. */
export interface Refund {
  /** By which the provider knows this refund again. */
  key: string;
  /** Of the charge. */
  chargeKey: string;
  /** All of what was captured. */
  amount: Cents;
}

/** The provider did not answer in time, so nobody knows whether it did what it was asked for. */
export class PaymentTimeout extends UnavailableError {
  readonly code = 'payment_timeout';
  constructor(options?: ErrorOptions) {
    super('The payment provider did not answer in time.', options);
  }
}

/** The provider takes nothing right now: what it was asked for is surely not done. */
export class PaymentProviderUnavailable extends UnavailableError {
  readonly code = 'payment_provider_unavailable';
  constructor() {
    super('The payment provider takes no requests right now.');
  }
}

/** The key stands for another charge already. A mistake of ours: it is not to be asked again. */
export class ChargeKeyTaken extends Error {
  override readonly name = 'ChargeKeyTaken';
  constructor(key: string) {
    super(`The charge ${key} is of another order or another amount; nothing was charged.`);
  }
}

/** There is nothing that could be refunded so. A mistake of ours: it is not to be asked again. */
export class NothingToRefund extends Error {
  override readonly name = 'NothingToRefund';
  constructor({ key, chargeKey }: Refund) {
    super(`Of the charge ${chargeKey} this amount was not captured, or another refund than ${key} gave it back.`);
  }
}

/**
 * The payment provider. Every method may be asked again with the same key, which does nothing twice; none may be called
 * inside a transaction, since an answer may take long.
 */
export abstract class PaymentGateway {
  /**
   * Charges an order. The same key again gives the same result.
   * @throws PaymentTimeout @throws PaymentProviderUnavailable @throws ChargeKeyTaken
   */
  abstract charge(charge: Charge): Promise<ChargeResult>;

  /** What became of a charge. A voided one is `declined`. @throws PaymentTimeout */
  abstract find(key: string): Promise<ChargeState>;

  /**
   * Sees to it that nothing is ever captured by this key, unless it is already; also by one that the provider has never
   * heard of, so that a charge which arrives late is declined as `voided`.
   * @returns what the key comes to, for good @throws PaymentTimeout
   */
  abstract void(key: string): Promise<'voided' | 'captured' | 'declined'>;

  /**
   * Gives the whole of a captured amount back.
   * @throws PaymentTimeout @throws PaymentProviderUnavailable @throws NothingToRefund
   */
  abstract refund(refund: Refund): Promise<void>;
}
