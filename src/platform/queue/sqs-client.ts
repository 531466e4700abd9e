import {
  type DeleteMessageBatchCommandInput,
  type DeleteMessageBatchCommandOutput,
  GetQueueUrlCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import type { Config } from '../../shared/config.js';
import { pause } from '../back-off.js';

/** The emulator accepts any credentials, but the SDK wants some; real ones in the environment go first. */
const EMULATOR_CREDENTIALS = { accessKeyId: 'local', secretAccessKey: 'local' };
const CONNECT_TIMEOUT_MS = 3_000;
/** Longer than the longest poll of 20 s. */
const REQUEST_TIMEOUT_MS = 30_000;
/** For what is answered at once or not at all. */
const PROMPT_TIMEOUT_MS = 5_000;
/** Every poller waits on one; senders and the tidying commands need some besides. */
const MAX_SOCKETS = 128;
/** Waits before messages that SQS failed to delete by its own fault are to be deleted again. */
const DELETE_AGAIN_AFTER_MS = [50, 200];

/**
 * An SQS client in which a queue's **name** may stand wherever a command takes a QueueUrl. The address is asked
 * for once and again after the queue turns out to be gone, so nothing needs the queue to exist when it is wired.
 * For an endpoint that is not AWS the address is put together from the endpoint, because the addresses that
 * emulators hand out name hosts and ports of their own.
 *
 * What of a batch SQS fails to delete by its own fault is deleted again at once, a few times: the poll loops do not look
 * at it, and each further delivery of what is stored already would count towards the dead-letter queue.
 */
export function createSqsClient(config: Pick<Config, 'sqsEndpoint' | 'awsRegion' | 'awsCredentialsGiven'>): SQSClient {
  const onAws = config.sqsEndpoint === 'aws';
  const client = new SQSClient({
    region: config.awsRegion,
    md5: false, // SQS and TLS or loopback already protect the bodies; hashing them again costs CPU for nothing
    maxAttempts: 3,
    ...(!onAws && {
      endpoint: config.sqsEndpoint,
      useQueueUrlAsEndpoint: false,
      ...(!config.awsCredentialsGiven && { credentials: EMULATOR_CREDENTIALS }),
    }),
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets: MAX_SOCKETS },
      httpsAgent: { keepAlive: true, maxSockets: MAX_SOCKETS },
    },
  });
  const urls = new Map<string, string>();
  client.middlewareStack.add(
    (next) => async (args) => {
      const input = args.input as { QueueUrl?: string };
      if (!input.QueueUrl || input.QueueUrl.includes('://')) return next(args);
      const name = input.QueueUrl;
      const url = urls.get(name) ?? (await lookUp(client, name));
      urls.set(name, url);
      try {
        return await next({ ...args, input: { ...args.input, QueueUrl: url } });
      } catch (error) {
        if ((error as Error).name === 'QueueDoesNotExist') urls.delete(name);
        throw error;
      }
    },
    { step: 'initialize', name: 'queueNames', priority: 'high' },
  );
  client.middlewareStack.add(
    (next, { commandName }) =>
      async (args) => {
        const { response, output } = await next(args);
        if (commandName !== 'DeleteMessageBatchCommand') return { response, output };
        const input = args.input as DeleteMessageBatchCommandInput;
        const again = async (
          Entries: DeleteMessageBatchCommandInput['Entries'],
        ): Promise<DeleteMessageBatchCommandOutput> =>
          (await next({ ...args, input: { ...input, Entries } })).output as DeleteMessageBatchCommandOutput;
        return { response, output: await deletingAgain(input, output as DeleteMessageBatchCommandOutput, again) };
      },
    { step: 'initialize', name: 'deletesAgain', priority: 'low' },
  );
  return client;
}

/** @param answer to the input @param again asks for some of its entries once more @returns what became of them in the end */
async function deletingAgain(
  { Entries = [] }: DeleteMessageBatchCommandInput,
  answer: DeleteMessageBatchCommandOutput,
  again: (entries: DeleteMessageBatchCommandInput['Entries']) => Promise<DeleteMessageBatchCommandOutput>,
): Promise<DeleteMessageBatchCommandOutput> {
  for (const delay of DELETE_AGAIN_AFTER_MS) {
    const failed = new Set(answer.Failed?.filter(({ SenderFault }) => !SenderFault).map(({ Id }) => Id));
    if (failed.size === 0) break;
    await pause(delay);
    try {
      const next = await again(Entries.filter(({ Id }) => failed.has(Id)));
      const refused = answer.Failed!.filter(({ Id }) => !failed.has(Id));
      answer = {
        ...answer,
        Successful: [...(answer.Successful ?? []), ...(next.Successful ?? [])],
        Failed: [...refused, ...(next.Failed ?? [])],
      };
    } catch {
      break; // The others are deleted all the same; whoever calls next meets the failure itself.
    }
  }
  return answer;
}

/**
 * Makes a call that needs no wait on the other side, and gives up on it long before the client would, whose patience
 * is that of a long poll.
 */
export async function withDeadline<Answer>(
  call: (options: { abortSignal: AbortSignal }) => Promise<Answer>,
): Promise<Answer> {
  const abortSignal = AbortSignal.timeout(PROMPT_TIMEOUT_MS);
  try {
    return await call({ abortSignal });
  } catch (error) {
    if (!abortSignal.aborted) throw error;
    throw new Error(`SQS did not answer within ${PROMPT_TIMEOUT_MS / 1000} s`, { cause: error });
  }
}

async function lookUp(client: SQSClient, name: string): Promise<string> {
  const { QueueUrl } = await withDeadline((options) =>
    client.send(new GetQueueUrlCommand({ QueueName: name }), options),
  );
  return QueueUrl!;
}
