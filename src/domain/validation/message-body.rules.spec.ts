import { readBody } from './message-body.rules.js';

const order = { order_id: 'ORD1' };

function snsEnvelope(message: string): string {
  return JSON.stringify({
    Type: 'Notification',
    MessageId: '22b80b92',
    TopicArn: 'arn:aws:sns:us-east-1:123456789012:orders',
    Message: message,
    Timestamp: '2024-03-01T10:00:00.000Z',
  });
}

describe('readBody', () => {
  it('reads a JSON object', () => {
    expect(readBody('{"order_id":"ORD1"}')).toEqual(order);
  });

  it('ignores white space and a byte order mark around the body', () => {
    expect(readBody('\uFEFF \r\n\t{"order_id":"ORD1"}\n ')).toEqual(order);
  });

  it('unwraps a JSON string once', () => {
    const once = JSON.stringify(JSON.stringify(order));
    expect(readBody(once)).toEqual(order);
    expect(readBody(JSON.stringify(once))).toBe('not_an_object');
  });

  it('ignores white space and a byte order mark inside the string and the envelope', () => {
    expect(readBody(JSON.stringify('\uFEFF {"order_id":"ORD1"} '))).toEqual(order);
    expect(readBody(snsEnvelope('\uFEFF {"order_id":"ORD1"} '))).toEqual(order);
  });

  it('unwraps an SNS envelope once', () => {
    const once = snsEnvelope(JSON.stringify(order));
    expect(readBody(once)).toEqual(order);
    expect(readBody(snsEnvelope(once))).toMatchObject({ Type: 'Notification', MessageId: '22b80b92' });
  });

  it('unwraps an envelope in a string and a string in an envelope', () => {
    expect(readBody(JSON.stringify(snsEnvelope(JSON.stringify(order))))).toEqual(order);
    expect(readBody(snsEnvelope(JSON.stringify(JSON.stringify(order))))).toEqual(order);
  });

  it('unwraps at most one string and one envelope', () => {
    const stringInEnvelopeInString = JSON.stringify(snsEnvelope(JSON.stringify(JSON.stringify(order))));
    expect(readBody(stringInEnvelopeInString)).toBe('not_an_object');
  });

  it.each([
    ['another type', { Type: 'SubscriptionConfirmation', TopicArn: 'arn', Message: '{}' }],
    ['no topic', { Type: 'Notification', Message: '{}' }],
    ['a message that is not text', { Type: 'Notification', TopicArn: 'arn', Message: {} }],
  ])('takes an object with %s for no envelope', (_what, object) => {
    expect(readBody(JSON.stringify(object))).toEqual(object);
  });

  it.each([
    ['nothing', ''],
    ['white space', ' \n '],
    ['a word', 'hello'],
    ['half an object', '{"order_id":"ORD1"'],
    ['a trailing comma', '{"order_id":"ORD1",}'],
    ['single quotes', "{'order_id':'ORD1'}"],
    ['NaN', '{"order_value":NaN}'],
    ['two objects', '{}{}'],
    ['a raw NUL', '{"order_id":"ORD\u0000"}'],
    ['a string with text that is no JSON', '"hello"'],
    ['an empty string', '""'],
    ['an envelope with text that is no JSON', snsEnvelope('hello')],
  ])('finds no JSON in %s', (_what, body) => {
    expect(readBody(body)).toBe('malformed_json');
  });

  it.each(['[]', '[{"order_id":"ORD1"}]', '5', '-0', 'true', 'null', '"5"', '"null"', '"[]"', snsEnvelope('[]')])(
    'finds no object in %s',
    (body) => {
      expect(readBody(body)).toBe('not_an_object');
    },
  );

  it('reads a megabyte of nesting', () => {
    expect(typeof readBody(`{"junk":${'['.repeat(524_000)}${']'.repeat(524_000)}}`)).toBe('object');
    expect(readBody('['.repeat(1_048_576))).toBe('malformed_json');
  });

  it('takes __proto__ for a field like any other', () => {
    const read = readBody('{"__proto__":{"order_id":"ORD1"}}');
    expect(Object.hasOwn(read as object, 'order_id')).toBe(false);
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
  });
});
