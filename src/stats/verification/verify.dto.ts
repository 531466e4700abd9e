import { ApiExtraModels, ApiProperty } from '@nestjs/swagger';
import { IsUUID } from 'class-validator';
import { FinishedRunJson, RunJson } from '../../platform/http/run-json.js';

/** Which verification is meant. */
export class VerificationPath {
  @ApiProperty({
    format: 'uuid',
    description: 'As in the `Location` of a 202',
    example: '7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11',
  })
  @IsUUID('all', { message: 'must be the id of a verification' })
  id!: string;
}

const storedValue = {
  oneOf: [{ type: 'number' }, { type: 'string' }],
  nullable: true,
  description:
    'Money is decimal, null is nothing, a text is what was found instead of a number or says of what kind a key is',
};

/** A value in Redis that is not what the ledger says. */
export class VerificationMismatch {
  @ApiProperty({ description: 'Without prefix and generation', example: 'user:U042' })
  key!: string;

  @ApiProperty({
    type: String,
    nullable: true,
    description: 'Of a hash the field, of a ranking the member; null where it is about the key itself',
    example: 'revenue',
  })
  field!: string | null;

  @ApiProperty({ ...storedValue, example: 1834.5 })
  expected!: number | string | null;

  @ApiProperty({ ...storedValue, example: 1834.51 })
  found!: number | string | null;
}

/** How a verification ended. */
export class VerificationReport extends FinishedRunJson {
  @ApiProperty({ description: 'Whether Redis holds exactly what the ledger says', example: true })
  verified!: boolean;

  @ApiProperty({ type: 'integer', description: 'The last ledger entry that was taken into account', example: 1088 })
  position!: number;

  @ApiProperty({ type: 'integer', description: 'How many ledger entries the figures cover', example: 1088 })
  entries!: number;

  @ApiProperty({ type: 'integer', example: 312 })
  users_checked!: number;

  @ApiProperty({ type: 'integer', example: 7 })
  months_checked!: number;

  @ApiProperty({
    type: 'integer',
    description: 'By how many cents money in Redis is off, every stored copy by itself',
    example: 0,
  })
  drift_cents!: number;

  @ApiProperty({ type: 'integer', example: 0 })
  mismatch_count!: number;

  @ApiProperty({ type: [VerificationMismatch], description: 'The first 20' })
  mismatches!: VerificationMismatch[];
}

/** A verification that has no result. */
@ApiExtraModels(VerificationReport)
export class VerificationProgress extends RunJson {
  @ApiProperty({ type: 'integer', description: 'Ledger entries read and values compared', example: 20_000 })
  override done!: number;
}
