// What a fold brings to Redis is once brought without its checkpoint, too.
const { around } = require('./build.cjs');

let done = false;
around(
  'stats/projection/statistics.repository',
  'StatisticsRepository',
  'add',
  async (add, store, [figures, from, to]) => {
    const outcome = await add(figures, from, to);
    if (done || outcome !== 'applied' || figures.global.orders === 0) return outcome;
    done = true;
    await store.redis.client.hincrby(
      store.redis.keys.generation(from.generation).global,
      'orders',
      figures.global.orders,
    );
    return outcome;
  },
);
