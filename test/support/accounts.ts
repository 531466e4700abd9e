import { randomBytes } from 'node:crypto';
import type { Role } from '../../src/shared/access.js';
import type { Answer, RunningService } from './app.js';

/** Somebody who does not exist. Whatever is secret or personal of a fixture says so, for the search of the logs. */
export interface Person {
  email: string;
  password: string;
  fullName: string;
}

/** Of 32 bytes and more. */
export const A_JWT_SECRET = 'fixture-secret-that-signs-tokens-0123456789';

/** What a scraper of the metrics shows. */
export const A_METRICS_TOKEN = 'fixture-secret-of-the-scraper';

/** The first admin of a secured service. */
export const ADMIN: Person = {
  email: 'admin@fixture.example',
  password: 'fixture-secret quiet harbour',
  fullName: 'First admin',
};

/** The environment of a service that everybody has to log in to. */
export const SECURED = {
  ACCESS: 'secured',
  JWT_SECRET: A_JWT_SECRET,
  ADMIN_EMAIL: ADMIN.email,
  ADMIN_PASSWORD: ADMIN.password,
  METRICS_TOKEN: A_METRICS_TOKEN,
};

/** A new person, without a digit in their password: to rate one that could be leetspeak costs 60 ms instead of 2. */
export function aPerson(): Person {
  const id = randomBytes(6)
    .toString('hex')
    .replace(/\d/g, (digit) => 'ghijklmnop'[Number(digit)]!);
  return {
    email: `p${id}@fixture.example`,
    password: `fixture-secret seven maps ${id}`,
    fullName: `Fixture Name ${id}`,
  };
}

/** Makes the account of a person. */
export function signUp(service: RunningService, { email, password, fullName }: Person): Promise<Answer> {
  return service.call('POST', '/api/v1/auth/signup', { email, password, full_name: fullName });
}

/** Logs a person in. */
export function logIn(
  service: RunningService,
  { email, password }: Pick<Person, 'email' | 'password'>,
): Promise<Answer> {
  return service.call('POST', '/api/v1/auth/login', { email, password });
}

/** The header that shows an access token or an API key. */
export function bearer(token: string): { authorization: string } {
  return { authorization: `Bearer ${token}` };
}

/** The header of the first admin of a {@link SECURED} service. */
export async function asAdmin(service: RunningService): Promise<{ authorization: string }> {
  return bearer((await logIn(service, ADMIN)).body.access_token);
}

/** A new account of a role, logged in. */
export async function anAccount(
  service: RunningService,
  role: Role = 'customer',
): Promise<Person & { id: string; userId: string; header: { authorization: string }; refreshToken: string }> {
  const person = aPerson();
  const { body: account } = await signUp(service, person);
  if (role !== 'customer') {
    await service.call('PUT', `/api/v1/auth/accounts/${account.id}/role`, { role }, await asAdmin(service));
  }
  const { body: tokens } = await logIn(service, person);
  return {
    ...person,
    id: account.id,
    userId: account.user_id,
    header: bearer(tokens.access_token),
    refreshToken: tokens.refresh_token,
  };
}
