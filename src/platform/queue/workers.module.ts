import { Module } from '@nestjs/common';
import { type LabelledValue, Metrics } from '../observability/metrics.js';
import { type QueueWorker, QueueWorkers } from './queue-workers.js';
import { WorkersController } from './workers.controller.js';

/** Shows who works on which queue: over HTTP and in the metrics. */
@Module({ controllers: [WorkersController] })
export class WorkersModule {
  constructor(metrics: Metrics, workers: QueueWorkers) {
    const ofEach = (valueOf: (worker: QueueWorker) => number | null) => (): LabelledValue[] =>
      workers.all.flatMap((worker) => labelled(worker, valueOf(worker)));
    metrics.labelledReading('queue_messages', 'Messages on the queues by state', ['queue', 'state'], async () => {
      const each = await Promise.all(
        workers.all.map(async (worker) => [worker, (await worker.depth()).value] as const),
      );
      return each.flatMap(([worker, depth]) =>
        Object.entries({ ...depth }).flatMap(([state, count]) => labelled(worker, count, { state })),
      );
    });
    metrics.labelledReading(
      'dead_letters',
      'Messages on the dead-letter queues, by the approximation of SQS',
      ['queue'],
      async () => {
        const each = workers.all.map(async (worker) => labelled(worker, (await worker.deadLetters()).value));
        return (await Promise.all(each)).flat();
      },
    );
    metrics.labelledReading(
      'queue_worker_in_flight',
      'Messages of batches that this process is working on',
      ['queue'],
      ofEach(({ loops }) => loops.inHand),
    );
    metrics.labelledReading(
      'queue_worker_oldest_age_seconds',
      'Age of the oldest message of the latest batch when it was received',
      ['queue'],
      ofEach(({ activity }) => activity.oldestAgeSeconds),
    );
    metrics.labelledCount(
      'queue_worker_done_total',
      'Messages processed and acknowledged by this process',
      ['queue'],
      ofEach(({ activity }) => activity.done),
    );
    metrics.labelledCount(
      'queue_worker_failed_total',
      'Deliveries to this process that ended in a fault',
      ['queue'],
      ofEach(({ activity }) => activity.failed),
    );
  }
}

/** Nothing where there is no value. */
function labelled({ queueName }: QueueWorker, value: number | null, labels = {}): LabelledValue[] {
  return value === null ? [] : [{ labels: { queue: queueName, ...labels }, value }];
}
