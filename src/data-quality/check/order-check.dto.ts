import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsInt, IsObject, IsString, Max, Min, ValidateIf } from 'class-validator';
import { type Cents, decimalOf } from '../../domain/money.js';
import { type Outcome, type Reason, REASONS } from '../../domain/order-event.js';
import type { JsonObject } from '../../domain/validation/message-body.rules.js';
import type { ModelReason, ModelReasonCode } from './language-model.service.js';
import type { Disagreement } from './model-answer.rules.js';
import type { ModelVerdict, OrderCheck, ProposedFix } from './order-checks.service.js';
import type { FixChange } from './proposed-fix.rules.js';
import { CHECKED_FIELDS, type CheckedField, type RulesVerdict } from './validation-result.rules.js';

const REASON_CODES = Object.keys(REASONS);
const OUTCOMES = ['accepted', 'corrected', 'failed'];
const MODEL_REASONS: ModelReasonCode[] = [
  'not_configured',
  'unreadable',
  'too_large',
  'out_of_budget',
  'timed_out',
  'unavailable',
  'refused',
  'truncated',
  'malformed_answer',
];
const SCALAR = [{ type: 'string' }, { type: 'number' }, { type: 'boolean' }];
const ANY_JSON = [...SCALAR, { type: 'object', additionalProperties: true }, { type: 'array', items: {} }];
const isGiven = (_: unknown, value: unknown): boolean => value !== undefined;

/** Body of `POST /data-quality/check`: exactly one of its fields. */
export class OrderCheckRequest {
  @ApiPropertyOptional({
    type: 'object',
    additionalProperties: true,
    description: 'An order event; judged as if it were sent now',
    example: { order_id: 'ORD-1001', user_id: 'U042' },
  })
  @ValidateIf(isGiven)
  @IsObject({ message: 'must be an order event' })
  // As it was sent: an order's own fields are the rules' to judge, not this class's to convert.
  @Transform(({ obj }: { obj: { order?: unknown } }) => obj.order)
  order?: JsonObject;

  @ApiPropertyOptional({
    description: 'The order of the ledger that counts under this id, else the newest',
    example: 'ORD-1001',
  })
  @ValidateIf(isGiven)
  @IsString({ message: 'must be the id of an order' })
  order_id?: string;

  @ApiPropertyOptional({ type: 'integer', minimum: 1, description: 'Position of an order in the ledger', example: 7 })
  @ValidateIf(isGiven)
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(1e15 - 1, { message: 'must be at most 999999999999999' })
  position?: number;
}

/** What was checked. */
export class CheckedSubjectJson {
  @ApiProperty({ type: 'integer', nullable: true, description: 'null where the order was given', example: 7 })
  position!: number | null;

  @ApiProperty({ type: String, nullable: true, description: 'null where it could not be read', example: 'ORD-1001' })
  order_id!: string | null;

  @ApiProperty({ enum: OUTCOMES, nullable: true, description: 'null where the order was given', example: 'failed' })
  outcome!: Outcome | null;
}

/** Why an order fails, and what that means. */
export class ExplainedReasonJson {
  @ApiProperty({ enum: REASON_CODES, example: 'missing_user_id' })
  reason!: Reason;

  @ApiProperty({ example: 'user_id is missing.' })
  meaning!: string;
}

/** What the rules say of a field. */
export class FieldVerdictJson {
  @ApiProperty({
    enum: CHECKED_FIELDS,
    description: '`items.quantity` stands for that of every item',
    example: 'user_id',
  })
  field!: CheckedField;

  @ApiProperty({ example: false })
  present!: boolean;

  @ApiProperty({ type: Boolean, nullable: true, description: 'null where it is not there', example: null })
  correct_type!: boolean | null;

  @ApiProperty({ isArray: true, enum: REASON_CODES, example: ['missing_user_id'] })
  reasons!: Reason[];
}

/** What the rules say. */
export class RulesVerdictJson {
  @ApiProperty({ enum: OUTCOMES, example: 'failed' })
  outcome!: Outcome;

  @ApiProperty({ type: [ExplainedReasonJson] })
  reasons!: ExplainedReasonJson[];

  @ApiProperty({ type: Number, nullable: true, description: 'What counts; null where it failed', example: null })
  order_value!: number | null;

  @ApiProperty({ type: Number, nullable: true, description: 'Σ quantity × price_per_unit', example: 25.98 })
  computed_value!: number | null;

  @ApiProperty({ type: Number, nullable: true, description: 'What the sender claims', example: 20 })
  claimed_value!: number | null;

  @ApiProperty({
    type: Boolean,
    nullable: true,
    description: 'null where there is nothing to compare',
    example: false,
  })
  value_equals_sum!: boolean | null;

  @ApiProperty({ type: [FieldVerdictJson] })
  fields!: FieldVerdictJson[];
}

/** What the model says of a field. */
export class ModelFieldJson {
  @ApiProperty({ enum: CHECKED_FIELDS, example: 'user_id' })
  field!: CheckedField;

  @ApiProperty({ example: false })
  present!: boolean;

  @ApiProperty({ type: Boolean, nullable: true, example: null })
  correct_type!: boolean | null;

  @ApiProperty({ type: String, nullable: true, example: 'There is no user_id.' })
  note!: string | null;
}

/** What the model read from the order. */
export class ExtractedJson {
  @ApiProperty({ type: String, nullable: true, example: 'U042' })
  user_id!: string | null;

  @ApiProperty({ type: Number, nullable: true, example: 20 })
  order_value!: number | null;

  @ApiProperty({ type: String, nullable: true, example: '2026-01-31T12:00:00Z' })
  order_timestamp!: string | null;
}

/** Something that does not fit together. */
export class InconsistencyJson {
  @ApiProperty({ example: 'shipping_address' })
  field!: string;

  @ApiProperty({ example: 'The country is India, and the street is one of Shelbyville.' })
  problem!: string;
}

/** What the model says. Its texts are data, to be shown as text. */
export class ModelVerdictJson {
  @ApiProperty({ description: 'Which model', example: 'gpt-5-mini' })
  name!: string;

  @ApiProperty({ example: false })
  valid!: boolean;

  @ApiProperty({ type: [ModelFieldJson] })
  fields!: ModelFieldJson[];

  @ApiProperty({ type: Boolean, nullable: true, example: false })
  value_equals_sum!: boolean | null;

  @ApiProperty({ type: ExtractedJson })
  extracted!: ExtractedJson;

  @ApiProperty({ type: [InconsistencyJson] })
  inconsistencies!: InconsistencyJson[];

  @ApiProperty({ description: 'Whether no call was made for this check', example: false })
  from_cache!: boolean;

  @ApiProperty({ description: 'LLM_SEND_PERSONAL_DATA', example: false })
  personal_data_sent!: boolean;
}

/** Why there is no verdict of a model. */
export class ModelReasonJson implements ModelReason {
  @ApiProperty({ enum: MODEL_REASONS, example: 'not_configured' })
  code!: ModelReasonCode;

  @ApiProperty({ example: 'LLM_BASE_URL, LLM_API_KEY and LLM_MODEL are not set.' })
  detail!: string;
}

/** Something in which the model does not say what the rules say. */
export class DisagreementJson implements Disagreement {
  @ApiProperty({ example: 'value_equals_sum' })
  about!: string;

  @ApiProperty({ oneOf: SCALAR, nullable: true, example: false })
  rules!: Disagreement['rules'];

  @ApiProperty({ oneOf: SCALAR, nullable: true, example: true })
  model!: Disagreement['model'];

  @ApiProperty({ enum: ['rules'] })
  prevails!: 'rules';
}

/** A change that is proposed. */
export class FixChangeJson {
  @ApiProperty({ example: 'order_value' })
  field!: string;

  @ApiPropertyOptional({
    oneOf: ANY_JSON,
    nullable: true,
    description: 'Absent where the field is not there',
    example: 20,
  })
  before?: unknown;

  @ApiProperty({ oneOf: [{ type: 'string' }, { type: 'number' }], example: 25.98 })
  after!: string | number;

  @ApiProperty({ example: 'The sum of quantity times price_per_unit.' })
  why!: string;

  @ApiProperty({ enum: ['rules', 'model'] })
  by!: FixChange['by'];
}

/** What the rules would say of the fixed order. */
export class WouldBeJson {
  @ApiProperty({ enum: ['accepted', 'corrected'] })
  outcome!: Outcome;

  @ApiProperty({ isArray: true, enum: REASON_CODES, example: [] })
  reasons!: Reason[];

  @ApiProperty({ type: Number, nullable: true, example: 25.98 })
  order_value!: number | null;
}

/** The body of the call that applies a fix. */
export class ApplyBodyJson {
  @ApiProperty({ type: 'object', additionalProperties: true, example: { order_id: 'ORD-1001', user_id: 'U042' } })
  order!: JsonObject;
}

/** The call that applies a fix; the caller needs the scope order-events:repair. */
export class ApplyJson {
  @ApiProperty({ enum: ['POST'] })
  method!: 'POST';

  @ApiProperty({ example: '/order-events/7/retry' })
  path!: string;

  @ApiProperty({ type: ApplyBodyJson })
  body!: ApplyBodyJson;
}

/** Changes after which the order would pass. */
export class ProposedFixJson {
  @ApiProperty({ isArray: true, enum: ['rules', 'model'], description: 'Who proposes changes' })
  by!: FixChange['by'][];

  @ApiProperty({ type: [FixChangeJson] })
  changes!: FixChangeJson[];

  @ApiProperty({
    type: 'object',
    additionalProperties: true,
    description: 'The order with the changes',
    example: { order_id: 'ORD-1001', user_id: 'U042' },
  })
  order!: JsonObject;

  @ApiProperty({ type: WouldBeJson })
  would_be!: WouldBeJson;

  @ApiProperty({ type: ApplyJson, nullable: true, description: 'Only of a failed order that was not repaired yet' })
  apply!: ApplyJson | null;

  @ApiProperty({ type: String, nullable: true, description: 'Why there is no call', example: null })
  apply_reason!: string | null;
}

/** A check of an order as the API shows it. */
export class OrderCheckJson {
  @ApiProperty({ type: CheckedSubjectJson })
  subject!: CheckedSubjectJson;

  @ApiProperty({ type: RulesVerdictJson })
  rules!: RulesVerdictJson;

  @ApiProperty({ type: ModelVerdictJson, nullable: true, description: 'null where there is none, see model_reason' })
  model!: ModelVerdictJson | null;

  @ApiProperty({ type: ModelReasonJson, nullable: true })
  model_reason!: ModelReasonJson | null;

  @ApiProperty({ type: [DisagreementJson], description: 'Where the model says something else; the rules prevail' })
  disagreements!: DisagreementJson[];

  @ApiProperty({ type: ProposedFixJson, nullable: true, description: 'Only one that the rules would let pass' })
  proposed_fix!: ProposedFixJson | null;
}

/** A check in the form of the API: money as decimal numbers. */
export function orderCheckJson({ subject, rules, ...check }: OrderCheck): OrderCheckJson {
  return {
    subject: { position: subject.position, order_id: subject.orderId, outcome: subject.outcome },
    rules: rulesJson(rules),
    model: check.model && modelJson(check.model),
    model_reason: check.modelReason,
    disagreements: check.disagreements.map((each) => ({ ...each, prevails: 'rules' })),
    proposed_fix: check.proposedFix && fixJson(check.proposedFix),
  };
}

function rulesJson(rules: RulesVerdict): RulesVerdictJson {
  return {
    outcome: rules.outcome,
    reasons: rules.reasons.map((reason) => ({ reason, meaning: REASONS[reason] })),
    order_value: amount(rules.orderValue),
    computed_value: amount(rules.computedValue),
    claimed_value: amount(rules.claimedValue),
    value_equals_sum: rules.valueEqualsSum,
    fields: rules.fields.map(({ field, present, correctType, reasons }) => ({
      field,
      present,
      correct_type: correctType,
      reasons,
    })),
  };
}

function modelJson({ name, answer, fromCache, personalDataSent }: ModelVerdict): ModelVerdictJson {
  const { fixes: _, ...said } = answer;
  return { name, ...said, from_cache: fromCache, personal_data_sent: personalDataSent };
}

function fixJson({ changes, order, wouldBe, apply }: ProposedFix): ProposedFixJson {
  const call = 'position' in apply ? apply : null;
  return {
    by: [...new Set(changes.map(({ by }) => by))],
    changes,
    order,
    would_be: { outcome: wouldBe.outcome, reasons: wouldBe.reasons, order_value: amount(wouldBe.orderValue) },
    apply: call && { method: 'POST', path: `/order-events/${call.position}/retry`, body: { order } },
    apply_reason: 'reason' in apply ? apply.reason : null,
  };
}

function amount(cents: Cents | null): number | null {
  return cents === null ? null : decimalOf(cents);
}
