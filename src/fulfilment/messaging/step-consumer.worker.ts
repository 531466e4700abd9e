import { Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { SqsService } from '@ssut/nestjs-sqs';
import { Readiness } from '../../platform/observability/readiness.js';
import { PollLoops, WATCH_INTERVAL_MS } from '../../platform/queue/poll-loops.js';
import { QueueWorkers } from '../../platform/queue/queue-workers.js';
import { StepHandlers } from '../workflow/step-handlers.js';
import { BATCH_TIMEOUT_SECONDS, StepIntake } from './step-intake.service.js';
import { STEP_QUEUES, type StepQueue } from './step-messages.js';
import { stepPollLoopNames } from './step-pollers.js';
import { StepQueues } from './step-queues.js';

/** Consumes the queues of the steps: starts their poll loops when everything is wired, has them watched, and stops them. */
@Injectable()
export class StepConsumer implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly lines: { step: StepQueue; loops: PollLoops }[];

  constructor(
    private readonly sqs: SqsService,
    private readonly queues: StepQueues,
    private readonly intake: StepIntake,
    private readonly handlers: StepHandlers,
    private readonly readiness: Readiness,
    private readonly workers: QueueWorkers,
  ) {
    this.lines = STEP_QUEUES.map((step) => {
      const { queue, gate, settings } = queues.of(step);
      return { step, loops: new PollLoops(queue, gate, settings, {}, BATCH_TIMEOUT_SECONDS) };
    });
  }

  /** @throws Error where a task or a poll loop has no handler */
  onApplicationBootstrap(): void {
    this.handlers.assertComplete();
    for (const { step, loops } of this.lines) {
      const { settings, deadLetters } = this.queues.of(step);
      loops.begin(this.sqs, stepPollLoopNames(step, settings.pollers));
      this.workers.register(loops, deadLetters);
      this.readiness.add(`${step}_queue`, () => loops.health());
    }
  }

  /** Restarts poll loops that ended or that hang. */
  @Interval(WATCH_INTERVAL_MS)
  watch(): void {
    for (const { loops } of this.lines) loops.watch();
  }

  /** Lets steps that are in hand end and acknowledges them; polls are called back, and what waits too long is given back. */
  async onModuleDestroy(): Promise<void> {
    this.readiness.shutDown();
    this.workers.callBack();
    this.intake.stop(this.readiness.stoppingSince!);
    await Promise.all(this.lines.map(({ loops }) => loops.stop()));
  }
}
