import { ApiExtraModels, ApiProperty } from '@nestjs/swagger';
import { IsUUID } from 'class-validator';
import { FinishedRunJson, RunJson } from '../platform/http/run-json.js';

/** Which verification of the ledger is meant. */
export class LedgerVerificationPath {
  @ApiProperty({
    format: 'uuid',
    description: 'As in the `Location` of a 202',
    example: '7b0f6a52-6f3c-4c5e-9a0e-0f6f3f5d2b11',
  })
  @IsUUID('all', { message: 'must be the id of a verification' })
  id!: string;
}

/** How a verification of the ledger ended. */
export class LedgerVerificationReport extends FinishedRunJson {
  @ApiProperty({ description: 'Whether every entry is what was appended', example: true })
  verified!: boolean;

  @ApiProperty({ type: 'integer', description: 'The last entry that the ledger had when it began', example: 1088 })
  position!: number;

  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'The first entry that was changed, or that is missing; null where there is none',
    example: null,
  })
  first_bad_position!: number | null;
}

/** A verification of the ledger that has no result. */
@ApiExtraModels(LedgerVerificationReport)
export class LedgerVerificationProgress extends RunJson {
  @ApiProperty({ type: 'integer', description: 'Entries hashed', example: 20_000 })
  override done!: number;
}
