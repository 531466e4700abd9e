import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsBoolean } from 'class-validator';
import { type Role, ROLES } from '../../shared/access.js';
import type { Planted, PlantedAccount, PlantedThing } from './demo-data.js';

/** Body of `POST /api/v1/system/demo-data`; may be left out. */
export class DemoDataRequest {
  @ApiPropertyOptional({
    description:
      'Give the demo accounts that are there already another password, too: their log-ins and API keys end. Accounts ' +
      'that demo data did not make keep theirs.',
    type: Boolean,
    default: false,
  })
  @IsBoolean({ message: 'must be true or false' })
  reset_passwords = false;
}

/** An account of demo data. */
export class DemoAccountJson {
  @ApiProperty({ example: 'vendor@demo.example' })
  email!: string;

  @ApiProperty({ enum: ROLES, example: 'vendor' })
  role!: Role;

  @ApiProperty({
    enum: ['made', 'there', 'reset', 'taken'],
    description:
      '`there`: it was there already. `reset`: so it was, and has another password now. `taken`: the address belongs to an ' +
      'account that demo data did not make; it is left alone.',
    example: 'made',
  })
  state!: PlantedAccount['state'];

  @ApiProperty({
    type: String,
    nullable: true,
    description: 'Where this call set one; shown this once',
    example: 'demo_Zk9…',
  })
  password!: string | null;

  @ApiProperty({ type: String, nullable: true, description: 'What is special about it', example: null })
  note!: string | null;
}

/** A warehouse of demo data. */
export class DemoWarehouseJson {
  @ApiProperty({ example: 'EAST' })
  code!: string;

  @ApiProperty({ enum: ['made', 'there'], example: 'made' })
  state!: PlantedThing['state'];
}

/** A product of demo data. */
export class DemoProductJson {
  @ApiProperty({ example: 'A123' })
  sku!: string;

  @ApiProperty({ enum: ['made', 'there'], example: 'made' })
  state!: PlantedThing['state'];
}

/** Answer of `POST /api/v1/system/demo-data`: what demo data consists of, and what of it was there already. */
export class DemoDataJson {
  @ApiProperty({ type: [DemoAccountJson] })
  accounts!: DemoAccountJson[];

  @ApiProperty({ type: [DemoWarehouseJson] })
  warehouses!: DemoWarehouseJson[];

  @ApiProperty({ type: [DemoProductJson] })
  products!: DemoProductJson[];
}

/** What was made and found in the form of the API. */
export function demoDataJson({ accounts, warehouses, products }: Planted): DemoDataJson {
  return {
    accounts: accounts.map(({ email, role, state, password, note }) => ({ email, role, state, password, note })),
    warehouses: warehouses.map(({ id, state }) => ({ code: id, state })),
    products: products.map(({ id, state }) => ({ sku: id, state })),
  };
}
