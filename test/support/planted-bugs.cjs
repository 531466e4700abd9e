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
  /** Messages are acknowledged while they are still on their way into the ledger. */
  'acknowledges first': () => {
    const intake = classOf('./orders/order-intake.js', 'OrderIntake');
    const { handle } = intake;
    intake.handle = function (messages) {
      setTimeout(() => void handle.call(this, messages), 100);
      return Promise.resolve(messages);
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
