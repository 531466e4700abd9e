import type { Type } from '@nestjs/common';
import { pollLoopClass } from '../../platform/queue/poll-loops.js';
import { StepIntake } from './step-intake.service.js';
import { STEP_QUEUES, type StepQueue } from './step-messages.js';

/** So that by default a queue whose messages come one by one can have as many steps under way as there may be at once. */
const LOOPS_PER_POLLER = 3;

/** The names of a queue's poll loops. Each deals with what it received before it receives more. */
export function stepPollLoopNames(step: StepQueue, pollers: number): string[] {
  return Array.from({ length: pollers * LOOPS_PER_POLLER }, (_, index) => `${step}-poller-${index + 1}`);
}

/** A handler for each poll loop of all these queues. */
export function stepPollLoopClasses(pollersOf: (step: StepQueue) => number): Type[] {
  return STEP_QUEUES.flatMap((step) =>
    stepPollLoopNames(step, pollersOf(step)).map((name) =>
      pollLoopClass(name, StepIntake, (intake, messages) => intake.handle(step, messages)),
    ),
  );
}
