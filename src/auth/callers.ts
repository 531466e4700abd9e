import { Injectable } from '@nestjs/common';
import { NotSignedIn } from '../platform/http/access.js';
import { type Caller, LOCAL_OPERATOR } from '../shared/access.js';

/** Finds out who makes a request. */
@Injectable()
export class Callers {
  /** @param authorization the header @throws NotSignedIn @throws DatabaseUnavailable */
  of(authorization: string | undefined): Caller | Promise<Caller> {
    if (authorization === undefined) return LOCAL_OPERATOR;
    throw new NotSignedIn();
  }
}
