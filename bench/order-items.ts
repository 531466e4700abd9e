/** How many products there are that orders are spread over. */
export const PRODUCTS = 500;

/** The n-th product's SKU, from 0; all of one length, in the order of their numbers. */
export function skuOf(n: number): string {
  return `BENCH-${String(n).padStart(4, '0')}`;
}

/** The two products of the n-th order: by SKU, and so that orders placed at about the same time seldom share one. */
export function skusOfOrder(n: number): string[] {
  const one = (n * 7) % PRODUCTS;
  const other = (one + 1 + ((n * 13) % (PRODUCTS - 1))) % PRODUCTS;
  return [one, other].sort((a, b) => a - b).map(skuOf);
}
