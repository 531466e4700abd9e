import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsInt, IsNumber, IsOptional, Matches, Max, Min, ValidateBy } from 'class-validator';
import { instantOf, RUN_ID } from './sample-run.rules.js';

/** What `POST /produce` may be asked for; every field may be left out. */
export class ProduceRequest {
  @ApiPropertyOptional({ description: 'How many orders.', type: 'integer', minimum: 1, maximum: 10_000, default: 10 })
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(10_000, { message: 'must be at most 10000' })
  count = 10;

  @ApiPropertyOptional({
    description: 'Share of orders that are wrong in some way.',
    type: 'number',
    minimum: 0,
    maximum: 1,
    default: 0.2,
  })
  @IsNumber({}, { message: 'must be a number' })
  @Min(0, { message: 'must be at least 0' })
  @Max(1, { message: 'must be at most 1' })
  invalid_rate = 0.2;

  @ApiPropertyOptional({
    description: 'Fixes the content of the orders; by chance if left out.',
    type: 'integer',
    example: 7,
  })
  @IsOptional()
  @IsInt({ message: 'must be a whole number' })
  @Min(Number.MIN_SAFE_INTEGER, { message: `must be at least ${Number.MIN_SAFE_INTEGER}` })
  @Max(Number.MAX_SAFE_INTEGER, { message: `must be at most ${Number.MAX_SAFE_INTEGER}` })
  seed?: number;

  @ApiPropertyOptional({
    description: 'Stands in every order id, in upper case, so that runs do not collide; by chance if left out.',
    pattern: RUN_ID.source,
    example: 'demo-1',
  })
  @IsOptional()
  @Matches(RUN_ID, { message: 'must be 1 to 32 letters, digits, - or _' })
  run_id?: string;

  @ApiPropertyOptional({
    description: 'The orders are of the 180 days up to this time; now if left out. Without an offset it is UTC.',
    format: 'date-time',
    example: '2026-01-31T12:00:00Z',
  })
  @IsOptional()
  @ValidateBy({
    name: 'instant',
    validator: {
      validate: (text) => typeof text === 'string' && !Number.isNaN(instantOf(text)),
      defaultMessage: () => 'must be an ISO 8601 date and time such as 2026-01-31T12:00:00Z',
    },
  })
  as_of?: string;
}

/** An order that is on its way, valid or not, with its values as they stand in the event. */
export class ProducedOrder {
  @ApiProperty({ example: 'ORD-DEMO-1-000001' })
  order_id!: string;

  @ApiProperty({ type: String, nullable: true, example: 'U042', description: 'null where the event has none' })
  user_id!: string | null;

  @ApiProperty({ type: Number, nullable: true, example: 129.9, description: 'null where the event has none' })
  order_value!: number | null;

  @ApiProperty({ example: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11', description: 'The id SQS gave the message' })
  message_id!: string;
}

/** An order that the queue did not take. */
export class UnsentOrder {
  @ApiProperty({ example: 'ORD-DEMO-1-000002' })
  order_id!: string;

  @ApiProperty({ example: 'InternalError', description: "SQS's code" })
  code!: string;

  @ApiProperty({ example: 'We encountered an internal error. Please try again.' })
  message!: string;
}

export class ProduceAnswer {
  @ApiProperty({ example: 'Produced 10 orders' })
  message!: string;

  @ApiProperty({ type: [ProducedOrder] })
  orders!: ProducedOrder[];

  @ApiPropertyOptional({ type: [UnsentOrder], description: 'Only if some orders could not be sent' })
  failed?: UnsentOrder[];
}
