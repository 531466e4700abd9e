import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import { IsIn, IsObject, IsRFC3339, Length, Matches, ValidateIf, ValidateNested } from 'class-validator';
import { BodyMoney } from '../../platform/http/validation.js';
import { decimalOf, MAX_CENTS } from '../../domain/money.js';

const TYPES = ['charge.captured', 'charge.declined'] as const;
const PRINTABLE = /^[\x21-\x7e]{1,128}$/;

/** The charge that an event is about. */
export class ChargeEventData {
  @ApiProperty({ description: 'The key that it was asked for with', example: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11' })
  @Matches(PRINTABLE, { message: 'must be 1 to 128 printable characters without a space' })
  charge_key!: string;

  @ApiProperty({ example: 'ORD-5F3C6F0E2A4F7B1C' })
  @Matches(PRINTABLE, { message: 'must be 1 to 128 printable characters without a space' })
  order_id!: string;

  @ApiProperty({ example: 12.99 })
  @BodyMoney(decimalOf(MAX_CENTS))
  amount!: number;

  @ApiPropertyOptional({ description: 'Why it was declined', example: 'declined_by_issuer' })
  @ValidateIf((_, value) => value !== undefined)
  @Matches(/^\P{C}+$/u, { message: 'must be text in one line' })
  @Length(1, 200, { message: 'must have 1 to 200 characters' })
  reason?: string;
}

/** Body of `POST /api/v1/payments/webhook`. */
export class ChargeEvent {
  @ApiProperty({ enum: TYPES, example: 'charge.captured' })
  @IsIn(TYPES, { message: `must be ${TYPES.join(' or ')}` })
  type!: (typeof TYPES)[number];

  @ApiProperty({ description: 'When it happened', format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  @IsRFC3339({ message: 'must be a date and time such as 2026-01-31T12:00:00Z' })
  timestamp!: string;

  @ApiProperty({ type: ChargeEventData })
  @ValidateNested()
  @Type(() => ChargeEventData)
  @IsObject({ message: 'must be an object' })
  data!: ChargeEventData;
}
