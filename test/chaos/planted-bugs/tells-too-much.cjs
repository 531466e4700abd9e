// Some answers have an order more than was counted.
const { around } = require('./build.cjs');

let answers = 0;
around('stats/api/live-statistics.service', 'LiveStatistics', 'global', async (global) => {
  const figures = await global();
  return ++answers % 20 === 0 ? { ...figures, orders: figures.orders + 1 } : figures;
});
