/**
 * Loaded into a service process like killed-at-point.cjs: makes it one that loses, miscounts or ends badly, for tests
 * that show that a check of the service would find that. PLANTED_BUG is one of the bugs below.
 */
const { createRequire } = require('node:module');
const { isMainThread } = require('node:worker_threads');

if (!isMainThread) return;

const service = createRequire(process.argv[1]);
service('reflect-metadata');

const classOf = (module, name) => service(module)[name].prototype;

const BUGS = {
  /** Messages are acknowledged, and only then put into the ledger. */
  'acknowledges first': () => {
    const intake = classOf('./orders/consumer/order-intake.service.js', 'OrderIntake');
    const { handle } = intake;
    const acknowledged = [];
    intake.handle = function (messages) {
      acknowledged.push(() => void handle.call(this, messages));
      return Promise.resolve(messages);
    };
    const client = classOf('@aws-sdk/client-sqs', 'SQSClient');
    const { send } = client;
    client.send = async function (command, ...rest) {
      const answer = await send.call(this, command, ...rest);
      if (command.constructor.name === 'DeleteMessageBatchCommand')
        for (const append of acknowledged.splice(0)) append();
      return answer;
    };
  },
  /** What a fold brings is added first, and only then the checkpoint is moved. */
  'adds before it moves': () => {
    const store = classOf('./stats/projection/statistics.repository.js', 'StatisticsRepository');
    const { emptyStatistics } = service('./stats/projection/statistics.rules.js');
    const { add } = store;
    store.add = async function (figures, from, to) {
      const outcome = await add.call(this, figures, from, { ...from, at: to.at });
      return outcome === 'applied' ? add.call(this, emptyStatistics(), from, to) : outcome;
    };
  },
  /** Messages are acknowledged at once, and put into the ledger some seconds later. */
  'stores later': () => {
    const intake = classOf('./orders/consumer/order-intake.service.js', 'OrderIntake');
    const { handle } = intake;
    intake.handle = function (messages) {
      setTimeout(() => handle.call(this, messages), 5_000).unref();
      return Promise.resolve(messages);
    };
  },
  /** Told to end, it does so without finishing what it has begun. */
  'ends at once': () => process.once('SIGTERM', () => process.exit(0)),
  /** Told to end, it goes on. */
  'does not end': () => require('../chaos/planted-bugs/does-not-end.cjs'),
  /** A rebuild puts figures into service and fills them in then; it dies in between. */
  'switches before it fills': () => {
    const store = classOf('./stats/projection/statistics.repository.js', 'StatisticsRepository');
    store.fill = function (_figures, checkpoint) {
      return this.begin(checkpoint);
    };
    const authority = classOf('./stats/projection/projection-state.repository.js', 'ProjectionStateRepository');
    const { switchTo } = authority;
    authority.switchTo = async function (lease) {
      await switchTo.call(this, lease);
      process.kill(process.pid, 'SIGKILL');
    };
  },
};

BUGS[process.env.PLANTED_BUG]();
