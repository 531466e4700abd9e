import { isUUID } from 'class-validator';

/** The queues that the steps of an order's fulfilment are worked off from. */
export const STEP_QUEUES = ['inventory', 'payment', 'shipment'] as const;

/** One of {@link STEP_QUEUES}. */
export type StepQueue = (typeof STEP_QUEUES)[number];

/** What a step may be asked to do. */
export type StepTask = 'reserve' | 'charge' | 'ask' | 'return-payment' | 'ship';

/** Every task, and the queue that it goes to. */
export const STEP_TASKS: Readonly<Record<StepTask, StepQueue>> = {
  reserve: 'inventory',
  charge: 'payment',
  ask: 'payment',
  'return-payment': 'payment',
  ship: 'shipment',
};

/** Asks for one step of one order's fulfilment. */
export interface StepMessage {
  /** UUID; the same however often the message is sent or delivered, so its key in the inbox. */
  messageId: string;
  orderId: string;
  task: StepTask;
  /** What else the task is about, e.g. the id of a payment attempt. */
  reference: string | null;
}

/** Many times what a step message needs. */
const MAX_CHARACTERS = 4_096;
const ID = /^[\x21-\x7e]{1,128}$/;

/** A message on a queue of the fulfilment that asks for no step. Says nothing of what is in it. */
export class NoStepMessage extends Error {
  override readonly name = 'NoStepMessage';
  constructor(reason: string) {
    super(`This is no message of a step: ${reason}`);
  }
}

/** The body that a step message is sent with. */
export function stepMessageText({ messageId, orderId, task, reference }: StepMessage): string {
  return JSON.stringify({ message_id: messageId, order_id: orderId, task, reference });
}

/** The step message in a body, which may come from anywhere; fields it does not know are left alone. @throws NoStepMessage */
export function stepMessageIn(body: string): StepMessage {
  const { message_id: messageId, order_id: orderId, task, reference } = objectIn(body);
  if (!isUUID(messageId)) throw new NoStepMessage('message_id is no UUID');
  if (!isId(orderId)) throw new NoStepMessage('order_id is no id');
  if (!isTask(task)) throw new NoStepMessage(`task is none of ${Object.keys(STEP_TASKS).join(', ')}`);
  if (reference !== null && !isId(reference)) throw new NoStepMessage('reference is neither an id nor null');
  return { messageId: messageId as string, orderId, task, reference };
}

function objectIn(body: string): Record<string, unknown> {
  if (body.length > MAX_CHARACTERS) throw new NoStepMessage(`it has more than ${MAX_CHARACTERS} characters`);
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new NoStepMessage('it is not JSON'); // the parser's own words quote the body
  }
  if (typeof value !== 'object' || value === null) throw new NoStepMessage('it is no JSON object');
  return value as Record<string, unknown>;
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && ID.test(value);
}

function isTask(value: unknown): value is StepTask {
  return typeof value === 'string' && Object.hasOwn(STEP_TASKS, value);
}
