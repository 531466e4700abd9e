import type { RequestHandler } from 'express';
import { ClientError } from '../../shared/errors.js';
import { isLoopbackHost } from './loopback.js';

/** The Host header names something else than this machine. */
export class ForeignHost extends ClientError {
  readonly code = 'foreign_host';
  readonly kind = 'forbidden';
  constructor() {
    super('This service answers on this machine only: call it as localhost or 127.0.0.1.');
  }
}

/** The request comes from a web page of another origin. */
export class ForeignOrigin extends ClientError {
  readonly code = 'foreign_origin';
  readonly kind = 'forbidden';
  constructor() {
    super('Web pages of this origin may not call this service; CORS_ORIGINS names those that may.');
  }
}

/**
 * Keeps the web pages that a browser on this machine shows from reaching this service. To be installed first, so that of
 * a refused request not even the body is read.
 * @param corsOrigins origins that may call it besides its own pages
 */
export function sameMachineOnly(corsOrigins: readonly string[]): RequestHandler {
  return (request, _response, next) => {
    const { host, origin } = request.headers;
    if (!isLoopbackHost(host)) return next(new ForeignHost());
    if (origin !== undefined && !isOwnOrigin(origin, host!) && !corsOrigins.includes(origin)) {
      return next(new ForeignOrigin());
    }
    // A picture or a script of another page's has no origin, but says that it is one.
    const { 'sec-fetch-site': site, 'sec-fetch-mode': mode } = request.headers;
    if (origin === undefined && site === 'cross-site' && mode !== 'navigate') return next(new ForeignOrigin());
    next();
  };
}

function isOwnOrigin(origin: string, host: string): boolean {
  return [`http://${host}`, `https://${host}`].some((own) => own.toLowerCase() === origin.toLowerCase());
}
