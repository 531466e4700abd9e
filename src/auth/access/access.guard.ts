import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Request, Response } from 'express';
import { ACCESS_POLICY, type AccessPolicy, FOR_PERSONS, networkOf, NotAllowed } from '../../platform/http/access.js';
import type { Caller } from '../../shared/access.js';
import { NotFound } from '../../shared/errors.js';
import { cleanId } from '../../domain/ids.js';
import { NoAccessPolicy } from './access-check.js';
import { Authenticator } from './authenticator.js';
import { RequestLimits } from './request-limits.js';

/**
 * Stands before every route: finds out who calls, counts what they ask for, and lets in whom the route's {@link AccessPolicy}
 * names, nobody else.
 */
@Injectable()
export class AccessGuard implements CanActivate {
  /** To look for decorators costs more than most of the rest. */
  private readonly admissions = new Map<object, Map<object, AccessPolicy>>();

  constructor(
    private readonly reflector: Reflector,
    private readonly callers: Authenticator,
    private readonly limits: RequestLimits,
  ) {}

  /** @throws Unauthenticated @throws TooManyAttempts @throws TooManyRequests @throws NotAllowed @throws NotFound @throws DatabaseUnavailable */
  canActivate(context: ExecutionContext): true | Promise<true> {
    const admission = this.accessPolicyOf(context);
    const request = context.switchToHttp().getRequest<Request>();
    if (!this.limits.apply) return this.admit(request, admission);
    return this.admitCounted(request, admission, context.switchToHttp().getResponse<Response>());
  }

  private accessPolicyOf(context: ExecutionContext): AccessPolicy {
    const [handler, controller] = [context.getHandler(), context.getClass()];
    let ofController = this.admissions.get(controller);
    if (!ofController) this.admissions.set(controller, (ofController = new Map<object, AccessPolicy>()));
    const known = ofController.get(handler);
    if (known) return known;
    const admission = this.reflector.getAllAndOverride<AccessPolicy | undefined>(ACCESS_POLICY, [handler, controller]);
    if (!admission) throw new NoAccessPolicy([`${controller.name}.${handler.name}`]);
    ofController.set(handler, admission);
    return admission;
  }

  private async admitCounted(request: Request, admission: AccessPolicy, response: Response): Promise<true> {
    try {
      return await this.admit(request, admission);
    } finally {
      // Who is refused is counted, too, by account or network.
      const { caller } = request;
      await this.limits.count(caller ? (caller.account?.id ?? caller.name) : networkOf(request), response);
    }
  }

  private admit(request: Request, admission: AccessPolicy): true | Promise<true> {
    request.readmit ??= () => this.admit(request, admission);
    if (admission.to === 'all') return true;
    const caller = this.callers.of(request);
    return caller instanceof Promise
      ? caller.then((found) => authorize(found, admission, request))
      : authorize(caller, admission, request);
  }
}

function authorize(caller: Caller, admission: AccessPolicy, request: Request): true {
  request.caller = caller;
  switch (admission.to) {
    case 'all':
    case 'callers':
      return true;
    case 'persons':
      assertPerson(caller);
      return true;
    case 'scope':
      if (admission.inPerson) assertPerson(caller);
      if (!caller.scopes.has(admission.scope)) throw NotAllowed.without(admission.scope);
      return true;
    case 'scope-or-own': {
      if (caller.scopes.has(admission.scope)) return true;
      const id = cleanId(String(request.params[admission.parameter]));
      if (id === null || id !== caller.account?.userId) throw new NotFound(`No orders of user ${id} are known.`);
      return true;
    }
  }
}

/** @throws NotAllowed */
function assertPerson({ kind }: Caller): void {
  if (kind !== 'account' && kind !== 'operator') throw new NotAllowed(FOR_PERSONS);
}
