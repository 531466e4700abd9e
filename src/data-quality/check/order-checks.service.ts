import { Inject, Injectable } from '@nestjs/common';
import type { LedgerEntry } from '../../ledger/ledger-entry.js';
import { Ledger } from '../../ledger/ledger.repository.js';
import { MAX_BYTES_PER_CALL } from '../../platform/queue/sqs-limits.js';
import { CONFIG, type Config } from '../../shared/config.js';
import { ClientError, InvalidInput, NotFound } from '../../shared/errors.js';
import { type JsonObject, readBody } from '../../domain/validation/message-body.rules.js';
import { judge } from '../../domain/validation/order-event.rules.js';
import { isRefund } from '../../domain/validation/refund-event.rules.js';
import type { Cents } from '../../domain/money.js';
import { isDeeper, isWider } from '../../shared/nesting.js';
import type { ValidatedMessage, Outcome, Reason } from '../../domain/order-event.js';
import { LanguageModel, type ModelReason } from './language-model.service.js';
import { type Disagreement, disagreementsOf, type ModelAnswer, presentable } from './model-answer.rules.js';
import { MAX_ITEMS, type Question, questionAbout } from './model-question.rules.js';
import { type FixChange, fixedOrder } from './proposed-fix.rules.js';
import { type RulesVerdict, rulesVerdict } from './validation-result.rules.js';

/** What a body over HTTP may be: what is more can't be retried, nor shown in an answer. */
const MAX_LEVELS = 98;
const MAX_FIELDS = 1_000;

/** A retry is a request, whose body has this bound, and a message, whose bound it keeps with room for an attribute. */
const MAX_RETRY_BYTES = MAX_BYTES_PER_CALL - 200;

/** The position is that of a refund or a repair. */
export class NotAnOrder extends ClientError {
  readonly code = 'not_an_order';
  readonly kind = 'conflict';
  constructor({ position, kind, refPosition }: LedgerEntry) {
    super(
      `Position ${position} is a ${kind}${refPosition === null ? '' : ` of position ${refPosition}`}, not an order.`,
    );
  }
}

/** What was checked. */
export interface CheckedSubject {
  /** Null where the order was given. */
  position: number | null;
  orderId: string | null;
  /** As the ledger has it; null where the order was given. */
  outcome: Outcome | null;
}

/** The model's verdict, with what can be said of how it came about. */
export interface ModelVerdict {
  name: string;
  answer: ModelAnswer;
  fromCache: boolean;
  personalDataSent: boolean;
}

/** Changes after which the rules would let the order pass. */
export interface ProposedFix {
  changes: FixChange[];
  order: JsonObject;
  wouldBe: { outcome: Outcome; reasons: Reason[]; orderValue: Cents | null };
  /** The failed entry that can be retried so; else why there is none. */
  apply: { position: number } | { reason: string };
}

/** All that a check of an order says. */
export interface OrderCheck {
  subject: CheckedSubject;
  rules: RulesVerdict;
  model: ModelVerdict | null;
  /** Null where there is a model's verdict. */
  modelReason: ModelReason | null;
  disagreements: Disagreement[];
  proposedFix: ProposedFix | null;
}

interface SecondLook {
  model: ModelVerdict | null;
  modelReason: ModelReason | null;
  hidden: ReadonlySet<string>;
}

/**
 * Checks single orders: by the rules, whose word counts, and by a language model where one is configured. Changes nothing;
 * what is proposed is for somebody to ask for.
 */
@Injectable()
export class OrderChecks {
  constructor(
    private readonly ledger: Ledger,
    private readonly languageModel: LanguageModel,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  /** @throws NotFound @throws NotAnOrder @throws DatabaseUnavailable */
  async ofPosition(position: number): Promise<OrderCheck> {
    const entry = await this.ledger.entry(position);
    if (!entry) throw new NotFound(`The ledger has no position ${position}.`);
    return this.ofEntry(entry);
  }

  /**
   * Of the entries with this order id the one that counts, else the newest.
   * @param orderId cleaned
   * @throws NotFound @throws DatabaseUnavailable
   */
  async ofOrderId(orderId: string): Promise<OrderCheck> {
    const entry = (await this.counted(orderId)) ?? (await this.newest({ orderId }));
    if (!entry) throw new NotFound(`The ledger has no order ${orderId}.`);
    return this.ofEntry(entry);
  }

  /** @param entry whose outcome and reasons are told as they are stored @throws NotAnOrder @throws DatabaseUnavailable */
  async ofEntry(entry: LedgerEntry): Promise<OrderCheck> {
    if (entry.kind !== 'order') throw new NotAnOrder(entry);
    const { position, orderId, outcome } = entry;
    const order = orderIn(entry.body);
    const rules = rulesVerdict(entry, order);
    const apply = applicable(entry);
    return { subject: { position, orderId, outcome }, rules, ...(await this.check(rules, order, apply)) };
  }

  /** @param order judged as if it had been sent now @throws InvalidInput where it is a refund */
  async ofOrder(order: JsonObject): Promise<OrderCheck> {
    const body = JSON.stringify(order);
    const event = orderIn(body);
    if (event && isRefund(event))
      throw new InvalidInput([{ field: 'order', message: 'must be an order, not a refund' }]);
    const judged = this.judged(body);
    const rules = rulesVerdict(judged, event);
    const apply = { reason: 'The order is not in the ledger: send it as it is here.' };
    const subject = { position: null, orderId: judged.orderId, outcome: null };
    return { subject, rules, ...(await this.check(rules, event, apply)) };
  }

  private async check(
    rules: RulesVerdict,
    order: JsonObject | null,
    apply: ProposedFix['apply'],
  ): Promise<Omit<OrderCheck, 'subject' | 'rules'>> {
    const { model, modelReason, hidden } = await this.secondLook(order);
    const disagreements = model ? disagreementsOf(rules, model.answer) : [];
    const unshowable = order === null || isDeeper(order, MAX_LEVELS) || isWider(order, MAX_FIELDS);
    if (unshowable) return { model, modelReason, disagreements, proposedFix: null };
    const byRules = fixedOrder(order, [], hidden, rules);
    const byBoth = fixedOrder(order, model?.answer.fixes ?? [], hidden, rules);
    // What the rules can mend by themselves needs nobody's guess.
    const ofRules = await this.passing(byRules, apply);
    const proposedFix = ofRules ?? (await this.passing(byBoth, apply));
    const notNeeded = (ofRules ? byBoth.changes : [])
      .filter(({ by }) => by === 'model')
      .map(({ field, after }): Disagreement => ({
        about: `fix of ${field}`,
        rules: 'passes without it',
        model: after,
      }));
    return { model, modelReason, disagreements: [...disagreements, ...byBoth.refused, ...notNeeded], proposedFix };
  }

  private async secondLook(order: JsonObject | null): Promise<SecondLook> {
    const settings = this.config.languageModel;
    const question = order && settings ? this.question(order, settings.sendPersonalData) : null;
    const without = (modelReason: ModelReason): SecondLook => ({ model: null, modelReason, hidden: new Set() });
    if (settings && !order) {
      return without({ code: 'unreadable', detail: 'The body is no order event that could be shown to a model.' });
    }
    if (settings && !question) {
      return without({ code: 'too_large', detail: `Orders of more than ${MAX_ITEMS} items are not sent to a model.` });
    }
    const reply = await this.languageModel.ask(question?.text ?? '');
    if ('reason' in reply) return without(reply.reason);
    const { name, sendPersonalData } = settings!;
    return {
      model: {
        name,
        answer: presentable(reply.answer, question!.userId),
        fromCache: reply.fromCache,
        personalDataSent: sendPersonalData,
      },
      modelReason: null,
      hidden: question!.hidden,
    };
  }

  private question(order: JsonObject, sendPersonalData: boolean): Question | null {
    return questionAbout(order, { currency: this.config.currency, sendPersonalData });
  }

  /** The fix, where the rules would let its order pass and, of a failed entry, a retry would count it. */
  private async passing(
    { order, changes }: { order: JsonObject; changes: FixChange[] },
    apply: ProposedFix['apply'],
  ): Promise<ProposedFix | null> {
    if (changes.length === 0) return null;
    const { outcome, reasons, value } = this.judged(JSON.stringify(order));
    if (outcome === 'failed') return null;
    if ('position' in apply && !(await this.wouldCount(order, apply.position))) return null;
    const isTooLong = 'position' in apply && Buffer.byteLength(JSON.stringify({ order })) > MAX_RETRY_BYTES;
    const wouldBe = { outcome, reasons, orderValue: value };
    return { changes, order, wouldBe, apply: isTooLong ? { reason: 'The order is too long to be retried.' } : apply };
  }

  /** Whether a retry would not find its order id counted with other content. */
  private async wouldCount(order: JsonObject, position: number): Promise<boolean> {
    const retried = this.judged(JSON.stringify(order));
    const counted = retried.orderId === null ? null : await this.counted(retried.orderId);
    return !counted || counted.position === position || this.judged(counted.body).contentHash === retried.contentHash;
  }

  private async counted(orderId: string): Promise<LedgerEntry | null> {
    return (
      (await this.newest({ orderId, outcome: 'accepted' })) ?? (await this.newest({ orderId, outcome: 'corrected' }))
    );
  }

  private async newest(filter: { orderId: string; outcome?: Outcome }): Promise<LedgerEntry | null> {
    const { entries } = await this.ledger.page({ kind: 'order', ...filter }, 1);
    return entries[0] ?? null;
  }

  private judged(body: string): ValidatedMessage {
    const now = Date.now();
    return judge({ messageId: '', body, sentAt: now, receivedAt: now }, this.config);
  }
}

function applicable({ position, outcome, repairedBy }: LedgerEntry): ProposedFix['apply'] {
  if (outcome !== 'failed') return { reason: `Position ${position} is counted; what counts is not changed.` };
  return repairedBy === null
    ? { position }
    : { reason: `Position ${position} was repaired by position ${repairedBy}.` };
}

function orderIn(body: string): JsonObject | null {
  const read = readBody(body);
  return typeof read === 'string' ? null : read;
}
