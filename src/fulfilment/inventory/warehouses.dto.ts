import { ApiProperty } from '@nestjs/swagger';
import { Length, Matches } from 'class-validator';
import { WarehouseCode } from './catalogue.dto.js';

/** Path of one warehouse. */
export class WarehousePath {
  @WarehouseCode()
  code!: string;
}

/** Body of `PUT /api/v1/warehouses/{code}`. */
export class WarehouseRequest {
  @ApiProperty({ maxLength: 200, example: 'Hall 3, east coast' })
  @Matches(/^\P{C}+$/u, { message: 'must be text in one line' })
  @Length(1, 200, { message: 'must have 1 to 200 characters' })
  name!: string;
}

/** A place that products lie at. */
export class WarehouseJson {
  @ApiProperty({ example: 'EAST' })
  code!: string;

  @ApiProperty({ example: 'Hall 3, east coast' })
  name!: string;
}
