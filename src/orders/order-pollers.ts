import type { Message } from '@aws-sdk/client-sqs';
import { Injectable, type Type } from '@nestjs/common';
import { SqsMessageHandler } from '@ssut/nestjs-sqs';
import { OrderIntake } from './order-intake.js';

/** The name of a poller; each has its own loop on the queue. */
export function pollerName(index: number): string {
  return `orders-poller-${index + 1}`;
}

/**
 * Makes a handler class for each poller. The library gives every consumer name one sequential loop and looks for a
 * handler of that name, so as many loops need as many handlers.
 */
export function pollerClasses(count: number): Type[] {
  return Array.from({ length: count }, (_, index) => {
    @Injectable()
    class OrderPoller {
      constructor(private readonly intake: OrderIntake) {}

      /** @returns the messages to acknowledge */
      @SqsMessageHandler(pollerName(index), true)
      handle(messages: Message[]): Promise<Message[]> {
        return this.intake.handle(messages);
      }
    }
    return OrderPoller;
  });
}
