import { Inject, Injectable } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { isUUID } from 'class-validator';
import { createHash, randomBytes } from 'node:crypto';
import { type Role, ROLES } from '../../shared/access.js';
import { CONFIG, type Config } from '../../shared/config.js';
import type { Session } from './sessions.service.js';

/** Seconds that an access token is good for. */
export const ACCESS_TOKEN_SECONDS = 900;

const ALGORITHM = 'HS256';
const ISSUER = 'order-pipeline';
const AUDIENCE = 'order-pipeline-api';

/** What an access token says, and until when, in ms UTC. */
export interface Claims {
  session: Session;
  expiresAt: number;
}

interface Payload {
  sub: string;
  sid: string;
  role: Role;
  user_id: string;
  exp: number;
}

/**
 * Access tokens: JWTs by HMAC-SHA-256, and by nothing else. The first key signs; a token signed with another active one is
 * good until it expires, so that keys can be exchanged while people are logged in.
 */
@Injectable()
export class AccessTokens {
  private readonly keys: Map<string, string>;
  private readonly signing: { secret: string; keyid: string };

  constructor(
    private readonly jwt: JwtService,
    @Inject(CONFIG) { jwtSecrets }: Config,
  ) {
    // Where access is open nobody has to give one; tokens are then good until the next start.
    const secrets = jwtSecrets.length > 0 ? jwtSecrets : [randomBytes(32).toString('base64')];
    this.keys = new Map(secrets.map((secret) => [idOf(secret), secret]));
    this.signing = { secret: secrets[0]!, keyid: idOf(secrets[0]!) };
  }

  /** A token for a session. */
  issue({ id, accountId, role, userId }: Session): string {
    const payload = { sub: accountId, sid: id, role, user_id: userId };
    return this.jwt.sign(payload, {
      ...this.signing,
      algorithm: ALGORITHM,
      issuer: ISSUER,
      audience: AUDIENCE,
      expiresIn: ACCESS_TOKEN_SECONDS,
    });
  }

  /** What a token says, or null where it is none of ours or has expired. */
  read(token: string): Claims | null {
    try {
      const { header } = this.jwt.decode<{ header: { kid?: string } }>(token, { complete: true });
      const secret = this.keys.get(header.kid ?? '');
      if (secret === undefined) return null;
      const payload: unknown = this.jwt.verify(token, {
        secret,
        algorithms: [ALGORITHM],
        issuer: ISSUER,
        audience: AUDIENCE,
      });
      if (!isPayload(payload)) return null;
      const { sid, sub, role, user_id } = payload;
      return { session: { id: sid, accountId: sub, role, userId: user_id }, expiresAt: payload.exp * 1000 };
    } catch {
      return null; // whatever is wrong with it, whoever sent it need not know
    }
  }
}

/** By which a token says what it was signed with; tells nothing of a secret that is random. */
function idOf(secret: string): string {
  return createHash('sha256').update(`key id of ${secret}`).digest('hex').slice(0, 8);
}

function isPayload(payload: unknown): payload is Payload {
  const { sub, sid, role, user_id, exp } = payload as Record<string, unknown>;
  return (
    isUUID(sub) &&
    isUUID(sid) &&
    ROLES.some((each) => each === role) &&
    typeof user_id === 'string' &&
    Number.isInteger(exp)
  );
}
