import { NoStepMessage, stepMessageIn, stepMessageText, type StepMessage } from './step-messages.js';

const MESSAGE: StepMessage = {
  messageId: '0198b0a4-7c1e-7d5e-9f7e-3a4d5c6b7a89',
  orderId: 'ORD-1001',
  task: 'charge',
  reference: '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11',
};

const TEXT = JSON.parse(stepMessageText(MESSAGE)) as Record<string, unknown>;
const textWith = (fields: Record<string, unknown>): string => JSON.stringify({ ...TEXT, ...fields });

describe('A step message', () => {
  it('is JSON in snake_case', () => {
    expect(TEXT).toEqual({
      message_id: MESSAGE.messageId,
      order_id: 'ORD-1001',
      task: 'charge',
      reference: MESSAGE.reference,
    });
  });

  it.each([MESSAGE, { ...MESSAGE, task: 'return-payment' as const, reference: null }])(
    'is read as it was sent',
    (sent) => {
      expect(stepMessageIn(stepMessageText(sent))).toEqual(sent);
    },
  );

  it('may have fields of a later version', () => {
    expect(stepMessageIn(textWith({ priority: 3 }))).toEqual(MESSAGE);
  });

  it.each([
    ['it is not JSON', 'reserve ORD-1001'],
    ['it is no JSON object', 'null'],
    ['it is no JSON object', '"text"'],
    ['message_id is no UUID', '{}'],
    ['message_id is no UUID', '[]'],
    ['message_id is no UUID', textWith({ message_id: 7 })],
    ['order_id is no id', textWith({ order_id: '' })],
    ['order_id is no id', textWith({ order_id: 'x'.repeat(129) })],
    ['order_id is no id', textWith({ order_id: ['ORD-1'] })],
    ['task is none of', textWith({ task: 'toString' })],
    ['task is none of', textWith({ task: null })],
    ['reference is neither an id nor null', textWith({ reference: 'two words' })],
    ['reference is neither an id nor null', textWith({ reference: undefined })],
    ['it has more than 4096 characters', textWith({ padding: 'x'.repeat(4_096) })],
  ])('is not what else comes: %s', (reason, body) => {
    expect(() => stepMessageIn(body)).toThrow(NoStepMessage);
    expect(() => stepMessageIn(body)).toThrow(`This is no message of a step: ${reason}`);
  });
});
