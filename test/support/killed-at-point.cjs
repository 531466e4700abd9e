/**
 * Loaded into a service process before the service itself (`node --require`): kills it with SIGKILL at a named point, the
 * KILL_NTH time that it comes by there, as `kill -9` from outside would if it could aim. The service knows nothing of it.
 * With KILL_SIGNAL=SIGSTOP it is frozen instead.
 *
 * KILL_AT is one of the points below. `rebuild` counts the single requests to the ledger's database and to Redis that a
 * rebuild consists of, and kills before one of them. The points that say `holding` are within a transaction, once a
 * statement has locked something.
 */
const { AsyncLocalStorage } = require('node:async_hooks');
const { createRequire } = require('node:module');
const { isMainThread } = require('node:worker_threads');

// What runs in threads of the service is killed with it.
if (!isMainThread) return;

const { KILL_AT: point, KILL_NTH: nth, KILL_SIGNAL: signal = 'SIGKILL' } = process.env;
const service = createRequire(process.argv[1]);
service('reflect-metadata');

let left = Number(nth);

function passes() {
  if (--left === 0) process.kill(process.pid, signal);
}

/** Runs something before, and hands the call's promise to something after. */
function around(prototype, method, { before = () => undefined, after = () => undefined }) {
  const original = prototype[method];
  prototype[method] = function (...args) {
    before(...args);
    const result = original.apply(this, args);
    after(result);
    return result;
  };
}

const classOf = (module, name) => service(module)[name].prototype;
const once = (work) => work.then(passes, () => undefined);
/** When what was just called is on its way: appends gather for some turns of the event loop. */
const soon = () => setImmediate(() => setImmediate(() => setImmediate(() => setImmediate(passes))));

/** @param locks what the statement says that locks */
function holding(locks) {
  const { prototype } = service('./platform/database/database.js').Database;
  const { transaction } = prototype;
  prototype.transaction = function (work) {
    return transaction.call(this, (tx) =>
      work({
        query: async (statement) => {
          const rows = await tx.query(statement);
          if (locks.test(JSON.stringify(statement.queryChunks))) passes();
          return rows;
        },
      }),
    );
  };
}

const POINTS = {
  'holding the head': () => holding(/from ledger_head for update/),
  'holding stock': () => holding(/from stock[^]* for update/),
  'after receive': () =>
    around(classOf('./orders/consumer/order-intake.service.js', 'OrderIntake'), 'handle', { before: passes }),
  'before append': () => around(classOf('./ledger/ledger.repository.js', 'Ledger'), 'append', { before: passes }),
  'during append': () => around(classOf('./ledger/ledger.repository.js', 'Ledger'), 'append', { after: soon }),
  'after append': () => around(classOf('./ledger/ledger.repository.js', 'Ledger'), 'append', { after: once }),
  'before delete': () =>
    around(classOf('@aws-sdk/client-sqs', 'SQSClient'), 'send', {
      before: ({ constructor }) => constructor.name === 'DeleteMessageBatchCommand' && passes(),
    }),
  // The script is on its way to Redis: it may be done or not.
  'during projection': () =>
    around(classOf('./stats/projection/statistics.repository.js', 'StatisticsRepository'), 'add', {
      after: () => setImmediate(passes),
    }),
  'after projection': () =>
    around(classOf('./stats/projection/statistics.repository.js', 'StatisticsRepository'), 'add', { after: once }),
  rebuild: () => {
    const ofTheRebuild = new AsyncLocalStorage();
    const requests = classOf('./stats/rebuild/rebuild-requests.service.js', 'RebuildRequests');
    const { run } = requests;
    requests.run = function (request) {
      return ofTheRebuild.run(true, async () => {
        await run.call(this, request);
        process.stdout.write(`The rebuild came to its end after ${Number(nth) - left} steps\n`);
      });
    };
    const step = { before: () => ofTheRebuild.getStore() && passes() };
    for (const method of ['query', 'transaction']) {
      around(classOf('./platform/database/database.js', 'Database'), method, step);
    }
    around(classOf('./platform/redis/redis.js', 'Redis'), 'guarded', step);
  },
};

POINTS[point]();
