import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Executor } from '../../platform/database/database.js';
import { QueueClock } from '../../platform/queue/queue-clock.js';
import type { Actor } from '../../shared/access.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import type { Cents } from '../../domain/money.js';
import { closeFailedJob, openFailedJob } from '../failed-jobs/failed-jobs.repository.js';
import { isNew, wasSeen } from '../messaging/inbox.repository.js';
import { orderEventText, refundEventText } from '../workflow/order-event-text.js';
import { type LockedOrder, OrderWorkflow, WORKFLOW } from '../workflow/order-workflow.service.js';
import { type OutgoingMessage, stepMessage } from '../messaging/outbox.repository.js';
import {
  beginAttempt,
  changeAttempt,
  compensateAll,
  compensationsOverdue,
  findAttempt,
  latestAttempt,
  type PaymentAttempt,
  returnMessage,
} from './payment-attempts.repository.js';
import { type ChargeResult, PaymentGateway, PaymentProviderUnavailable, PaymentTimeout } from './payment-gateway.js';
import { type PaymentNotice, PaymentNotices } from './payment-notices.js';
import { release } from '../inventory/reservations.repository.js';
import { delayBeforeRetry } from '../workflow/retry-delays.rules.js';
import type { StepMessage } from '../messaging/step-messages.js';

/** Charges that the provider did not take on, before the order is given up. */
const MAX_ATTEMPTS = 5;
/** How often it is asked what became of a charge that it did not answer to. */
const MAX_QUESTIONS = 8;
/** How often money is tried to be given back before a person has to see to it. */
const MAX_RETURNS = 6;

/** Who acts where the provider tells of something by itself. */
const PROVIDER: Actor = Object.freeze({ name: 'payment-provider', requestId: null });

/** What asking the provider for a charge came to. */
type Charged = ChargeResult | { outcome: 'timed_out' } | { outcome: 'unavailable' };

/**
 * Charges orders, and gives money back. The provider is never asked within a transaction: before, it is written down that it
 * will be, and after, what it said; whatever happens between, the same charge is asked for again under the same key.
 */
@Injectable()
export class Payments extends PaymentNotices {
  private readonly logger = new Logger('Payments');

  constructor(
    private readonly workflow: OrderWorkflow,
    private readonly gateway: PaymentGateway,
    private readonly queueClock: QueueClock,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    super();
  }

  /** The step that charges a reserved order. @throws DatabaseUnavailable */
  async charge(message: StepMessage): Promise<void> {
    const begun = await this.workflow.transaction(async (tx) => {
      const order = await this.workflow.lock(tx, message.orderId);
      if (order?.status !== 'reserved' || (await wasSeen(tx, 'payment', message.messageId))) {
        await isNew(tx, 'payment', message.messageId);
        return null;
      }
      const last = await latestAttempt(tx, order.id);
      // Of an attempt that is under way nobody knows how far it came: the same key is good for it.
      if (last && last.state !== 'unavailable') return { order, attempt: last, isFirstTime: false };
      const attempt = await beginAttempt(tx, order.id, order.total);
      const detail = { attempt: attempt.number };
      await this.workflow.record(tx, order, { event: 'payment.attempted', detail }, WORKFLOW);
      return { order, attempt, isFirstTime: true };
    });
    if (!begun) return;
    const charged = await this.askForCharge(begun.order, begun.attempt, begun.isFirstTime);
    await this.settle(begun.attempt.id, charged, seenAs(message), WORKFLOW);
  }

  /** The step that asks what became of a charge that the provider did not answer to. @throws DatabaseUnavailable */
  async ask(message: StepMessage): Promise<void> {
    const found = await this.workflow.transaction(async (tx) => {
      const order = await this.workflow.lock(tx, message.orderId);
      const attempt = order && (await latestAttempt(tx, order.id));
      const isAsked = order?.status === 'payment_unknown' && !(await wasSeen(tx, 'payment', message.messageId));
      if (isAsked && attempt) return { order, attempt };
      await isNew(tx, 'payment', message.messageId);
      return null;
    });
    if (!found) return;
    await this.settle(found.attempt.id, await this.askAgain(found.order, found.attempt), seenAs(message), WORKFLOW);
  }

  /** What the provider tells by itself; told again it changes nothing. @throws DatabaseUnavailable */
  override async told({ webhookId, key, orderId, amount, result }: PaymentNotice): Promise<void> {
    const seen = { queue: 'payment-webhook', messageId: webhookId };
    await this.settle(key, result, seen, PROVIDER, { orderId, amount });
  }

  /**
   * The step that gives back what a charge took, or sees to it that it never takes anything. What the provider refuses is
   * tried again with back-off, and ends as a failed job. @throws DatabaseUnavailable
   */
  async returnPayment(message: StepMessage): Promise<void> {
    const attempt = await this.workflow.transaction(async (tx) => {
      const due = message.reference === null ? null : await findAttempt(tx, message.reference);
      if (due?.compensation === 'due') return due;
      await isNew(tx, 'payment', message.messageId);
      return null;
    });
    if (!attempt) return;
    let undone: 'voided' | 'declined' | 'captured';
    try {
      undone = await this.gateway.void(attempt.id);
      if (undone === 'captured') {
        await this.gateway.refund({ key: `refund-${attempt.id}`, chargeKey: attempt.id, amount: attempt.amount });
      }
    } catch (error) {
      await this.returnFailed(message, attempt, error);
      return;
    }
    await this.workflow.transaction(async (tx) => {
      const order = (await this.workflow.lock(tx, attempt.orderId))!;
      if (!(await isNew(tx, 'payment', message.messageId))) return;
      const now = (await findAttempt(tx, attempt.id))!;
      if (now.compensation !== 'due') return;
      const refunded = undone === 'captured';
      await changeAttempt(tx, now, { state: undone, compensation: 'done', ...(refunded && { refunded: true }) });
      const event = refunded ? ('payment.refunded' as const) : ('payment.voided' as const);
      // What statistics never heard of they need not be told to take back.
      const send: OutgoingMessage[] = refunded && now.paidOrder ? [this.refundMessage(order, now)] : [];
      await this.workflow.record(tx, order, { event, detail: { attempt: now.number }, send }, WORKFLOW);
      await closeFailedJob(tx, order.id, { job: 'return-payment', reference: now.id });
    });
  }

  /**
   * Asks again for what a locked order's charges took, where no message is on its way that would. It counts as a try.
   */
  async returnAgain(tx: Executor, order: LockedOrder): Promise<void> {
    for (const attempt of await compensationsOverdue(tx, order.id)) {
      await this.nextReturn(tx, order, attempt, 'Nothing came of giving the money back', 'payment.return_due');
    }
  }

  /** What a person gave back by hand is taken out of the statistics all the same. The order must be locked. */
  async markRefundedManually(tx: Executor, order: LockedOrder, attemptId: string): Promise<OutgoingMessage[]> {
    const attempt = await findAttempt(tx, attemptId);
    if (attempt?.compensation !== 'failed') return [];
    await changeAttempt(tx, attempt, { compensation: 'done' });
    return attempt.paidOrder ? [this.refundMessage(order, attempt)] : [];
  }

  /** Begins anew with a return that was given up. The order must be locked. */
  async retryRefund(tx: Executor, attemptId: string): Promise<OutgoingMessage[]> {
    const attempt = await findAttempt(tx, attemptId);
    if (attempt?.compensation !== 'failed') return [];
    await changeAttempt(tx, attempt, { compensation: 'due', compensationTries: 0 });
    return [returnMessage(attempt)];
  }

  /**
   * Has every charge of a locked order undone that may have taken money.
   * @returns the messages that do it, to go with what the order is moved by
   */
  async compensateAll(tx: Executor, orderId: string): Promise<OutgoingMessage[]> {
    const due = await compensateAll(tx, orderId);
    return due.map(returnMessage);
  }

  /** Gives up on a locked order that was not paid in time or can't be. */
  async giveUp(tx: Executor, order: LockedOrder, because: string, actor: Actor): Promise<void> {
    const send = await this.compensateAll(tx, order.id);
    const pieces = await release(tx, order.id);
    const detail = { because, pieces_released: pieces };
    await this.workflow.record(tx, order, { event: 'payment.given_up', to: 'payment_failed', detail, send }, actor);
  }

  private refundMessage(order: LockedOrder, attempt: PaymentAttempt): OutgoingMessage {
    return { queue: 'orders', body: refundEventText(order, attempt, this.queueClock) };
  }

  /**
   * @param isFirstTime whether the provider was surely not asked for this attempt before. Else what it was asked for then may
   *   have been done, or be done yet, though it takes nothing on now.
   */
  private async askForCharge(order: LockedOrder, attempt: PaymentAttempt, isFirstTime: boolean): Promise<Charged> {
    const { id: orderId, currency, paymentMethod: method } = order;
    try {
      return await this.gateway.charge({ key: attempt.id, orderId, amount: attempt.amount, currency, method });
    } catch (error) {
      if (error instanceof PaymentTimeout) return { outcome: 'timed_out' };
      if (error instanceof PaymentProviderUnavailable) return { outcome: isFirstTime ? 'unavailable' : 'timed_out' };
      throw error;
    }
  }

  /** Asks first; a charge that the provider never heard of is sent again, under the same key. */
  private async askAgain(order: LockedOrder, attempt: PaymentAttempt): Promise<Charged> {
    try {
      switch (await this.gateway.find(attempt.id)) {
        case 'captured':
          return { outcome: 'captured' };
        case 'declined':
          return { outcome: 'declined', reason: 'declined' };
        case 'processing':
          return { outcome: 'timed_out' };
        case 'none':
          return await this.askForCharge(order, attempt, false);
      }
    } catch (error) {
      if (!(error instanceof PaymentTimeout || error instanceof PaymentProviderUnavailable)) throw error;
      return { outcome: 'timed_out' };
    }
  }

  /** Writes down what became of a charge, and moves its order. */
  private async settle(
    attemptId: string,
    charged: Charged,
    seen: { queue: string; messageId: string },
    actor: Actor,
    claimed?: { orderId: string; amount: Cents },
  ): Promise<void> {
    await this.workflow.transaction(async (tx) => {
      const known = await findAttempt(tx, attemptId);
      if (!known) {
        this.logger.warn('The payment provider told of a charge that is not ours');
        return;
      }
      const order = (await this.workflow.lock(tx, known.orderId))!;
      const isFirst = await isNew(tx, seen.queue, seen.messageId);
      const isNews = charged.outcome === 'captured' || charged.outcome === 'declined';
      // What the provider says for certain holds whoever asked for it; of the rest each message is one try.
      if (!isFirst && !isNews) return;
      // Again, now that nobody else can change it.
      const attempt = (await findAttempt(tx, attemptId))!;
      if (claimed && (claimed.orderId !== order.id || claimed.amount !== attempt.amount)) {
        const error = 'The payment provider told of this charge with another order or another amount; nothing was done';
        await openFailedJob(tx, order.id, { job: 'step', reference: attempt.id, error });
        await this.workflow.record(tx, order, { event: 'job.failed', detail: { job: 'step' } }, actor);
        return;
      }
      switch (charged.outcome) {
        case 'captured':
          return this.captured(tx, order, attempt, actor);
        case 'declined':
          return this.declined(tx, order, attempt, charged.reason, actor);
        case 'timed_out':
          return this.timedOut(tx, order, attempt, actor);
        case 'unavailable':
          return this.unavailable(tx, order, attempt, actor);
      }
    });
  }

  private async captured(tx: Executor, order: LockedOrder, attempt: PaymentAttempt, actor: Actor): Promise<void> {
    if (attempt.state === 'captured') return;
    const detail = { attempt: attempt.number };
    const isAwaited = ['reserved', 'payment_unknown'].includes(order.status) && attempt.compensation === 'armed';
    if (isAwaited) {
      await changeAttempt(tx, attempt, { state: 'captured', paidOrder: true });
      const others = await compensateAll(tx, order.id, attempt.id);
      const send: OutgoingMessage[] = [
        { queue: 'orders', body: await orderEventText(tx, order, this.queueClock) },
        { ...stepMessage('ship', order.id), delaySeconds: this.config.shipmentDelaySeconds },
        ...others.map(returnMessage),
      ];
      await this.workflow.record(tx, order, { event: 'payment.captured', to: 'paid', detail, send }, actor);
      return;
    }
    // Nobody waits for this money any more.
    await changeAttempt(tx, attempt, { state: 'captured', compensation: 'due' });
    await this.workflow.record(tx, order, { event: 'payment.captured', detail }, actor);
    const send = [returnMessage(attempt)];
    await this.workflow.record(tx, order, { event: 'payment.return_due', detail, send }, actor);
  }

  private async declined(
    tx: Executor,
    order: LockedOrder,
    attempt: PaymentAttempt,
    reason: string,
    actor: Actor,
  ): Promise<void> {
    if (!isOpen(attempt)) return;
    // Of one that is to be undone the provider is asked once more, by the step that does it.
    if (attempt.compensation !== 'armed') return;
    await changeAttempt(tx, attempt, { state: 'declined', compensation: 'done' });
    const to = ['reserved', 'payment_unknown'].includes(order.status) ? ('payment_failed' as const) : undefined;
    const pieces = to ? await release(tx, order.id) : 0;
    const send = to ? await this.compensateAll(tx, order.id) : [];
    const detail = { attempt: attempt.number, reason, pieces_released: pieces };
    await this.workflow.record(tx, order, { event: 'payment.declined', to, detail, send }, actor);
  }

  private async timedOut(tx: Executor, order: LockedOrder, attempt: PaymentAttempt, actor: Actor): Promise<void> {
    if (!isOpen(attempt) || !['reserved', 'payment_unknown'].includes(order.status)) return;
    const asked = attempt.asked + 1;
    if (asked > MAX_QUESTIONS) return this.giveUp(tx, order, 'the provider does not say what became of it', actor);
    await changeAttempt(tx, attempt, { state: 'unknown', asked });
    const delaySeconds = delayBeforeRetry(asked, Math.random());
    const send = [{ ...stepMessage('ask', order.id), delaySeconds }];
    const detail = { attempt: attempt.number, asked: asked - 1, again_in_seconds: delaySeconds };
    const isFirst = order.status === 'reserved';
    const event = isFirst ? ('payment.timed_out' as const) : ('payment.asked' as const);
    await this.workflow.record(tx, order, { event, to: isFirst ? 'payment_unknown' : undefined, detail, send }, actor);
  }

  private async unavailable(tx: Executor, order: LockedOrder, attempt: PaymentAttempt, actor: Actor): Promise<void> {
    if (!isOpen(attempt) || order.status !== 'reserved') return;
    await changeAttempt(tx, attempt, { state: 'unavailable' });
    if (attempt.number >= MAX_ATTEMPTS) return this.giveUp(tx, order, 'the provider does not take charges', actor);
    const delaySeconds = delayBeforeRetry(attempt.number, Math.random());
    const send = [{ ...stepMessage('charge', order.id), delaySeconds }];
    const detail = { attempt: attempt.number, again_in_seconds: delaySeconds };
    await this.workflow.record(tx, order, { event: 'payment.unavailable', detail, send }, actor);
  }

  private async returnFailed(message: StepMessage, { id, orderId }: PaymentAttempt, error: unknown): Promise<void> {
    // What is no outage is a mistake, ours or the provider's, and trying again is all that can be done about it here too.
    if (!(error instanceof UnavailableError)) this.logger.error(`A payment can't be returned: ${messageOf(error)}`);
    await this.workflow.transaction(async (tx) => {
      const order = (await this.workflow.lock(tx, orderId))!;
      if (!(await isNew(tx, 'payment', message.messageId))) return;
      const attempt = (await findAttempt(tx, id))!;
      if (attempt.compensation !== 'due') return;
      await this.nextReturn(tx, order, attempt, messageOf(error), 'payment.return_failed');
    });
  }

  /** After some tries a person has to see to it. */
  private async nextReturn(
    tx: Executor,
    order: LockedOrder,
    attempt: PaymentAttempt,
    error: string,
    event: 'payment.return_due' | 'payment.return_failed',
  ): Promise<void> {
    const compensationTries = attempt.compensationTries + 1;
    const gaveUp = compensationTries >= MAX_RETURNS;
    await changeAttempt(tx, attempt, { compensation: gaveUp ? 'failed' : 'due', compensationTries });
    const delaySeconds = delayBeforeRetry(compensationTries, Math.random());
    const send = gaveUp ? [] : [{ ...returnMessage(attempt), delaySeconds }];
    const detail = { attempt: attempt.number, tries: compensationTries };
    await this.workflow.record(tx, order, { event, detail, send }, WORKFLOW);
    if (!gaveUp) return;
    await openFailedJob(tx, order.id, { job: 'return-payment', reference: attempt.id, error });
    await this.workflow.record(tx, order, { event: 'job.failed', detail: { job: 'return-payment' } }, WORKFLOW);
  }
}

function seenAs({ messageId }: StepMessage): { queue: string; messageId: string } {
  return { queue: 'payment', messageId };
}

/** Whether it is not known yet, or not for certain, what became of a charge. */
function isOpen({ state }: PaymentAttempt): boolean {
  return state === 'started' || state === 'unknown' || state === 'unavailable';
}
