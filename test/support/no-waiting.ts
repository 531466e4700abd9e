import type { ReceiveMessageCommandInput, SQSClient } from '@aws-sdk/client-sqs';

/** What a service sends with a delay, or gives back to come again later. A test may have SQS deliver it at once. */
export class Delays {
  /** In seconds, in the order in which the service asked for them. */
  readonly asked: number[] = [];
  areSkipped = false;

  constructor(sqs: SQSClient) {
    changeCalls(sqs, ({ Entries = [] }: { Entries?: Record<string, unknown>[] }) => {
      for (const entry of Entries) {
        for (const delay of ['DelaySeconds', 'VisibilityTimeout']) {
          if (typeof entry[delay] !== 'number' || entry[delay] === 0) continue;
          this.asked.push(entry[delay]);
          if (this.areSkipped) entry[delay] = 0;
        }
      }
    });
  }
}

/** Has a receive from a dead-letter queue answer at once: a look at dead letters ends with two that find nothing. */
export function withQuickLooks(sqs: SQSClient): void {
  changeCalls(sqs, (input: Partial<ReceiveMessageCommandInput>) => {
    if (input.WaitTimeSeconds && input.QueueUrl?.endsWith('-dlq')) input.WaitTimeSeconds = 0;
  });
}

function changeCalls(sqs: SQSClient, change: (input: object) => void): void {
  sqs.middlewareStack.add(
    (next) => (args) => {
      change(args.input);
      return next(args);
    },
    { step: 'initialize' },
  );
}
