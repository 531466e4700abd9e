import { grouped, membersOf, picked } from '../report/columns.rules.js';
import type { PassedOrders } from '../report/passed-orders.rules.js';
import { rounded } from './rounding.rules.js';
import { factorOf, scoreOf, spreadOf, STANDS_OUT } from './spread.rules.js';
import { MostStriking, type Stepwise, type SuspectsFound } from './anomalies.rules.js';

/** Fewer orders don't tell what a product costs. */
const MIN_ORDERS = 10;
/** Discounts, and retail beside wholesale prices, are within it. */
const MIN_FACTOR = 3;
/** What is given away has no logarithm: it counts as a cent. */
const MIN_PRICE = 0.01;
const LINES_PER_STEP = 50_000;

/**
 * Orders with a price that is far from what the product costs otherwise; each once, by its most striking price. What a product
 * costs is told by one line of each order: an order with thousands of them must not say it alone.
 */
export function* priceDeviations(orders: PassedOrders, most: number): Stepwise<SuspectsFound> {
  const products = grouped(orders.lineProduct.values(), orders.products.size);
  const prices = orders.linePrice.values();
  const orderOf = orders.lineOrder.values();
  /** With logarithms. */
  const comparable = prices.map((price) => Math.max(MIN_PRICE, price));
  const medians = new Float64Array(orders.products.size);
  const ordersWith = new Uint32Array(orders.products.size);
  /** Of each order the score of its most striking line, 0 where no line stands out, and which it is. */
  const scores = new Float64Array(orders.size);
  const lines = new Uint32Array(orders.size);
  yield;
  let sinceStep = 0;
  for (let product = 0; product < orders.products.size; product++) {
    const ofProduct = membersOf(products, product);
    const oncePerOrder = ofProduct.filter((line, i) => i === 0 || orderOf[line] !== orderOf[ofProduct[i - 1]!]);
    if (oncePerOrder.length >= MIN_ORDERS) {
      ordersWith[product] = oncePerOrder.length;
      const spread = spreadOf(picked(comparable, oncePerOrder).sort());
      medians[product] = Math.exp(spread.median);
      for (const line of ofProduct) {
        const score = scoreOf(comparable[line]!, spread);
        const order = orderOf[line]!;
        if (Math.abs(score) <= Math.max(STANDS_OUT, Math.abs(scores[order]!))) continue;
        if (factorOf(comparable[line]!, spread) < MIN_FACTOR) continue;
        scores[order] = score;
        lines[order] = line;
      }
    }
    if ((sinceStep += ofProduct.length) < LINES_PER_STEP) continue;
    sinceStep = 0;
    yield;
  }

  const striking = new MostStriking(most, orders.firstNew);
  for (let order = 0; order < scores.length; order++) {
    const score = scores[order]!;
    if (score === 0) continue;
    striking.add(Math.abs(score), order, () => {
      const product = orders.lineProduct.values()[lines[order]!]!;
      const among = ordersWith[product]!;
      const product_id = orders.products.textOf(product);
      const price_per_unit = prices[lines[order]!]!;
      const median = rounded(medians[product]!, 4);
      const explanation =
        `The price ${price_per_unit} of ${product_id} is far ${score < 0 ? 'below' : 'above'} ${median}, ` +
        `the median of the ${among} orders with it.`;
      const evidence = { product_id, price_per_unit, median, score: rounded(score, 1), orders: among };
      return orders.suspect(order, 'price_deviation', explanation, evidence);
    });
  }
  return striking.found();
}
