import { SQSClient } from '@aws-sdk/client-sqs';
import { Injectable } from '@nestjs/common';

/** Clock skew that is ignored. The SDK measures to about 1 s, and validation allows five minutes. */
const TOLERANCE_MS = 60_000;

/** The clock of the queue, by which the consumers of its messages validate times. */
@Injectable()
export class QueueClock {
  constructor(private readonly sqs: SQSClient) {}

  /**
   * Caps a time at the queue's now, because validation fails events from the future. The SDK measures with
   * every answer of SQS how far this process's clock is from the queue's.
   * @param time by any clock, ms UTC @returns it, or the queue's now where it lies more than a minute after that
   */
  capped(time: number): number {
    const now = Date.now() + this.sqs.config.systemClockOffset;
    return time > now + TOLERANCE_MS ? now : time;
  }
}
