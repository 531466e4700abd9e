import { ApiProperty } from '@nestjs/swagger';
import type { Erased } from './personal-data.js';

/** Answer of `DELETE /api/v1/users/{user_id}/personal-data`. */
export class ErasureJson {
  @ApiProperty({ example: 'U042' })
  user_id!: string;

  @ApiProperty({
    type: 'object',
    additionalProperties: { type: 'integer' },
    description: 'How many records of each kind were changed by this call; 0 where nothing was left to erase',
    example: { order_events: 12, repairs: 1 },
  })
  erased!: Erased;
}
