import { Injectable } from '@nestjs/common';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** A message may have waited on the queue for days. */
const DWELL_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 3600, 86_400];

/** A gauge whose value is asked for whenever somebody looks; null leaves it out. */
export type Reading = () => Promise<number | null> | number | null;

/** One value of a metric with labels. */
export interface LabelledValue {
  labels: Record<string, string>;
  value: number;
}

/** A {@link Reading} with labels; what is not there is left out. */
export type LabelledReading = () => Promise<LabelledValue[]> | LabelledValue[];

/**
 * Every metric of this service, in Prometheus's naming; `messaging.*` and `http.*` follow OpenTelemetry's semantic
 * conventions. No label ever holds a user or an order.
 */
@Injectable()
export class Metrics {
  readonly registry = new Registry();

  readonly ordersProcessed = new Counter({
    name: 'orders_processed_total',
    help: 'Order events by what became of them',
    labelNames: ['outcome'] as const,
    registers: [this.registry],
  });
  readonly messagesConsumed = new Counter({
    name: 'messaging_client_consumed_messages_total',
    help: 'Messages received from the queue',
    registers: [this.registry],
  });
  readonly processDuration = new Histogram({
    name: 'messaging_process_duration_seconds',
    help: 'Time to judge and store one batch of messages',
    buckets: SECONDS,
    registers: [this.registry],
  });
  readonly dwell = new Histogram({
    name: 'order_dwell_seconds',
    help: 'From the sending of a message to its acknowledgement',
    buckets: DWELL_SECONDS,
    registers: [this.registry],
  });
  readonly lastPoll = new Gauge({
    name: 'consumer_last_poll_timestamp_seconds',
    help: 'When a poller last got an answer from the queue',
    registers: [this.registry],
  });
  readonly logLinesDropped = new Counter({
    name: 'consumer_log_lines_dropped_total',
    help: 'Lines of the consumer log that Redis did not take',
    registers: [this.registry],
  });
  readonly modelCalls = new Counter({
    name: 'language_model_calls_total',
    help: 'Calls of the language model by what became of them',
    labelNames: ['outcome'] as const,
    registers: [this.registry],
  });
  readonly modelTokens = new Counter({
    name: 'language_model_tokens_total',
    help: 'Tokens that the language model counted',
    labelNames: ['kind'] as const,
    registers: [this.registry],
  });
  readonly httpDuration = new Histogram({
    name: 'http_server_request_duration_seconds',
    help: 'Time to answer HTTP requests',
    labelNames: ['http_request_method', 'http_route', 'http_response_status_code'] as const,
    buckets: SECONDS,
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    for (const outcome of ['accepted', 'corrected', 'failed', 'duplicate', 'waiting']) {
      this.ordersProcessed.inc({ outcome }, 0);
    }
  }

  /** Adds a gauge that is read when somebody looks. */
  reading(name: string, help: string, read: Reading): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      async collect() {
        const value = await valueOf(read);
        if (value === null) this.remove();
        else this.set(value);
      },
    });
  }

  /** Adds a gauge with labels that is read when somebody looks. */
  labelledReading(name: string, help: string, labelNames: string[], read: LabelledReading): void {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [this.registry],
      async collect() {
        this.reset();
        for (const { labels, value } of (await valueOf(read)) ?? []) this.set(labels, value);
      },
    });
  }

  /** Adds a counter with labels that somebody else counts, and that is read when somebody looks. */
  labelledCount(name: string, help: string, labelNames: string[], read: LabelledReading): void {
    new Counter({
      name,
      help,
      labelNames,
      registers: [this.registry],
      async collect() {
        this.reset();
        for (const { labels, value } of (await valueOf(read)) ?? []) this.inc(labels, value);
      },
    });
  }
}

/** A part that is down has no reading; that it is down is the readiness check's to tell, not every scrape's. */
async function valueOf<T>(read: () => Promise<T | null> | T | null): Promise<T | null> {
  try {
    return await read();
  } catch {
    return null;
  }
}
