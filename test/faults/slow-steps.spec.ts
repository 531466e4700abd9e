import { randomUUID } from 'node:crypto';
import { StepHandlers } from '../../src/fulfilment/workflow/step-handlers.js';
import { MAX_STEPS_AT_ONCE } from '../../src/fulfilment/messaging/step-intake.service.js';
import { stepMessageText } from '../../src/fulfilment/messaging/step-messages.js';
import { StepQueues } from '../../src/fulfilment/messaging/step-queues.js';
import { RunningService } from '../support/app.js';
import { eventually } from '../support/eventually.js';

const STEPS = MAX_STEPS_AT_ONCE + 2;

describe('A step that is slower than the visibility timeout', () => {
  it('stays hidden, as do those that wait for their turn, and is done once', async () => {
    const done: string[] = [];
    let letGo!: () => void;
    const free = new Promise<void>((resolve) => (letGo = resolve));
    jest.spyOn(StepHandlers.prototype, 'of').mockReturnValue(async ({ messageId }) => {
      done.push(messageId);
      await free;
    });
    const service = await RunningService.ready({ environment: { SQS_VISIBILITY_TIMEOUT: '5' } });
    try {
      let hidden = 0;
      service.sqs.middlewareStack.add(
        (next, { commandName }) =>
          (args) => {
            const { Entries = [] } = args.input as { Entries?: unknown[] };
            if (commandName === 'ChangeMessageVisibilityBatchCommand') hidden += Entries.length;
            return next(args);
          },
        { step: 'initialize' },
      );
      const { queue, sender } = service.app.get(StepQueues).of('inventory');
      const ids = Array.from({ length: STEPS }, () => randomUUID());
      await sender.sendEach(
        ids.map((messageId) => ({
          body: stepMessageText({ messageId, orderId: 'ORD-1', task: 'reserve', reference: null }),
        })),
      );
      // Each message, for longer than its visibility timeout lasts: it is hidden anew twice in that time.
      await eventually(() => expect(hidden).toBeGreaterThanOrEqual(STEPS * 3), 30_000);
      letGo();
      await eventually(async () => {
        expect(await queue.depth()).toEqual({ visible: 0, in_flight: 0, delayed: 0 });
      });
      expect(done.sort()).toEqual(ids.sort());
    } finally {
      letGo();
      await service.stop();
      jest.restoreAllMocks();
    }
  }, 60_000);
});
