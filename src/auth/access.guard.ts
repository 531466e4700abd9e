import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Request } from 'express';
import { ADMISSION, type Admission, FOR_PERSONS, NotAllowed } from '../platform/http/access.js';
import type { Caller } from '../shared/access.js';
import { NotFound } from '../shared/errors.js';
import { cleanId } from '../shared/ids.js';
import { NoAdmission } from './admission-check.js';
import { Callers } from './callers.js';

/** Stands before every route: finds out who calls, and lets in whom the route's {@link Admission} names, nobody else. */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly callers: Callers,
  ) {}

  /** @throws NotSignedIn @throws TooManyAttempts @throws NotAllowed @throws NotFound @throws DatabaseUnavailable */
  canActivate(context: ExecutionContext): true | Promise<true> {
    const admission = this.admissionOf(context);
    if (admission.to === 'all') return true;
    const request = context.switchToHttp().getRequest<Request>();
    const caller = this.callers.of(request);
    return caller instanceof Promise
      ? caller.then((found) => admit(found, admission, request))
      : admit(caller, admission, request);
  }

  private admissionOf(context: ExecutionContext): Admission {
    const places = [context.getHandler(), context.getClass()];
    const admission = this.reflector.getAllAndOverride<Admission | undefined>(ADMISSION, places);
    if (!admission) throw new NoAdmission([`${context.getClass().name}.${context.getHandler().name}`]);
    return admission;
  }
}

function admit(caller: Caller, admission: Admission, request: Request): true {
  request.caller = caller;
  switch (admission.to) {
    case 'all':
    case 'callers':
      return true;
    case 'persons':
      if (caller.kind !== 'account' && caller.kind !== 'operator') throw new NotAllowed(FOR_PERSONS);
      return true;
    case 'scope':
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
