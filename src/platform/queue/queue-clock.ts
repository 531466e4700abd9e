import { SQSClient } from '@aws-sdk/client-sqs';
import { Injectable } from '@nestjs/common';

/** Below it a time stays as it is. The SDK's measure is a second off, and validation allows five minutes. */
const TOLERANCE_MS = 60_000;

/** The clock of the queue, by which the consumers of its messages validate times. */
@Injectable()
export class QueueClock {
  constructor(private readonly sqs: SQSClient) {}

  /**
   * Keeps a time of ours from lying ahead of the queue's clock, where an event that carries it would fail. The SDK measures with
   * every answer of SQS how far this process's clock is from the queue's.
   * @param time by any clock, ms UTC @returns it, or the queue's now where it lies more than a minute after that
   */
  capped(time: number): number {
    const now = Date.now() + this.sqs.config.systemClockOffset;
    return time > now + TOLERANCE_MS ? now : time;
  }
}
