import type { Message } from '@aws-sdk/client-sqs';
import { Injectable, type Type } from '@nestjs/common';
import { SqsMessageHandler } from '@ssut/nestjs-sqs';
import { OrderIntake } from './order-intake.js';

/**
 * While three batches of a poller are on their way into the ledger and off the queue, it can receive a fourth. More would
 * drain a little faster, and let the figures fall further behind.
 */
const LOOPS_PER_POLLER = 4;

/** Each poll loop takes one batch at a time all the way; how many receive at once is up to the gate. */
export function pollLoopCount(pollers: number): number {
  return pollers * LOOPS_PER_POLLER;
}

/** The name that the library knows a poll loop by. */
export function pollLoopName(index: number): string {
  return `orders-poller-${index + 1}`;
}

/**
 * Makes a handler class for each poll loop. The library gives every consumer name one sequential loop and looks for a
 * handler of that name, so as many loops need as many handlers.
 */
export function pollLoopClasses(count: number): Type[] {
  return Array.from({ length: count }, (_, index) => {
    @Injectable()
    class OrderPollLoop {
      constructor(private readonly intake: OrderIntake) {}

      /** @returns the messages to acknowledge */
      @SqsMessageHandler(pollLoopName(index), true)
      handle(messages: Message[]): Promise<Message[]> {
        return this.intake.handle(messages);
      }
    }
    return OrderPollLoop;
  });
}
