import { type GivenEntry, outcomeOf, passedOrders, times } from '../../../test/support/reported-entries.js';
import { aLine } from '../../../test/support/validated-messages.js';
import { cents } from '../../domain/money.js';
import { bursts } from './bursts.rules.js';
import { nearDuplicates } from './near-duplicates.rules.js';
import type { PassedOrders } from '../report/passed-orders.rules.js';
import { priceDeviations } from './price-deviations.rules.js';
import { sharedAddresses } from './shared-addresses.rules.js';
import { MostStriking, type Stepwise, type SuspectsFound } from './anomalies.rules.js';
import { oddTimestampPrecision } from './timestamp-precision.rules.js';
import { overallValueOutliers, userValueOutliers } from './value-outliers.rules.js';

type Detector = (orders: PassedOrders, most: number) => Stepwise<SuspectsFound>;

const inBursts: Detector = (orders, most) => bursts(orders, orders.timelines(), most);
const repeated: Detector = (orders, most) => nearDuplicates(orders, orders.timelines(), most);

function found(detector: Detector, entries: GivenEntry[], most = 20): SuspectsFound {
  return outcomeOf(detector(passedOrders(entries), most));
}

function positions(detector: Detector, entries: GivenEntry[]): number[] {
  const { count, items } = found(detector, entries);
  expect(items).toHaveLength(count);
  return items.map(({ position }) => position);
}

const worth = (value: number, given: GivenEntry = {}): GivenEntry => ({ value: cents(value), ...given });
/** After noon. */
const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 15, 12, 0, seconds)).toISOString();

describe('A value far outside those of the user', () => {
  /** From 8.00 to 12.00. */
  const usual = (count: number, userId = 'U1') => times(count, (i) => worth(800 + (i % 5) * 100, { userId }));

  it('is told with its evidence', () => {
    const { items } = found(userValueOutliers, [...usual(10), worth(100_000)]);
    expect(items).toEqual([
      {
        position: 11,
        orderId: 'ORD11',
        userId: 'U1',
        kind: 'user_value_outlier',
        explanation: 'The value 1000 is 100 times above 10, the median of the 11 orders of this user that count.',
        evidence: { value: 1_000, median: 10, factor: 100, score: expect.any(Number), orders: 11 },
      },
    ]);
  });

  it('may be too low', () => expect(positions(userValueOutliers, [...usual(10), worth(50)])).toEqual([11]));

  it('is none in so few orders', () => expect(positions(userValueOutliers, [...usual(8), worth(100_000)])).toEqual([]));

  it('is none within ten times the median', () =>
    expect(positions(userValueOutliers, [...usual(10), worth(9_900)])).toEqual([]));

  it('is none where the user orders for all sorts of values', () => {
    const varied = times(20, (i) => worth(Math.round(100 * 1.5 ** i)));
    expect(positions(userValueOutliers, varied)).toEqual([]);
  });

  it('is none because a few orders of the user are alike where other users are not', () => {
    const others = times(5, (user) =>
      times(10, (i) => worth(Math.round(100 * 2.5 ** i), { userId: `U-${user}` })),
    ).flat();
    expect(positions(userValueOutliers, [...others, ...usual(10), worth(12_000)])).toEqual([]);
    expect(positions(userValueOutliers, [...usual(10), worth(12_000)])).toEqual([11]);
  });
});

describe('A value far outside all', () => {
  const usual = (count: number) => times(count, (i) => worth(800 + (i % 5) * 100, { userId: `U${i}` }));

  it('is found, the furthest first', () =>
    expect(positions(overallValueOutliers, [...usual(30), worth(100_000), worth(1)])).toEqual([32, 31]));

  it('is none among few orders', () =>
    expect(positions(overallValueOutliers, [...usual(28), worth(100_000)])).toEqual([]));

  it('is found where nearly all are alike', () =>
    expect(positions(overallValueOutliers, [...times(40, () => worth(1_000)), worth(100_000)])).toEqual([41]));
});

describe('Suspects among new orders', () => {
  /** Of which the last came last and has the earlier time. */
  const late = (count: number): PassedOrders => {
    const orders = passedOrders([...times(count, (i) => ({ timestamp: at(100 + i) })), { timestamp: at(99) }]);
    orders.firstNew = count;
    return orders;
  };

  it('are those of which one is new, whichever of them is told', () => {
    expect(outcomeOf(repeated(late(1), 20)).items).toMatchObject([{ position: 1 }]);
    expect(outcomeOf(inBursts(late(6), 20)).items).toMatchObject([{ position: 6 }]);
  });

  it('are none where all were there before', () => {
    const orders = late(6);
    orders.firstNew = orders.size;
    expect([repeated, inBursts].map((detector) => outcomeOf(detector(orders, 20)).count)).toEqual([0, 0]);
  });
});

describe('A price far from what the product costs', () => {
  const selling = (price: string, product_id = 'P1'): GivenEntry => ({
    lines: [aLine({ product_id, price_per_unit: price })],
  });
  const usual = (count: number) => times(count, () => selling('5'));

  it('is not told by one order with many lines', () => {
    const flooding = { lines: times(100, () => aLine({ product_id: 'P1', price_per_unit: '1' })) };
    expect(positions(priceDeviations, [flooding, ...usual(12)])).toEqual([1]);
  });

  it('is told with its evidence', () => {
    const { items } = found(priceDeviations, [...usual(12), selling('50')]);
    expect(items).toEqual([
      {
        position: 13,
        orderId: 'ORD13',
        userId: 'U1',
        kind: 'price_deviation',
        explanation: 'The price 50 of P1 is far above 5, the median of the 13 orders with it.',
        evidence: { product_id: 'P1', price_per_unit: 50, median: 5, score: expect.any(Number), orders: 13 },
      },
    ]);
  });

  it.each(['0.5', '0'])('may be too low: %s', (price) =>
    expect(positions(priceDeviations, [...usual(12), selling(price)])).toEqual([13]),
  );

  it.each([
    ['a discount', [...usual(12), selling('2.5')]],
    ['of a product with few lines', [...usual(8), selling('50')]],
    ['of another product', [...usual(12), selling('50', 'P2')]],
    ['where every fourth is given away', times(16, (i) => selling(i % 4 === 0 ? '0' : '5'))],
    ['where every fourth is like it', times(16, (i) => selling(i % 4 === 0 ? '50' : '5'))],
  ])('is none: %s', (_, entries) => expect(positions(priceDeviations, entries)).toEqual([]));

  it('makes an order a suspect once, by the line that stands out most', () => {
    const both = times(12, () => ({
      lines: [aLine({ price_per_unit: '5' }), aLine({ product_id: 'P2', price_per_unit: '5' })],
    }));
    const lines = [aLine({ price_per_unit: '50' }), aLine({ product_id: 'P2', price_per_unit: '500' })];
    const { count, items } = found(priceDeviations, [...both, { lines }]);
    expect(count).toBe(1);
    expect(items[0]!.evidence).toMatchObject({ product_id: expect.stringMatching(/^P[12]$/) });
  });
});

describe('An address of many users', () => {
  const homes = (count: number) => times(count, (i) => ({ userId: `U-${i}`, address: `${i} Home Street` }));
  const shared = (users: number, address = '7 Box Lane, Town') =>
    times(users, (i) => ({ userId: `U-BOX-${i}`, address }));

  it('is told once, at its latest order, masked', () => {
    const { count, items } = found(sharedAddresses, [...homes(10), ...shared(6), ...shared(1)]);
    expect({ count, items }).toEqual({
      count: 1,
      items: [
        {
          position: 17,
          orderId: 'ORD17',
          userId: 'U-BOX-0',
          kind: 'shared_address',
          explanation: 'Orders of 6 users go to one address; to the median of 11 addresses, of 1.',
          evidence: {
            address: '7 b** l*** t***',
            users: 6,
            orders: 7,
            median_users: 1,
            positions: [17, 16, 15, 14, 13, 12, 11],
          },
        },
      ],
    });
  });

  it('has at least five times as many', () =>
    expect(positions(sharedAddresses, [...homes(10), ...shared(5)])).toEqual([15]));

  it.each([
    ['of a household', [...homes(10), ...shared(4)]],
    ['of one user with many orders', [...homes(10), ...times(20, () => ({ address: '7 Box Lane' }))]],
    ['that is a country', [...homes(10), ...shared(50, 'United Kingdom')]],
    ['among a few addresses', [...homes(8), ...shared(50)]],
    ['where all are shared', times(200, (i) => ({ userId: `U${i}`, address: `${i % 12} Office Park` }))],
  ])('is none: %s', (_, entries) => expect(positions(sharedAddresses, entries)).toEqual([]));
});

describe('A burst', () => {
  const every = (seconds: number, count: number) => times(count, (i) => ({ timestamp: at(i * seconds) }));

  it('is told once, at its latest order, in whatever order they came', () => {
    const { count, items } = found(inBursts, every(10, 6).reverse());
    expect({ count, items }).toEqual({
      count: 1,
      items: [
        {
          position: 1,
          orderId: 'ORD1',
          userId: 'U1',
          kind: 'burst',
          explanation: '6 orders of this user lie within 50 s.',
          evidence: { orders: 6, seconds: 50, from: at(0), to: at(50), positions: [6, 5, 4, 3, 2, 1] },
        },
      ],
    });
  });

  it('is one as long as it goes on, and another after a pause', () => {
    const { items } = found(inBursts, [...every(5, 30), ...times(6, (i) => ({ timestamp: at(900 + i) }))]);
    expect(items.map(({ evidence }) => evidence['orders'])).toEqual([30, 6]);
    expect(items[0]!.evidence['positions']).toHaveLength(10);
  });

  it.each([
    ['five orders', every(1, 5)],
    ['one every twelve seconds', every(12, 30)],
    ['of several users', every(1, 20).map((entry, i) => ({ ...entry, userId: `U${i % 4}` }))],
    ['of dates without a time', times(20, () => ({ timestamp: '2026-01-15' }))],
    ['of dates at midnight', times(20, () => ({ timestamp: '2026-01-15T00:00:00Z' }))],
  ])('is none: %s', (_, entries) => expect(positions(inBursts, entries)).toEqual([]));
});

describe('An odd precision', () => {
  const usual = (count: number) => times(count, (i) => ({ timestamp: at(i * 61) }));
  const seconds = (count: number) => times(count, (i) => ({ timestamp: at(i * 61).replace('.000', '') }));

  it('is told with its evidence', () => {
    const { items } = found(oddTimestampPrecision, [...seconds(29), { timestamp: '2026-01-15T12:34:56.123456Z' }]);
    expect(items).toEqual([
      {
        position: 30,
        orderId: 'ORD30',
        userId: 'U1',
        kind: 'odd_timestamp_precision',
        explanation:
          'The timestamp has a rare form: with 6 digits after the second, as 1 of 30 orders have, ' +
          'of which 29 have it to the second.',
        evidence: {
          form: 'with 6 digits after the second',
          orders_with_form: 1,
          usual_form: 'to the second',
          usual_share: 0.9667,
        },
      },
    ]);
  });

  it.each(['2026-01-15', '2026-01-15T12:30Z', '2026-01-15T00:00:00Z', '2026-01-15T12:30:00.5Z'])(
    'is found: %s where all others are to the second',
    (timestamp) => expect(positions(oddTimestampPrecision, [...seconds(29), { timestamp }])).toEqual([30]),
  );

  it.each([
    ['in few orders', [...seconds(18), { timestamp: '2026-01-15' }]],
    ['where every tenth is like it', [...seconds(27), ...times(3, () => ({ timestamp: '2026-01-15' }))]],
    ['where nothing is usual', [...seconds(20), ...usual(20), { timestamp: '2026-01-15' }]],
    [
      'a midnight by chance',
      [...times(1_440, () => ({ timestamp: '2026-01-15T12:30Z' })), { timestamp: '2026-01-15T00:00Z' }],
    ],
    ['zeros that were left out', [...usual(1_000), { timestamp: '2026-01-15T12:30:00Z' }]],
  ])('is none: %s', (_, entries) => expect(positions(oddTimestampPrecision, entries)).toEqual([]));
});

describe('A near duplicate', () => {
  const first = { timestamp: at(0) };

  it('is told with the order before it', () => {
    const { items } = found(repeated, [first, { timestamp: at(95) }]);
    expect(items).toEqual([
      {
        position: 2,
        orderId: 'ORD2',
        userId: 'U1',
        kind: 'near_duplicate',
        explanation: 'The same user ordered the same items 95 s before, as ORD1.',
        evidence: { other_position: 1, other_order_id: 'ORD1', seconds_apart: 95, value: 10 },
      },
    ]);
  });

  it('may have its items in another order', () => {
    const lines = [aLine(), aLine({ product_id: 'P2', quantity: 1 })];
    expect(
      positions(repeated, [
        { ...first, lines },
        { timestamp: at(5), lines: lines.toReversed() },
      ]),
    ).toEqual([2]);
  });

  it('is compared with the one just before it, the closest first', () => {
    expect(
      positions(repeated, [first, { timestamp: at(300) }, { timestamp: at(320) }, { timestamp: at(920) }]),
    ).toEqual([3, 2, 4]);
  });

  it.each([
    ['of another user', { timestamp: at(5), userId: 'U2' }],
    ['with another quantity', { timestamp: at(5), lines: [aLine({ quantity: 3 })] }],
    ['of another product', { timestamp: at(5), lines: [aLine({ product_id: 'P2' })] }],
    ['at another price', { timestamp: at(5), lines: [aLine({ price_per_unit: '5.001' })] }],
    ['more than ten minutes later', { timestamp: at(601) }],
    ['on a date without a time', { timestamp: '2026-01-15', orderedAt: Date.parse(at(5)) }],
  ])('is none: %s', (_, other: GivenEntry) => expect(positions(repeated, [first, other])).toEqual([]));
});

it('Of many suspects the most striking are kept, of equals the later ones, and all are counted', () => {
  const striking = new MostStriking(3);
  const orders = passedOrders(times(6, () => ({})));
  for (const [index, score] of [1, 5, 2, 5, 1, 2].entries()) {
    striking.add(score, index, () => orders.suspect(index, 'burst', '', {}));
  }
  const { count, items } = striking.found();
  expect({ count, positions: items.map(({ position }) => position) }).toEqual({ count: 6, positions: [4, 2, 6] });
});
