import { BadRequestException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { json, type Request, type RequestHandler, type Response } from 'express';
import type { IncomingMessage } from 'node:http';
import { ClientError, InvalidInput } from '../../shared/errors.js';
import { isJsonDeeper, MAX_LEVELS } from '../../shared/nesting.js';

const MAX_BODY_BYTES = 1_048_576;
/** Of a request that does not show who sends it. A thousand clients that send such bodies slowly take 64 MB and not a gigabyte. */
const MAX_PUBLIC_BODY_BYTES = 65_536;
/** RFC 8259, section 8.1. */
const CHARSET = 'utf-8';

/** A body is not in UTF-8. */
export class UnsupportedCharset extends ClientError {
  readonly code = 'unsupported_charset';
  readonly kind = 'unsupported';
  constructor() {
    super('JSON is sent in UTF-8.');
  }
}

/**
 * Reads the body of a request as JSON, whatever type it claims: what is not JSON is refused, not ignored. Bodies have at most
 * 1 MiB, and 64 KiB where no caller is known, as on routes that are {@link OpenToAll}; they are not compressed and nested no deeper than {@link MAX_LEVELS}.
 *
 * A guard, and to be the last global one: so no body is read of a request that the others refuse, by a limit or for want of
 * credentials. Nest runs every middleware before the first guard.
 */
export class RequestBodyGuard implements CanActivate {
  private readonly readJson: RequestHandler;
  private readonly readPublicJson: RequestHandler;

  /** @param needsRawBody whether the bytes of a body are to be kept as `rawBody` of its request */
  constructor(needsRawBody: (request: IncomingMessage) => boolean) {
    const reading = (limit: number): RequestHandler =>
      json({
        limit,
        type: () => true,
        inflate: false,
        verify: (request: IncomingMessage & { rawBody?: Buffer }, _response, body, charset) => {
          assertReadable(body, charset);
          if (needsRawBody(request)) request.rawBody = body;
        },
      });
    this.readJson = reading(MAX_BODY_BYTES);
    this.readPublicJson = reading(MAX_PUBLIC_BODY_BYTES);
  }

  /** @throws InvalidInput @throws UnsupportedCharset @throws BadRequestException, and errors of body-parser */
  canActivate(context: ExecutionContext): true | Promise<true> {
    const http = context.switchToHttp();
    const request = http.getRequest<Request>();
    if (!hasBody(request)) return true;
    const readJson = request.caller ? this.readJson : this.readPublicJson;
    return this.read(readJson, request, http.getResponse<Response>());
  }

  private async read(readJson: RequestHandler, request: Request, response: Response): Promise<true> {
    await new Promise<void>((resolve, reject) => {
      void readJson(request, response, (error?: unknown) => (error instanceof Error ? reject(error) : resolve()));
    });
    // body-parser skips the body of a client that left while a guard before this one was busy.
    if (request.body === undefined) throw new BadRequestException('The request was aborted');
    return true;
  }
}

function hasBody({ headers }: Request): boolean {
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
}

function assertReadable(body: Buffer, charset: string): void {
  if (charset !== CHARSET) throw new UnsupportedCharset();
  if (isJsonDeeper(body, MAX_LEVELS)) {
    throw new InvalidInput([{ field: 'body', message: `must not be nested deeper than ${MAX_LEVELS} levels` }]);
  }
}
