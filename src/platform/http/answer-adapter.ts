import { StreamableFile } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import type { Express, Response } from 'express';
import { createServer, IncomingMessage, ServerResponse } from 'node:http';

/** Whoever sends a request drop by drop is cut off, in ms. */
const TIMES = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 5_000 };

const JSON_TYPE = 'application/json; charset=utf-8';

/** Makes of what a handler returned what is to be sent; may set headers. */
export type Layout = (answer: object) => object | string;

/** Has the answer to a request laid out in another way than as JSON; an error is not. */
export function layOut(response: Response, layout: Layout): void {
  response.locals.layout = layout;
}

/**
 * Express as this service needs it, plain HTTP only. JSON goes out at once: Express would parse the type that it has just
 * set, and compare with what the client has already, by an ETag that figures which change all the time have no use for.
 */
export class AnswerAdapter extends ExpressAdapter {
  /**
   * Express gives every request and response another prototype, which makes all that is done with them slower. Here they
   * are made with the prototypes that Express wants.
   */
  override initHttpServer(): void {
    const app = this.getInstance<Express>();
    class ServiceRequest extends IncomingMessage {}
    class ServiceResponse extends ServerResponse<ServiceRequest> {}
    Object.setPrototypeOf(ServiceRequest.prototype, app.request);
    Object.setPrototypeOf(ServiceResponse.prototype, app.response);
    Object.assign(app, { request: ServiceRequest.prototype, response: ServiceResponse.prototype });
    this.httpServer = createServer({ IncomingMessage: ServiceRequest, ServerResponse: ServiceResponse, ...TIMES }, app);
  }

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
