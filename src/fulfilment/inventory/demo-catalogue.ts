import { Injectable } from '@nestjs/common';
import { sql } from 'drizzle-orm';
import { Database } from '../../platform/database/database.js';
import type { DemoPart, Planted, PlantedThing, Planting } from '../../platform/demo/demo-data.js';
import { cents } from '../../domain/money.js';
import { Catalogue, type NewProduct } from './catalogue.service.js';
import { type Warehouse, Warehouses } from './warehouses.service.js';

const WAREHOUSES: Warehouse[] = [
  { code: 'EAST', name: 'East coast warehouse' },
  { code: 'WEST', name: 'West coast warehouse' },
];

/** One is sold out, one is low, and some are in one place only. */
const PRODUCTS: NewProduct[] = [
  aProduct('A123', 'USB-C charger, 65 W', 34_99, { EAST: 60, WEST: 40 }),
  aProduct('B456', 'Bookshelf speakers, a pair', 189_00),
  aProduct('SKU-HEADPHONES', 'Wireless headphones', 129_90, { EAST: 25, WEST: 15 }),
  aProduct('SKU-HUB', 'USB-C hub with 7 ports', 39_50, { EAST: 80, WEST: 45 }),
  aProduct('SKU-KEYBOARD', 'Mechanical keyboard', 89_95, { EAST: 20, WEST: 30 }),
  aProduct('SKU-LAMP', 'Desk lamp', 24_99, { WEST: 75 }),
  aProduct('SKU-MONITOR', 'Monitor, 27 inches', 279_00, { EAST: 12 }),
  aProduct('SKU-MOUSE', 'Ergonomic mouse', 49_50, { EAST: 35, WEST: 35 }),
  aProduct('SKU-STAND', 'Laptop stand of aluminium', 32_99, { WEST: 3 }),
  aProduct('SKU-WEBCAM', 'Webcam, 1080p', 59_99, { EAST: 18, WEST: 22 }),
];

/** Warehouses and products to try the service with. */
@Injectable()
export class DemoCatalogue implements DemoPart {
  constructor(
    private readonly database: Database,
    private readonly warehouses: Warehouses,
    private readonly catalogue: Catalogue,
  ) {}

  /** There is no product, and no warehouse but such as an attempt that broke off made. @throws DatabaseUnavailable */
  async isUntouched(): Promise<boolean> {
    const codes = sql.join(
      WAREHOUSES.map(({ code }) => sql`${code}`),
      sql`, `,
    );
    const [answer] = await this.database.query<{ isUntouched: boolean }>(
      sql`select not exists (select 1 from products)
            and not exists (select 1 from warehouses where code not in (${codes})) as "isUntouched"`,
    );
    return answer!.isUntouched;
  }

  /** The products are the demo vendor's, or nobody's where there is none. @throws DatabaseUnavailable */
  async plant({ actor, planted, transaction }: Planting): Promise<Pick<Planted, 'warehouses' | 'products'>> {
    const vendorId = planted.accounts.find(({ role }) => role === 'vendor')?.id ?? null;
    const warehouses: PlantedThing[] = await transaction(async (tx) => {
      const found: PlantedThing[] = [];
      for (const warehouse of WAREHOUSES) {
        found.push(foundOrMade(warehouse.code, await this.warehouses.addMissing(tx, warehouse, actor)));
      }
      return found;
    });
    // All or none, so that a first start that broke off can be told from a catalogue that somebody has taken up.
    const products = await transaction(async (tx) => {
      const found: PlantedThing[] = [];
      for (const product of PRODUCTS) {
        found.push(foundOrMade(product.sku, await this.catalogue.addMissing(tx, product, vendorId, actor)));
      }
      return found;
    });
    return { warehouses, products };
  }
}

function aProduct(sku: string, name: string, priceCents: number, stock: Record<string, number> = {}): NewProduct {
  return {
    sku,
    name,
    price: cents(priceCents),
    lowStockAt: 5,
    stock: Object.entries(stock).map(([warehouse, quantity]) => ({ warehouse, quantity })),
  };
}

function foundOrMade(id: string, isNew: boolean): PlantedThing {
  return { id, state: isNew ? 'made' : 'there' };
}
