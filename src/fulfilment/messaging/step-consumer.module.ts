import { type DynamicModule, Module } from '@nestjs/common';
import { SqsModule } from '@ssut/nestjs-sqs';
import { pollLoopOptions } from '../../platform/queue/poll-loops.js';
import type { Config } from '../../shared/config.js';
import { StepConsumer } from './step-consumer.worker.js';
import { StepHandlers } from '../workflow/step-handlers.js';
import { StepIntake } from './step-intake.service.js';
import { STEP_QUEUES } from './step-messages.js';
import { stepPollLoopClasses, stepPollLoopNames } from './step-pollers.js';
import { StepQueues } from './step-queues.js';

/** What a poll loop needs before it receives. A module of its own, because the library wants it before the handlers. */
@Module({ providers: [StepQueues], exports: [StepQueues] })
class StepQueuesModule {}

/** The queues of the steps, and what is received from them. Exports where a step registers, and what sends to them. */
@Module({})
export class StepConsumerModule {
  /** @param config how many pollers there are is decided before anything is wired */
  static register({ stepQueues }: Config): DynamicModule {
    return {
      module: StepConsumerModule,
      imports: [
        StepQueuesModule,
        SqsModule.registerAsync({
          imports: [StepQueuesModule],
          inject: [StepQueues],
          useFactory: (queues: StepQueues) => ({
            consumers: STEP_QUEUES.flatMap((step) => {
              const { queue, gate, settings } = queues.of(step);
              return stepPollLoopNames(step, settings.pollers).map((name, index) =>
                pollLoopOptions(name, index, queue, gate, settings),
              );
            }),
          }),
        }),
      ],
      providers: [StepHandlers, StepIntake, StepConsumer, ...stepPollLoopClasses((step) => stepQueues[step].pollers)],
      exports: [StepHandlers, StepQueuesModule],
    };
  }
}
