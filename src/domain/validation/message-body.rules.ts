import { parseShallow } from './shallow-json.rules.js';

/** An object as JSON.parse makes it; read it by own properties only. */
export type JsonObject = Record<string, unknown>;

/** Whether a parsed JSON value is an object, not a list and not null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a message body carries. */
export interface ReadBody {
  event: JsonObject;
  /** Whether it stood within a string or an envelope. */
  isWrapped: boolean;
}

/** The JSON object that a message body carries, see {@link unwrapBody}; or the reason why there is none. */
export function readBody(body: string): JsonObject | 'malformed_json' | 'not_an_object' {
  const read = unwrapBody(body);
  return typeof read === 'string' ? read : read.event;
}

/**
 * Reads a message body. One that is a JSON string and an Amazon SNS envelope (as SNS delivers to SQS without raw delivery)
 * are each unwrapped at most once, in either order; white space and a byte order mark around any of them don't matter.
 * @returns what it carries, or the reason why that is no object
 */
export function unwrapBody(body: string): ReadBody | 'malformed_json' | 'not_an_object' {
  let value: unknown;
  let stringAllowed = true;
  let envelopeAllowed = true;
  try {
    value = parseShallow(body.trim());
    for (;;) {
      if (stringAllowed && typeof value === 'string') {
        stringAllowed = false;
        value = parseShallow(value.trim());
      } else if (envelopeAllowed && isSnsEnvelope(value)) {
        envelopeAllowed = false;
        value = parseShallow(value.Message.trim());
      } else {
        break;
      }
    }
  } catch {
    return 'malformed_json';
  }
  return isJsonObject(value) ? { event: value, isWrapped: !stringAllowed || !envelopeAllowed } : 'not_an_object';
}

/** https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html */
function isSnsEnvelope(value: unknown): value is { Message: string } {
  return (
    isJsonObject(value) &&
    Object.hasOwn(value, 'Type') &&
    value['Type'] === 'Notification' &&
    Object.hasOwn(value, 'TopicArn') &&
    typeof value['TopicArn'] === 'string' &&
    Object.hasOwn(value, 'Message') &&
    typeof value['Message'] === 'string'
  );
}
