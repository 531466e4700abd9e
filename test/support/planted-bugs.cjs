/**
 * Loaded into a service process like killed-at-point.cjs: makes it one that loses or miscounts, for tests that show that
 * a check of what the service leaves would find that. PLANTED_BUG is one of the bugs below.
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
    const intake = classOf('./orders/order-intake.js', 'OrderIntake');
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
  /** A rebuild puts figures into service and fills them in then; it dies in between. */
  'switches before it fills': () => {
    const store = classOf('./stats/figure-store.js', 'FigureStore');
    store.fill = function (_figures, checkpoint) {
      return this.begin(checkpoint);
    };
    const authority = classOf('./stats/projection-authority.js', 'ProjectionAuthority');
    const { switchTo } = authority;
    authority.switchTo = async function (lease) {
      await switchTo.call(this, lease);
      process.kill(process.pid, 'SIGKILL');
    };
  },
};

BUGS[process.env.PLANTED_BUG]();
