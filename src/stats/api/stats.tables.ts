import type { CsvTable } from '../../platform/http/csv.js';
import type {
  DailyStats,
  DayTotals,
  MonthlyStats,
  MonthStats,
  MonthTotals,
  OrderCountPlace,
  ProductRankings,
  ProductSales,
  SpendPlace,
  TopUser,
  UserOfMonth,
  UserRankings,
} from './stats.dto.js';

/** A row of two rankings in one table; a cell that its ranking does not have is empty. */
type RankingRow = { ranking: 'total_spend' | 'total_order_count' } & Partial<SpendPlace & OrderCountPlace>;

/** A row of the products sold best. */
type ProductRow = { ranking: keyof ProductRankings } & ProductSales;

/** `GET /stats/top/{n}` as a table. */
export const TOP_USERS: CsvTable<TopUser[], TopUser> = {
  file: (_answer, { n }) => `top-${n}-users-by-spend`,
  columns: ['user_id', 'total_spend'],
  money: ['total_spend'],
  rows: (users) => users,
  example: [
    { user_id: 'U042', total_spend: 1834.5 },
    { user_id: 'U007', total_spend: 912.25 },
  ],
};

/** `GET /users` as a table: one ranking after the other. */
export const USER_RANKINGS: CsvTable<UserRankings, RankingRow> = {
  file: () => 'users-by-spend-and-orders',
  columns: ['ranking', 'position', 'user_id', 'total_spend', 'total_order_count'],
  money: ['total_spend'],
  rows: ({ total_spend_ranking, total_order_count_ranking }) => [
    ...total_spend_ranking.map((place) => ({ ranking: 'total_spend' as const, ...place })),
    ...total_order_count_ranking.map((place) => ({ ranking: 'total_order_count' as const, ...place })),
  ],
  example: {
    total_spend_ranking: [{ position: 1, user_id: 'U042', total_spend: 1834.5 }],
    total_order_count_ranking: [{ position: 1, user_id: 'U017', total_order_count: 23 }],
  },
};

/** `GET /stats/monthly` as a table. */
export const MONTHS: CsvTable<MonthlyStats, MonthTotals> = {
  file: ({ start, end }) => `months-${start}-to-${end}`,
  columns: ['month', 'total_orders', 'total_revenue', 'failed_orders'],
  money: ['total_revenue'],
  rows: ({ months }) => months,
  example: {
    start: '2025-12',
    end: '2026-01',
    months: [
      { month: '2025-12', total_orders: 0, total_revenue: 0, failed_orders: 0 },
      { month: '2026-01', total_orders: 240, total_revenue: 42110.75, failed_orders: 9 },
    ],
  },
};

/** The users of `GET /stats/monthly/{month}` as a table. */
export const USERS_OF_MONTH: CsvTable<MonthStats, UserOfMonth> = {
  file: ({ month }) => `users-of-${month}`,
  columns: ['user_id', 'order_count', 'total_spend', 'failed_order_count'],
  money: ['total_spend'],
  rows: ({ user_stats }) => user_stats,
  example: {
    month: '2026-01',
    total_orders: 240,
    total_revenue: 42110.75,
    failed_orders: 9,
    user_stats: [{ user_id: 'U042', order_count: 3, total_spend: 412.97, failed_order_count: 0 }],
    next_cursor: null,
  },
};

/** `GET /stats/daily` as a table. */
export const DAYS: CsvTable<DailyStats, DayTotals> = {
  file: ({ start, end }) => `days-${start}-to-${end}`,
  columns: ['day', 'total_orders', 'total_revenue', 'failed_orders'],
  money: ['total_revenue'],
  rows: ({ days }) => days,
  example: {
    start: '2026-01-30',
    end: '2026-01-31',
    days: [
      { day: '2026-01-30', total_orders: 0, total_revenue: 0, failed_orders: 0 },
      { day: '2026-01-31', total_orders: 8, total_revenue: 1403.2, failed_orders: 0 },
    ],
  },
};

/** `GET /stats/products` as a table: one ranking after the other. */
export const PRODUCTS: CsvTable<ProductRankings, ProductRow> = {
  file: () => 'products-by-revenue-and-quantity',
  columns: ['ranking', 'product_id', 'quantity', 'revenue'],
  money: ['revenue'],
  rows: ({ by_revenue, by_quantity }) => [
    ...by_revenue.map((product) => ({ ranking: 'by_revenue' as const, ...product })),
    ...by_quantity.map((product) => ({ ranking: 'by_quantity' as const, ...product })),
  ],
  example: {
    by_revenue: [{ product_id: 'P001', quantity: 480, revenue: 6235.2 }],
    by_quantity: [{ product_id: 'P002', quantity: 512, revenue: 5120 }],
  },
};
