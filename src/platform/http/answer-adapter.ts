import { StreamableFile } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import type { Response } from 'express';

const JSON_TYPE = 'application/json; charset=utf-8';

/** Makes of what a handler returned what is to be sent; may set headers. */
export type Layout = (answer: object) => object | string;

/** Has the answer to a request laid out in another way than as JSON; an error is not. */
export function layOut(response: Response, layout: Layout): void {
  response.locals.layout = layout;
}

/**
 * Writes answers. JSON goes out at once: Express would parse the type that it has just set, and compare with what the client
 * has already, by an ETag that figures which change all the time have no use for.
 */
export class AnswerAdapter extends ExpressAdapter {
  override reply(response: Response, returned: unknown, statusCode?: number): unknown {
    const { layout } = response.locals as { layout?: Layout };
    const answer = layout ? layout(returned as object) : returned;
    if (!isForJson(answer) || response.hasHeader('Content-Type')) return super.reply(response, answer, statusCode);
    if (statusCode !== undefined) response.statusCode = statusCode;
    const json = JSON.stringify(answer);
    response.setHeader('Content-Type', JSON_TYPE);
    response.setHeader('Content-Length', Buffer.byteLength(json));
    return response.end(json);
  }
}

function isForJson(answer: unknown): answer is object {
  return (
    typeof answer === 'object' && answer !== null && !(answer instanceof StreamableFile || answer instanceof Error)
  );
}
