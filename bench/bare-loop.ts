import { DeleteMessageBatchCommand, ReceiveMessageCommand, SendMessageBatchCommand } from '@aws-sdk/client-sqs';
import { createSqsClient } from '../src/platform/queue/sqs-client.js';

/**
 * Runs as a child process: the least that anybody does who takes messages off a queue, or puts them there, and nothing
 * else. What the service does is measured against it.
 *
 * Usage: bare-loop drain ENDPOINT QUEUE LOOPS COUNT | bare-loop send ENDPOINT QUEUE LANES
 */

const [, , mode, endpoint, QueueUrl, width, count] = process.argv;
const sqs = createSqsClient({ sqsEndpoint: endpoint!, awsRegion: 'us-east-1', awsCredentialsGiven: false });

let deleted = 0;
let firstReceivedAt = NaN;

/** Tells when so many are deleted how long that took. */
async function receiveAndDelete(): Promise<never> {
  while (true) {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl,
        MaxNumberOfMessages: 10,
        WaitTimeSeconds: 20,
        VisibilityTimeout: 30,
        MessageSystemAttributeNames: ['SentTimestamp', 'ApproximateReceiveCount'],
      }),
    );
    if (Messages.length === 0) continue;
    firstReceivedAt ||= performance.now();
    const Entries = Messages.map(({ ReceiptHandle }, i) => ({ Id: String(i), ReceiptHandle }));
    await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
    const before = deleted;
    deleted += Entries.length;
    if (before < Number(count) && deleted >= Number(count)) {
      process.send!({ kind: 'drained', ms: performance.now() - firstReceivedAt });
    }
  }
}

/** Sends what the parent process hands over, in batches of ten; tells how long it took. */
async function sendAll(bodies: string[]): Promise<void> {
  const started = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < bodies.length) {
      const batch = bodies.slice(next, (next += 10));
      const Entries = batch.map((MessageBody, i) => ({ Id: String(i), MessageBody }));
      await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
    }
  };
  await Promise.all(Array.from({ length: Number(width) }, lane));
  process.send!({ kind: 'sent', ms: performance.now() - started });
}

process.on('disconnect', () => process.exit());
if (mode === 'drain') {
  for (let i = 0; i < Number(width); i++) void receiveAndDelete();
  process.send!({ kind: 'ready' });
} else {
  process.on('message', (bodies: string[]) => void sendAll(bodies));
  process.send!({ kind: 'ready' });
}
