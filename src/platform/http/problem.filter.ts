import { STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException, Logger } from '@nestjs/common';
import type { Request, Response } from 'express';
import { ClientError, type FieldError, messageOf, type ErrorKind, UnavailableError } from '../../shared/errors.js';
import { requestIdOf } from './access.js';
import type { Problem } from './api-problem.js';

const RETRY_AFTER_SECONDS = 1;

const STATUS_OF_MISTAKE: Record<ErrorKind, number> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  unsupported: 415,
  unprocessable: 422,
  too_many: 429,
};

/** The codes of what body-parser refuses, by the `type` of its errors. */
const CODE_OF_BODY_FAULT: Record<string, string> = {
  'entity.too.large': 'body_too_large',
  'parameters.too.many': 'body_too_large',
  'charset.unsupported': 'unsupported_charset',
  'encoding.unsupported': 'unsupported_encoding',
};

/** What a failed request comes to. */
interface Verdict {
  status: number;
  /** Stable, documented, machine-readable. */
  code: string;
  detail: string;
  errors?: FieldError[];
  /** Seconds. */
  retryAfter?: number;
  /** Further members of the answer. */
  details?: Record<string, unknown>;
}

/**
 * Turns whatever a request failed with into an answer of RFC 9457: `application/problem+json` with a stable `code`, the
 * wrong fields as `errors`, and what else the error tells. Of a fault of ours nothing is shown; it is logged.
 */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  private readonly logger = new Logger('Http');

  catch(error: unknown, host: ArgumentsHost): void {
    const request = host.switchToHttp().getRequest<Request>();
    const response = host.switchToHttp().getResponse<Response>();
    const verdict = judge(error, request);
    if (verdict.status === 500) {
      this.logger.error(
        `${request.method} ${pathOf(request)} failed: ${messageOf(error)}`,
        error instanceof Error ? error.stack : undefined,
      );
    }
    if (response.headersSent) {
      // A stream that breaks off must not look complete; an answer that was complete stays.
      if (!response.writableEnded) response.destroy();
      return;
    }
    const { status, code, retryAfter } = verdict;
    const requestId = requestIdOf(request);
    if (requestId !== null) response.setHeader('X-Request-Id', requestId);
    if (status === 401) response.setHeader('WWW-Authenticate', 'Bearer');
    if (status === 503) response.setHeader('Retry-After', RETRY_AFTER_SECONDS);
    else if (retryAfter !== undefined) response.setHeader('Retry-After', retryAfter);
    // RFC 9110, section 12.5.3: which encodings would have been taken.
    if (code === 'unsupported_encoding') response.setHeader('Accept-Encoding', 'identity');
    response.status(status).setHeader('Content-Type', 'application/problem+json');
    response.end(JSON.stringify(problemIn(verdict, request)));
  }
}

/** What a request that failed so is answered with. For an answer that is under way, and so can't become a problem itself. */
export function problemOf(error: unknown, request: Request): Problem {
  return problemIn(judge(error, request), request);
}

function problemIn({ status, code, detail, errors, details }: Verdict, request: Request): Problem {
  const problem = {
    type: 'about:blank',
    title: STATUS_CODES[status]!,
    status,
    detail,
    code,
    instance: pathOf(request),
    errors,
  };
  return { ...problem, ...details, ...problem };
}

function judge(error: unknown, request: Request): Verdict {
  if (error instanceof ClientError) {
    const { code, message, fields, retryAfter } = error;
    return {
      status: STATUS_OF_MISTAKE[error.kind],
      code,
      detail: message,
      errors: fields.length > 0 ? fields : undefined,
      retryAfter: retryAfter ?? undefined,
    };
  }
  if (error instanceof UnavailableError) {
    return { status: 503, code: error.code, detail: error.message, details: error.details };
  }
  if (error instanceof HttpException && error.getStatus() !== 500) return problemOfHttpException(error, request);
  if (isRefusalOfExpress(error)) {
    const code = error.status === 400 ? codeOfMalformed(request) : CODE_OF_BODY_FAULT[error.type ?? ''];
    return { status: error.status, code: code ?? codeOfStatus(error.status), detail: detailOf(error) };
  }
  return { status: 500, code: 'internal_error', detail: 'Something went wrong on our side; it has been logged.' };
}

function problemOfHttpException(error: HttpException, request: Request): Verdict {
  const status = error.getStatus();
  const answer = error.getResponse();
  if (status === 503 && isHealthReport(answer)) {
    const { info, error: failing, details } = answer;
    return {
      status,
      code: 'not_ready',
      detail: `Not ready: ${Object.keys(failing).join(', ')}.`,
      details: { info, error: failing, details },
    };
  }
  // Whatever else isn't there is an error of ours with a message of its own.
  const code = status === 404 ? 'route_not_found' : status === 400 ? codeOfMalformed(request) : codeOfStatus(status);
  return { status, code, detail: sentence(error.message) };
}

/** What terminus answers where a check fails. */
interface HealthReport {
  info: Record<string, unknown>;
  error: Record<string, unknown>;
  details: Record<string, unknown>;
}

function isHealthReport(answer: string | object): answer is HealthReport {
  return typeof answer === 'object' && 'error' in answer && typeof answer.error === 'object' && answer.error !== null;
}

/** As http-errors makes it. */
type RefusalOfExpress = Error & { status: number; type?: string; limit?: number };

/** An error of Express's own parts that the caller may see. */
function isRefusalOfExpress(error: unknown): error is RefusalOfExpress {
  if (!(error instanceof Error) || !('status' in error) || !('expose' in error)) return false;
  return error.expose === true && typeof error.status === 'number' && error.status >= 400 && error.status < 500;
}

function detailOf({ type, limit, message }: RefusalOfExpress): string {
  if (type === 'entity.too.large' && limit !== undefined) return `The body is larger than ${limit} bytes.`;
  if (type === 'encoding.unsupported') return 'Send the body as it is: no compression is taken.';
  return sentence(message);
}

/** Nest hands over bad bodies and bad URLs as the same exception; the request tells which it was. */
function codeOfMalformed(request: Request): string {
  try {
    decodeURIComponent(pathOf(request));
  } catch {
    return 'malformed_url';
  }
  const { 'content-length': length, 'transfer-encoding': chunked } = request.headers;
  const hasBody = chunked !== undefined || Number(length) > 0;
  return hasBody && request.body === undefined ? 'malformed_body' : codeOfStatus(400);
}

function codeOfStatus(status: number): string {
  return (STATUS_CODES[status] ?? `status ${status}`).toLowerCase().replace(/[^a-z0-9]+/g, '_');
}

function sentence(message: string): string {
  const capitalised = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(capitalised) ? capitalised : `${capitalised}.`;
}

function pathOf(request: Request): string {
  return request.originalUrl.split('?', 1)[0]!;
}
