import type { Cents } from '../../domain/money.js';
import type { ChargeResult } from './payment-gateway.js';

/** What the payment provider tells of its own accord. */
export interface PaymentNotice {
  /** The same whenever the provider tells it again: up to 128 printable characters. */
  webhookId: string;
  /** Of the charge. */
  key: string;
  /** Which order the provider takes it for, and how much it says it is about. */
  orderId: string;
  amount: Cents;
  result: ChargeResult;
}

/** Who wants to know what the payment provider tells of its own accord. */
export abstract class PaymentNotices {
  /**
   * Takes a notice, or has it told again: what is thrown makes the provider repeat it for some time. So a key that nobody
   * knows, or a notice that came before, is no reason to throw.
   */
  abstract told(notice: PaymentNotice): Promise<void>;
}
