import { ApiProperty } from '@nestjs/swagger';
import { isoOf } from '../../shared/iso-time.js';
import type { QueueWorker } from './queue-workers.js';

/** Why a message could not be processed. */
export class WorkerFault {
  @ApiProperty({ description: 'Never holds anything of the message', example: 'deadlock detected' })
  message!: string;

  @ApiProperty({ format: 'date-time', example: '2026-01-31T12:00:00.000Z' })
  at!: string;
}

/** How many messages a queue has, by the approximation of SQS. */
export class DepthJson {
  @ApiProperty({ type: 'integer', description: 'Waiting to be received', example: 12 })
  visible!: number;

  @ApiProperty({ type: 'integer', description: 'Received by any process, and not acknowledged yet', example: 3 })
  in_flight!: number;

  @ApiProperty({ type: 'integer', description: 'Sent with a delay that is not over', example: 0 })
  delayed!: number;
}

/** A queue and who works on it, as the API shows it. */
export class QueueWorkerJson {
  @ApiProperty({ example: 'payment-queue' })
  queue!: string;

  @ApiProperty({ type: 'integer', description: 'How many receive at once in this process', example: 2 })
  pollers!: number;

  @ApiProperty({ type: 'integer', description: 'Messages of batches that this process is working on', example: 3 })
  in_flight!: number;

  @ApiProperty({ type: 'integer', description: 'Messages processed and acknowledged by this process', example: 512 })
  done!: number;

  @ApiProperty({
    type: 'integer',
    description:
      'Deliveries to this process that ended in a fault; a message that comes three times may be three of them',
    example: 1,
  })
  failed!: number;

  @ApiProperty({ type: WorkerFault, nullable: true, description: 'The latest of these faults' })
  last_error!: WorkerFault | null;

  @ApiProperty({ type: DepthJson, nullable: true, description: 'Null where the queue can’t be asked' })
  depth!: DepthJson | null;

  @ApiProperty({
    type: 'number',
    nullable: true,
    description:
      'How long ago the oldest message of the batch that this process received last had been sent by then; null before the ' +
      'first. It includes a delay and earlier deliveries. SQS tells nobody the age of what is still waiting',
    example: 0.042,
  })
  oldest_age_seconds!: number | null;

  @ApiProperty({ type: 'integer', nullable: true, description: 'Null where they can’t be counted', example: 0 })
  dead_letters!: number | null;

  @ApiProperty({
    type: 'string',
    nullable: true,
    description: 'Why something can’t be told; null where nothing is missing',
    example: 'the queue payment-queue: connect ECONNREFUSED 127.0.0.1:4566',
  })
  reason!: string | null;
}

/** Answer of `GET /api/v1/system/workers`. */
export class WorkersJson {
  @ApiProperty({
    format: 'date-time',
    description: 'When this process began to count',
    example: '2026-01-31T08:00:00.000Z',
  })
  since!: string;

  @ApiProperty({ type: [QueueWorkerJson] })
  queues!: QueueWorkerJson[];
}

/** A worker in the words of the API. */
export async function queueWorkerJson(worker: QueueWorker): Promise<QueueWorkerJson> {
  const [depth, deadLetters] = await Promise.all([worker.depth(), worker.deadLetters()]);
  const reasons = [...new Set([depth.reason, deadLetters.reason])].filter((reason) => reason !== null);
  const { loops, activity } = worker;
  return {
    queue: worker.queueName,
    pollers: loops.settings.pollers,
    in_flight: loops.inHand,
    done: activity.done,
    failed: activity.failed,
    last_error: activity.lastError && { message: activity.lastError.message, at: isoOf(activity.lastError.at) },
    depth: depth.value,
    oldest_age_seconds: activity.oldestAgeSeconds,
    dead_letters: deadLetters.value,
    reason: reasons.length === 0 ? null : reasons.join('; '),
  };
}
