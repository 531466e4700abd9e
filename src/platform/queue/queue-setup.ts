import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  SetQueueAttributesCommand,
  type QueueAttributeName,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { messageOf } from '../../shared/errors.js';
import { withDeadline } from './sqs-client.js';

/** 14 days, the longest SQS offers: an outage of ours must not outlast the messages. */
const RETENTION_SECONDS = '1209600';

/** What a queue of ours needs to be. */
export interface QueueSettings {
  name: string;
  /** Seconds. */
  visibilityTimeout: number;
  /** Receives after which SQS moves a message to the dead-letter queue. */
  maxReceiveCount: number;
}

/** How many messages a queue has, by SQS's own approximation. */
export interface QueueDepth {
  /** Waiting to be received. */
  visible: number;
  /** Received and neither deleted nor visible again. */
  in_flight: number;
  /** Sent with a delay that is not over. */
  delayed: number;
}

/** A right that this process lacks on AWS, and what it was needed for. */
export class QueuePermissionMissing extends Error {
  constructor(permission: string, queue: string, cause: unknown) {
    super(`The credentials in use lack the permission ${permission} on the queue ${queue}`, { cause });
    this.name = 'QueuePermissionMissing';
  }
}

/** Where the dead letters of a queue go. */
export function deadLetterQueueOf(queueName: string): string {
  return `${queueName}-dlq`;
}

/**
 * Makes a queue and its dead-letter queue ready: created where missing, kept for 14 days, tied by a redrive policy.
 * A queue that already sends its dead letters elsewhere keeps doing so. May run any number of times, also at once.
 * Queues are created bare and configured after, since creating an existing queue with other attributes is an error.
 *
 * @returns what is not as it should be but could not be changed, in words for the log; empty when all is well
 * @throws QueuePermissionMissing where a queue is missing and may not be created
 */
export async function setUpQueue(sqs: SQSClient, settings: QueueSettings): Promise<string[]> {
  const deadLetters = deadLetterQueueOf(settings.name);
  const warnings: string[] = [];
  const [queueUrl, deadLetterUrl] = [await ensureQueue(sqs, settings.name), await ensureQueue(sqs, deadLetters)];
  const { QueueArn: deadLetterArn } = await attributesOf(sqs, deadLetters, deadLetterUrl, ['QueueArn']);
  const present = await attributesOf(sqs, settings.name, queueUrl, [
    'RedrivePolicy',
    'VisibilityTimeout',
    'MessageRetentionPeriod',
  ]);

  const policy = present.RedrivePolicy ? (JSON.parse(present.RedrivePolicy) as Record<string, unknown>) : null;
  const elsewhere = policy !== null && policy.deadLetterTargetArn !== deadLetterArn;
  if (elsewhere) {
    warnings.push(
      `${settings.name} sends its dead letters to ${String(policy.deadLetterTargetArn)}, which is left as it is`,
    );
  }
  const wanted: Partial<Record<QueueAttributeName, string>> = {
    MessageRetentionPeriod: RETENTION_SECONDS,
    VisibilityTimeout: String(settings.visibilityTimeout),
  };
  if (!elsewhere && Number(policy?.maxReceiveCount) !== settings.maxReceiveCount) {
    wanted.RedrivePolicy = JSON.stringify({
      deadLetterTargetArn: deadLetterArn,
      maxReceiveCount: settings.maxReceiveCount,
    });
  }
  warnings.push(...(await change(sqs, settings.name, queueUrl, wanted, present)));
  const kept = await attributesOf(sqs, deadLetters, deadLetterUrl, ['MessageRetentionPeriod']);
  warnings.push(
    ...(await change(sqs, deadLetters, deadLetterUrl, { MessageRetentionPeriod: RETENTION_SECONDS }, kept)),
  );
  return warnings;
}

/**
 * The queue that a queue's dead letters go to: the one that its redrive policy names, which SQS wants in the same account
 * and region, else the one that it is to get.
 * @throws QueuePermissionMissing
 */
export async function deadLetterQueueInUse(sqs: SQSClient, queueName: string): Promise<string> {
  const { RedrivePolicy } = await attributesOf(sqs, queueName, queueName, ['RedrivePolicy']);
  const policy = RedrivePolicy ? (JSON.parse(RedrivePolicy) as { deadLetterTargetArn?: string }) : {};
  return policy.deadLetterTargetArn?.split(':').at(-1) ?? deadLetterQueueOf(queueName);
}

/** How many messages wait, are in hand or are delayed, by SQS's own approximation. */
export async function queueDepth(sqs: SQSClient, queueName: string): Promise<QueueDepth> {
  const command = new GetQueueAttributesCommand({
    QueueUrl: queueName,
    AttributeNames: [
      'ApproximateNumberOfMessages',
      'ApproximateNumberOfMessagesNotVisible',
      'ApproximateNumberOfMessagesDelayed',
    ],
  });
  const { Attributes: counts = {} } = await withDeadline((options) => sqs.send(command, options));
  return {
    visible: Number(counts.ApproximateNumberOfMessages ?? 0),
    in_flight: Number(counts.ApproximateNumberOfMessagesNotVisible ?? 0),
    delayed: Number(counts.ApproximateNumberOfMessagesDelayed ?? 0),
  };
}

async function ensureQueue(sqs: SQSClient, name: string): Promise<string> {
  try {
    const command = new GetQueueUrlCommand({ QueueName: name });
    return (await withDeadline((options) => sqs.send(command, options))).QueueUrl!;
  } catch (error) {
    if ((error as Error).name !== 'QueueDoesNotExist') throw namingThePermission(error, 'sqs:GetQueueUrl', name);
  }
  try {
    const command = new CreateQueueCommand({ QueueName: name });
    return (await withDeadline((options) => sqs.send(command, options))).QueueUrl!;
  } catch (error) {
    throw namingThePermission(error, 'sqs:CreateQueue', name);
  }
}

async function attributesOf(
  sqs: SQSClient,
  name: string,
  url: string,
  names: QueueAttributeName[],
): Promise<Partial<Record<QueueAttributeName, string>>> {
  try {
    const command = new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: names });
    const { Attributes } = await withDeadline((options) => sqs.send(command, options));
    return Attributes ?? {};
  } catch (error) {
    throw namingThePermission(error, 'sqs:GetQueueAttributes', name);
  }
}

/** Sets what differs. A refusal is a warning: the queue works, only not quite as wished. */
async function change(
  sqs: SQSClient,
  name: string,
  url: string,
  wanted: Partial<Record<QueueAttributeName, string>>,
  present: Partial<Record<QueueAttributeName, string>>,
): Promise<string[]> {
  const differing = Object.entries(wanted).filter(([key, value]) => present[key as QueueAttributeName] !== value);
  if (differing.length === 0) return [];
  try {
    const command = new SetQueueAttributesCommand({ QueueUrl: url, Attributes: Object.fromEntries(differing) });
    await withDeadline((options) => sqs.send(command, options));
    return [];
  } catch (error) {
    const named = namingThePermission(error, 'sqs:SetQueueAttributes', name);
    if (!(named instanceof QueuePermissionMissing)) throw error;
    return [`${messageOf(named)}; wanted ${differing.map(([key, value]) => `${key}=${value}`).join(', ')}`];
  }
}

/** An error of SQS, or, where it is a refusal, {@link QueuePermissionMissing}. */
export function namingThePermission(error: unknown, permission: string, queue: string): unknown {
  const { name, $metadata } = error as { name?: string; $metadata?: { httpStatusCode?: number } };
  const refused = name?.includes('AccessDenied') || $metadata?.httpStatusCode === 403;
  return refused ? new QueuePermissionMissing(permission, queue, error) : error;
}
