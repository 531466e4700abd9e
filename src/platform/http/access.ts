import { applyDecorators, createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import { ApiBearerAuth } from '@nestjs/swagger';
import type { Request } from 'express';
import type { Actor, Caller, Scope } from '../../shared/access.js';
import { ClientError } from '../../shared/errors.js';
import { ApiProblem } from './api-problem.js';

declare module 'express-serve-static-core' {
  interface Request {
    /** Set by the guard on every route that is not {@link OpenToAll}. */
    caller?: Caller;
    /** Set by the guard. Admits the request once more, or throws what it would be refused with if it came now. */
    readmit?: () => true | Promise<true>;
  }
}

/** Whom a route lets in. Every route says so, or the service does not start. */
export type AccessPolicy =
  | { to: 'all' }
  | { to: 'callers' }
  | { to: 'persons' }
  | { to: 'scope'; scope: Scope; inPerson: boolean }
  /** Also whoever the user id in the path belongs to, with or without the scope. */
  | { to: 'scope-or-own'; scope: Scope; parameter: string };

/** Where a route's {@link AccessPolicy} is found. */
export const ACCESS_POLICY = 'admission';

/** What a machine is told where only a person may ask. */
export const FOR_PERSONS = 'This is for persons who have logged in, not for API keys.';

/** No credentials came, or such as are not, or no longer, good. */
export class Unauthenticated extends ClientError {
  readonly code = 'not_signed_in';
  readonly kind = 'unauthenticated';
  constructor(detail = 'Log in at /api/v1/auth/login, and send the access token as Authorization: Bearer …') {
    super(detail);
  }
}

/** The caller is known, and may not do this. */
export class NotAllowed extends ClientError {
  readonly code = 'not_allowed';
  readonly kind = 'forbidden';

  static without(scope: Scope): NotAllowed {
    return new NotAllowed(`This needs the scope ${scope}, which your role or API key does not have.`);
  }
}

/** The route asks nobody who they are. */
export const OpenToAll = (): MethodDecorator & ClassDecorator => admit({ to: 'all' });

/** The route is for everybody who shows who they are, by whatever means. */
export const ForAnyCaller = (): MethodDecorator & ClassDecorator =>
  applyDecorators(admit({ to: 'callers' }), ApiBearerAuth(), ApiNotSignedIn());

/** The route is for persons, whatever their role, and for no machine. */
export const ForPersons = (): MethodDecorator & ClassDecorator =>
  applyDecorators(admit({ to: 'persons' }), ApiBearerAuth(), ApiNotSignedIn(), ApiNotAllowed(FOR_PERSONS));

/** The route needs a scope. */
export const RequireScope = (scope: Scope): MethodDecorator & ClassDecorator => needs(scope, false);

/** The route needs a scope, and that it is a person who has it: what it does could give a machine more than it was given. */
export const RequireScopeInPerson = (scope: Scope): MethodDecorator & ClassDecorator => needs(scope, true);

/**
 * The route needs a scope, or that the user id in its path is the caller's own. To whoever has neither another's looks as
 * if it were not there.
 */
export const RequireScopeOrOwner = (scope: Scope, parameter: string): MethodDecorator & ClassDecorator =>
  applyDecorators(admit({ to: 'scope-or-own', scope, parameter }), ApiBearerAuth(), ApiNotSignedIn());

/** Hands a handler the {@link Caller}. Only on routes that are not {@link OpenToAll}. */
export const CurrentCaller = createParamDecorator((_: unknown, context: ExecutionContext): Caller => {
  return callerOf(context.switchToHttp().getRequest<Request>());
});

/** Hands a handler the {@link Actor} that its record is to name. Only on routes that are not {@link OpenToAll}. */
export const CurrentActor = createParamDecorator((_: unknown, context: ExecutionContext): Actor => {
  const request = context.switchToHttp().getRequest<Request>();
  return { name: callerOf(request).name, requestId: requestIdOf(request) };
});

/** What a request is called in logs and records. */
export function requestIdOf(request: Request): string | null {
  return typeof request.id === 'string' ? request.id : null;
}

/**
 * Where a request comes from, as far as limits go: the address, or of IPv6 the network of 64 bits, of which whoever has one
 * has all addresses. Of proxies only those are believed that TRUSTED_PROXIES counts.
 */
export function networkOf({ ip = 'unknown' }: Pick<Request, 'ip'>): string {
  const address = ip.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  if (!address.includes(':')) return address;
  const [before, after] = address.split('::').map((part) => part.split(':').filter(Boolean)) as [string[], string[]?];
  const left = after ? [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after] : before;
  return `${left.slice(0, 4).join(':')}::/64`;
}

function callerOf(request: Request): Caller {
  if (!request.caller) throw new Error(`Nobody was admitted to ${request.method} ${request.path}`);
  return request.caller;
}

function needs(scope: Scope, inPerson: boolean): MethodDecorator & ClassDecorator {
  return applyDecorators(
    admit({ to: 'scope', scope, inPerson }),
    ApiBearerAuth(),
    ApiNotSignedIn(),
    ApiNotAllowed(NotAllowed.without(scope).message),
  );
}

function admit(admission: AccessPolicy): MethodDecorator & ClassDecorator {
  return SetMetadata(ACCESS_POLICY, admission);
}

function ApiNotSignedIn(): MethodDecorator & ClassDecorator {
  return ApiProblem(401, { not_signed_in: 'Log in at /api/v1/auth/login, and send the access token.' });
}

function ApiNotAllowed(detail: string): MethodDecorator & ClassDecorator {
  return ApiProblem(403, { not_allowed: detail });
}
