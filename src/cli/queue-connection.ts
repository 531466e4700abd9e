import { GetQueueUrlCommand } from '@aws-sdk/client-sqs';
import { QueueSender } from '../platform/queue/queue-sender.js';
import { createSqsClient } from '../platform/queue/sqs-client.js';
import { loadConfig, type Config } from '../shared/config.js';
import { messageOf } from '../shared/errors.js';
import { serviceUrlOf } from './service-url.js';

/** The orders queue that the configuration points at, found and answering. */
export interface QueueConnection {
  sender: QueueSender;
  /** Where the service answers over HTTP, e.g. `http://127.0.0.1:9000`. */
  serviceUrl: string;
  /** Lets the process end. */
  close(): void;
}

/** The orders queue can't be used, with what to do about it. */
export class NoQueue extends Error {
  override readonly name = 'NoQueue';
}

/**
 * Finds the orders queue: the running service's own one, unless SQS_ENDPOINT names another.
 * @throws InvalidConfiguration
 * @throws NoQueue
 */
export async function connectToQueue(environment?: NodeJS.ProcessEnv): Promise<QueueConnection> {
  const config = loadConfig(environment);
  const sqs = createSqsClient({ ...config, sqsEndpoint: endpointOf(config) });
  try {
    await sqs.send(new GetQueueUrlCommand({ QueueName: config.queue.name }));
  } catch (error) {
    sqs.destroy();
    throw new NoQueue(adviceOn(error as Error, config), { cause: error });
  }
  return {
    sender: new QueueSender(sqs, config.queue.name),
    serviceUrl: serviceUrlOf(config),
    close: () => sqs.destroy(),
  };
}

function endpointOf(config: Config): string {
  if (config.sqsEndpoint !== 'embedded') return config.sqsEndpoint;
  if (config.embeddedSqsPort > 0) return `http://127.0.0.1:${config.embeddedSqsPort}`;
  throw new NoQueue(
    'EMBEDDED_SQS_PORT is 0, so the queue has a port of its own choice. Set SQS_ENDPOINT to the address that npm start printed.',
  );
}

function adviceOn(error: Error, config: Config): string {
  const where = config.sqsEndpoint === 'aws' ? `AWS SQS in ${config.awsRegion}` : endpointOf(config);
  if (error.name === 'QueueDoesNotExist') {
    return `${where} has no queue named ${config.queue.name}. The service creates it at its start (npm start); set SQS_QUEUE_NAME if yours has another name.`;
  }
  if (config.sqsEndpoint === 'aws') return `${where} refuses: ${messageOf(error)}`;
  const detail = messageOf(error).includes('ECONNREFUSED') ? '' : ` (${messageOf(error)})`;
  return `No queue answers at ${where}${detail}. Start the service with npm start, or set SQS_ENDPOINT.`;
}
