import type { Type } from '@nestjs/common';
import { pollLoopClass } from '../../platform/queue/poll-loops.js';
import { OrderIntake } from './order-intake.service.js';

/**
 * While three batches of a poller are on their way into the ledger and off the queue, it can receive a fourth. More would
 * drain a little faster, and let the figures fall further behind.
 */
const LOOPS_PER_POLLER = 4;

/** The names of the poll loops. Each takes one batch at a time all the way; how many receive at once is up to the gate. */
export function pollLoopNames(pollers: number): string[] {
  return Array.from({ length: pollers * LOOPS_PER_POLLER }, (_, index) => `orders-poller-${index + 1}`);
}

/** A handler for each poll loop. */
export function pollLoopClasses(pollers: number): Type[] {
  return pollLoopNames(pollers).map((name) =>
    pollLoopClass(name, OrderIntake, (intake, messages) => intake.handle(messages)),
  );
}
