import { Agent, createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { EmbeddedQueue } from '../../src/platform/embedded/embedded-queue.js';

/** An error as SQS says it in its JSON protocol. */
export interface SqsError {
  status: number;
  /** Its code, such as `InternalFailure`. */
  type: string;
  message?: string;
}

/** Says whether SQS fails at an action, such as `ReceiveMessage`; null where it does what it is asked. */
export type SqsFault = (action: string, queue: string) => SqsError | null;

/** What SQS answers where it is broken itself. */
export const INTERNAL_FAILURE: SqsError = { status: 500, type: 'InternalFailure' };
/** What SQS answers to whom it does not want to serve for a while, by its API reference and the common errors. */
export const THROTTLED: readonly SqsError[] = [
  { status: 400, type: 'ThrottlingException', message: 'Rate exceeded' },
  { status: 400, type: 'RequestThrottled', message: 'The request was denied due to request throttling.' },
  { status: 400, type: 'KmsThrottled', message: 'The request was denied due to request throttling by KMS.' },
  { status: 503, type: 'ServiceUnavailable' },
];

/** An SQS of a test's own which can fail at any action the way the real one does. */
export class FailingSqs {
  private readonly upstream = new Agent({ keepAlive: true });
  private readonly server: Server;
  private fault: SqsFault = () => null;
  /** How often it has failed since it last began to. */
  failures = 0;

  private constructor(private readonly emulator: EmbeddedQueue) {
    this.server = createServer((asked, answer) => this.answer(asked, answer));
  }

  static async start(): Promise<FailingSqs> {
    const sqs = new FailingSqs(await EmbeddedQueue.start(0, null));
    await new Promise<void>((resolve) => sqs.server.listen(0, '127.0.0.1', resolve));
    return sqs;
  }

  /** Where it fails as it is told to. */
  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** The same queues, but never failing. */
  get direct(): string {
    return this.emulator.endpoint;
  }

  /** From now on it fails as the fault says. */
  fail(fault: SqsFault): void {
    this.failures = 0;
    this.fault = fault;
  }

  /** All is well again. */
  mend(): void {
    this.fault = () => null;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    this.upstream.destroy();
    await this.emulator.stop();
  }

  private answer(asked: IncomingMessage, answer: ServerResponse): void {
    const parts: Buffer[] = [];
    asked.on('data', (part: Buffer) => parts.push(part));
    asked.on('error', () => undefined);
    asked.on('end', () => {
      const body = Buffer.concat(parts);
      const action = String(asked.headers['x-amz-target']).split('.').at(-1)!;
      const error = this.fault(action, queueIn(body));
      if (error === null) return this.pass(asked, body, answer);
      this.failures++;
      refuse(answer, error);
    });
  }

  private pass(asked: IncomingMessage, body: Buffer, answer: ServerResponse): void {
    const { method, headers } = asked;
    const onwards = request(`${this.direct}${asked.url}`, { method, headers, agent: this.upstream }, (given) => {
      answer.writeHead(given.statusCode!, given.headers);
      given.pipe(answer);
    });
    onwards.on('error', () => answer.destroy());
    // Who asked and left must not be given a message.
    answer.on('close', () => {
      if (!answer.writableFinished) onwards.destroy();
    });
    onwards.end(body);
  }
}

function queueIn(body: Buffer): string {
  const { QueueUrl, QueueName = '' } = JSON.parse(body.toString() || '{}') as { QueueUrl?: string; QueueName?: string };
  return QueueUrl?.split('/').at(-1) ?? QueueName;
}

function refuse(answer: ServerResponse, { status, type, message = type }: SqsError): void {
  answer.writeHead(status, { 'content-type': 'application/x-amz-json-1.0', 'x-amzn-errortype': type });
  answer.end(JSON.stringify({ __type: `com.amazonaws.sqs#${type}`, message }));
}
