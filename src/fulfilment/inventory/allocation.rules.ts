/** What an order wants of a product. */
export interface WantedLine {
  sku: string;
  quantity: number;
}

/** What can be promised of a product at one place. */
export interface AvailablePlace {
  sku: string;
  warehouse: string;
  available: number;
}

/** What is to be taken from where. */
export interface Allocation {
  sku: string;
  warehouse: string;
  quantity: number;
}

/** A line that there is not enough for. */
export interface Shortage {
  sku: string;
  requested: number;
  available: number;
}

/**
 * Decides where each line is taken from: from as few places as possible, those that have most first. All or nothing: where
 * a line is short, nothing is taken.
 */
export function allocate(
  lines: readonly WantedLine[],
  places: readonly AvailablePlace[],
): { allocations: Allocation[]; shortages: Shortage[] } {
  const allocations: Allocation[] = [];
  const shortages: Shortage[] = [];
  for (const { sku, quantity } of lines) {
    const stocked = places.filter((place) => place.sku === sku && place.available > 0).toSorted(byMost);
    const available = stocked.reduce((sum, place) => sum + place.available, 0);
    if (available < quantity) shortages.push({ sku, requested: quantity, available });
    let missing = quantity;
    for (const place of stocked) {
      const taken = Math.min(missing, place.available);
      if (taken > 0) allocations.push({ sku, warehouse: place.warehouse, quantity: taken });
      missing -= taken;
    }
  }
  return shortages.length > 0 ? { allocations: [], shortages } : { allocations, shortages };
}

function byMost(one: AvailablePlace, other: AvailablePlace): number {
  return other.available - one.available || (one.warehouse < other.warehouse ? -1 : 1);
}
