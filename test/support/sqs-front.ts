import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Actions on several messages, of which each may fail for itself. */
export type BatchAction = 'SendMessageBatch' | 'DeleteMessageBatch';

/** What becomes of an entry that SQS says it failed to deal with. */
export type EntryFault = 'not done' | 'done all the same';

/** An entry of a batch, as it is sent. */
export interface BatchEntry {
  Id: string;
  MessageBody?: string;
  ReceiptHandle?: string;
}

interface ReceivedMessage {
  MessageId: string;
  ReceiptHandle: string;
  Attributes?: { ApproximateReceiveCount?: string };
}

interface BatchAnswer {
  Successful?: { Id: string }[];
  Failed?: { Id: string; SenderFault: boolean; Code: string; Message: string }[];
}

const JSON_PROTOCOL = { 'content-type': 'application/x-amz-json-1.0' };

/**
 * What stands before an SQS emulator, as the network and the fleet behind it stand before SQS: sees what goes through, and
 * may say of some entries of a batch that they failed.
 */
export class SqsFront {
  /** How often each message was delivered so far, by its id. */
  readonly receives = new Map<string, number>();
  /** How often each message had been delivered when it was first deleted, by its id. */
  readonly receivesWhenDeleted = new Map<string, number>();
  /** How often SQS was told to delete each message, by its id. */
  readonly deletes = new Map<string, number>();
  /** Entries that were said to have failed. */
  readonly failed: Record<BatchAction, number> = { SendMessageBatch: 0, DeleteMessageBatch: 0 };
  /** Decides which entries of a batch are said to have failed, and what really becomes of them; null where all is well. */
  faultOf: (action: BatchAction, entry: BatchEntry) => EntryFault | null = () => null;

  private readonly handles = new Map<string, string>();
  private readonly agent = new Agent({ keepAlive: true });

  private constructor(
    private readonly server: Server,
    private readonly behind: string,
  ) {
    server.on('request', (question: IncomingMessage, answer: ServerResponse) => {
      this.pass(question, answer).catch(() => answer.destroy());
    });
  }

  /** @param endpoint of the emulator */
  static async before(endpoint: string): Promise<SqsFront> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new SqsFront(server, endpoint);
  }

  /** For any SQS client. */
  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    this.agent.destroy();
    await closed;
  }

  private async pass(question: IncomingMessage, answer: ServerResponse): Promise<void> {
    const action = String(question.headers['x-amz-target'] ?? '').replace(/^AmazonSQS\./, '');
    const body = await textOf(question);
    const { status, text } =
      action === 'SendMessageBatch' || action === 'DeleteMessageBatch'
        ? await this.passBatch(action, question, body)
        : await this.forward(question, body);
    if (action === 'ReceiveMessage' && status === 200) this.saw(text);
    answer.writeHead(status, { ...JSON_PROTOCOL, 'content-length': Buffer.byteLength(text) }).end(text);
  }

  private async passBatch(action: BatchAction, question: IncomingMessage, body: string): Promise<Forwarded> {
    const { Entries, ...rest } = JSON.parse(body) as { Entries: BatchEntry[] };
    const faults = new Map(Entries.map((entry) => [entry.Id, this.faultOf(action, entry)]));
    const taken = Entries.filter(({ Id }) => faults.get(Id) !== 'not done');
    const forwarded =
      taken.length > 0
        ? await this.forward(question, JSON.stringify({ ...rest, Entries: taken }))
        : { status: 200, text: '{}' };
    if (forwarded.status !== 200) return forwarded;

    const { Successful = [], Failed = [] } = JSON.parse(forwarded.text) as BatchAnswer;
    if (action === 'DeleteMessageBatch') for (const { ReceiptHandle } of taken) this.deleted(ReceiptHandle!);
    for (const { Id } of Entries) {
      if (faults.get(Id) === null) continue;
      this.failed[action]++;
      Failed.push({ Id, SenderFault: false, Code: 'InternalError', Message: 'We encountered an internal error.' });
    }
    const told = { Successful: Successful.filter(({ Id }) => faults.get(Id) === null), Failed };
    return { status: 200, text: JSON.stringify(told) };
  }

  private saw(answer: string): void {
    const { Messages = [] } = JSON.parse(answer) as { Messages?: ReceivedMessage[] };
    for (const { MessageId, ReceiptHandle, Attributes } of Messages) {
      this.handles.set(ReceiptHandle, MessageId);
      this.receives.set(MessageId, Number(Attributes!.ApproximateReceiveCount));
    }
  }

  private deleted(receiptHandle: string): void {
    const id = this.handles.get(receiptHandle)!;
    this.deletes.set(id, (this.deletes.get(id) ?? 0) + 1);
    if (!this.receivesWhenDeleted.has(id)) this.receivesWhenDeleted.set(id, this.receives.get(id)!);
  }

  private forward({ headers }: IncomingMessage, body: string): Promise<Forwarded> {
    return new Promise((resolve, reject) => {
      const forwarded = request(
        this.behind,
        {
          method: 'POST',
          agent: this.agent,
          headers: {
            ...JSON_PROTOCOL,
            'x-amz-target': headers['x-amz-target'],
            authorization: headers.authorization,
            'content-length': Buffer.byteLength(body),
          },
        },
        (answer) => {
          textOf(answer).then((text) => resolve({ status: answer.statusCode!, text }), reject);
        },
      );
      forwarded.on('error', reject).end(body);
    });
  }
}

interface Forwarded {
  status: number;
  text: string;
}

async function textOf(message: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of message) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}
