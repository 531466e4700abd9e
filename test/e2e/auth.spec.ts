import { JwtService } from '@nestjs/jwt';
import * as argon2 from 'argon2';
import { sql } from 'drizzle-orm';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { ApiKeys } from '../../src/auth/api-keys/api-keys.service.js';
import { Authenticator } from '../../src/auth/access/authenticator.js';
import { Sessions } from '../../src/auth/sessions/sessions.service.js';
import { networkOf } from '../../src/platform/http/access.js';
import {
  A_JWT_SECRET,
  ADMIN,
  anAccount,
  aPerson,
  asAdmin,
  bearer,
  logIn,
  SECURED,
  signUp,
} from '../support/accounts.js';
import { aWorld, type Answer, RunningService } from '../support/app.js';
import { itWithRedis } from '../support/only-on.js';

const UUID = '5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11';

let service: RunningService;

beforeAll(async () => {
  service = await RunningService.ready({ environment: SECURED });
}, 60_000);

afterAll(() => service.stop());

function refresh(refreshToken: unknown, at = service): Promise<Answer> {
  return at.call('POST', '/api/v1/auth/refresh', { refresh_token: refreshToken });
}

async function me(header: Record<string, string>, at = service): Promise<Answer> {
  return at.get('/api/v1/auth/me', header);
}

/** The answer to a request that announces a body and does not send it. */
async function statusWithoutBody(at: RunningService, path: string): Promise<number> {
  const socket = connect(Number(new URL(at.url).port), '127.0.0.1');
  socket.write(`POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer.toString())?.[1]);
}

/** What the database knows, as text. */
async function stored(table: string): Promise<string> {
  return JSON.stringify(await service.database.query(sql.raw(`select t::text from ${table} t`)));
}

describe('Signing up', () => {
  it('makes a customer with a user id of their own, and shows no password', async () => {
    const person = aPerson();
    const { status, body } = await signUp(service, { ...person, email: ` ${person.email.toUpperCase()} ` });
    expect(status).toBe(201);
    expect(body).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      email: person.email,
      full_name: person.fullName,
      role: 'customer',
      user_id: expect.stringMatching(/^U[0-9A-F]{16}$/),
      created_at: expect.stringMatching(/Z$/),
    });
    expect((await logIn(service, person)).status).toBe(200);
  });

  it('stores the password as argon2id with the parameters of OWASP, and never as it is', async () => {
    const person = aPerson();
    jest.mocked(argon2.hash).mockImplementationOnce(jest.requireActual<typeof argon2>('argon2').hash);
    await signUp(service, person);
    const [row] = await service.database.query<{ hash: string }>(
      sql`select password_hash as hash from accounts where email = ${person.email}`,
    );
    expect(row!.hash).toMatch(/^\$argon2id\$v=19\$m=19456,(t=2,p=1|p=1,t=2)\$/);
    expect(await stored('accounts')).not.toContain(person.password);
  });

  it.each([
    ['password1234', 'common_password'],
    ['Password12345', 'common_password'],
    ['123456789012', 'common_password'],
    ['qwertyuiopasdfgh', 'common_password'],
    ['aaaaaaaaaaaaaaaa', 'common_password'],
    ['a'.repeat(128), 'common_password'],
    ['elevenchars', 'invalid_input'],
    ['x'.repeat(129), 'invalid_input'],
    [123456789012, 'invalid_input'],
    [null, 'invalid_input'],
    [['quiet harbour seven maps'], 'invalid_input'],
  ])('refuses the password %j', async (password, code) => {
    const { email, fullName: full_name } = aPerson();
    const answer = await service.call('POST', '/api/v1/auth/signup', { email, password, full_name });
    expect(answer).toMatchObject({ status: 400, body: { code, errors: [{ field: 'password' }] } });
  });

  it('refuses a password that is made of the name or the address', async () => {
    const person = { email: 'wilhelmina.harker@fixture.example', password: 'wilhelmina.harker', fullName: 'Mina' };
    expect(await signUp(service, person)).toMatchObject({ status: 400, body: { code: 'common_password' } });
  });

  it.each(['role', 'user_id', 'id', 'is_admin', 'password_hash'])('lets nobody choose their %s', async (field) => {
    const { email, password, fullName: full_name } = aPerson();
    const answer = await service.call('POST', '/api/v1/auth/signup', { email, password, full_name, [field]: 'admin' });
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ field, message: 'is not known here' }] } });
    expect((await logIn(service, { email, password })).status).toBe(401);
  });

  it.each(['', 'nobody', 'a@b', 'a b@c.example', 'a@b@c.example', '"a"@b.example', `${'a'.repeat(250)}@b.example`, 7])(
    'refuses the address %j',
    async (email) => {
      const { password, fullName: full_name } = aPerson();
      const answer = await service.call('POST', '/api/v1/auth/signup', { email, password, full_name });
      expect(answer).toMatchObject({ status: 400, body: { errors: [{ field: 'email' }] } });
    },
  );

  it('makes one account of an address, whoever asks how often at once', async () => {
    const person = aPerson();
    const answers = await Promise.all(Array.from({ length: 8 }, () => signUp(service, person)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409, 409, 409, 409]);
    expect(answers.find(({ status }) => status === 409)!.body.code).toBe('email_taken');
  });
});

describe('Guessing who has an account', () => {
  it('ends after twenty addresses that have one, known or not, and counts no other sign-up', async () => {
    const guessed = await RunningService.ready({ environment: SECURED });
    try {
      const known = aPerson();
      const others = await Promise.all(Array.from({ length: 12 }, () => signUp(guessed, aPerson())));
      const weak = Array.from({ length: 12 }, () => signUp(guessed, { ...aPerson(), password: 'password1234' }));
      expect(new Set(others.map(({ status }) => status))).toEqual(new Set([201]));
      expect(new Set((await Promise.all(weak)).map(({ status }) => status))).toEqual(new Set([400]));

      await signUp(guessed, known);
      const guess = () => signUp(guessed, { ...aPerson(), email: known.email });
      const answers = await Promise.all(Array.from({ length: 30 }, guess));
      expect(answers.filter(({ status }) => status === 409)).toHaveLength(20);
      const refused = answers.filter(({ status }) => status === 429);
      expect(refused).toHaveLength(10);
      expect(refused[0]!.body.code).toBe('too_many_attempts');
      expect(Number(refused[0]!.headers.get('retry-after'))).toBeGreaterThan(3_500);
      expect((await signUp(guessed, aPerson())).status).toBe(429);
    } finally {
      await guessed.stop();
    }
  }, 60_000);
});

describe('Logging in', () => {
  it('gives an access token of 15 minutes and a refresh token', async () => {
    const person = aPerson();
    await signUp(service, person);
    const { status, headers, body } = await logIn(service, { ...person, email: person.email.toUpperCase() });
    expect(status).toBe(200);
    expect(body).toMatchObject({ token_type: 'Bearer', expires_in: 900 });
    expect(headers.get('cache-control')).toBe('no-store');
    const { header, payload } = new JwtService({}).decode(body.access_token, { complete: true });
    expect(header).toMatchObject({ alg: 'HS256', kid: expect.stringMatching(/^[0-9a-f]{8}$/) });
    expect(payload).toMatchObject({ iss: 'order-pipeline', aud: 'order-pipeline-api' });
    expect(payload.exp - payload.iat).toBe(900);
    expect((await me(bearer(body.access_token))).body).toMatchObject({
      email: person.email,
      role: 'customer',
      scopes: ['orders:own'],
    });
  });

  it('answers an unknown address and a wrong password alike', async () => {
    const person = aPerson();
    await signUp(service, person);
    const wrong = await logIn(service, { ...person, password: 'fixture-secret of another' });
    const unknown = await logIn(service, { ...aPerson(), password: 'fixture-secret of another' });
    expect(wrong.status).toBe(401);
    expect(wrong.body).toEqual(unknown.body);
    expect(wrong.body.code).toBe('wrong_credentials');
    expect([...wrong.headers.keys()].sort()).toEqual([...unknown.headers.keys()].sort());
  });

  it('takes a password however its characters are composed', async () => {
    const person = { ...aPerson(), password: 'fixture-secret caf\u00e9 \ufb01ne' };
    await signUp(service, person);
    expect((await logIn(service, { ...person, password: 'fixture-secret cafe\u0301 fine' })).status).toBe(200);
  });

  it('stores no token as it is', async () => {
    const { refreshToken, header } = await anAccount(service);
    const all = (await stored('refresh_tokens')) + (await stored('sessions')) + (await stored('audit_log'));
    expect(all).toContain(createHash('sha256').update(refreshToken).digest('hex'));
    expect(all).not.toContain(refreshToken);
    expect(all).not.toContain(header.authorization.slice('Bearer '.length));
  });
});

describe('Guessing passwords', () => {
  it('ends after ten wrong ones for an account, known or not, even for the right one', async () => {
    const known = aPerson();
    await signUp(service, known);
    for (const person of [known, aPerson()]) {
      const wrong = { ...person, password: 'fixture-secret of another' };
      for (let left = 9; left >= 0; left--) {
        const answer = await logIn(service, wrong);
        expect(answer.status).toBe(401);
        expect(answer.headers.get('ratelimit')).toMatch(new RegExp(`^"login-account";r=${left};t=\\d+$`));
        expect(answer.headers.get('ratelimit-policy')).toBe('"login-account";q=10;w=900');
      }
      const refused = await logIn(service, person);
      expect(refused).toMatchObject({ status: 429, body: { code: 'too_many_attempts' } });
      const wait = Number(refused.headers.get('retry-after'));
      expect(wait).toBeGreaterThan(800);
      expect(wait).toBeLessThanOrEqual(900);
    }
  });

  it('counts attempts that come at once before it looks at any', async () => {
    const person = aPerson();
    await signUp(service, person);
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, i) => logIn(service, { ...person, password: `fixture-secret guess ${i}` })),
    );
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(10);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(20);
  });

  it('is counted by the process alone while Redis is away', async () => {
    const person = aPerson();
    const away = jest
      .spyOn(service.redis.client as unknown as { rlflxIncr: () => Promise<unknown> }, 'rlflxIncr')
      .mockRejectedValue(new Error('Connection is closed.'));
    try {
      const statuses: number[] = [];
      for (let i = 0; i < 12; i++) statuses.push((await logIn(service, person)).status);
      expect(statuses).toEqual([...Array<number>(10).fill(401), 429, 429]);
      expect(away).toHaveBeenCalled();
    } finally {
      away.mockRestore();
    }
  });

  it('begins anew with the right password', async () => {
    const person = aPerson();
    await signUp(service, person);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 6; i++) await logIn(service, { ...person, password: 'fixture-secret of another' });
      expect((await logIn(service, person)).status).toBe(200);
    }
  });

  it('ends after a hundred wrong ones from one address, whatever the accounts, and locks nobody else out', async () => {
    const guessed = await RunningService.ready({ environment: SECURED });
    try {
      const guess = () => logIn(guessed, aPerson());
      const answers = await Promise.all(Array.from({ length: 100 }, guess));
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]));
      expect(await guess()).toMatchObject({ status: 429 });
      for (let i = 0; i < 12; i++) expect((await logIn(guessed, { ...ADMIN, password: 'wrong' })).status).toBe(429);
      const [counted] = await guessed.redis.client.keys(
        '*login-account:' + createHash('sha256').update(ADMIN.email).digest('hex'),
      );
      expect(counted).toBeUndefined();
    } finally {
      await guessed.stop();
    }
  }, 60_000);

  itWithRedis('is counted across processes', async () => {
    const world = await aWorld(SECURED);
    const processes = [await RunningService.ready({ world }), await RunningService.ready({ world })];
    try {
      const person = aPerson();
      const statuses: number[] = [];
      for (let i = 0; i < 12; i++) statuses.push((await logIn(processes[i % 2]!, person)).status);
      expect(statuses).toEqual([...Array<number>(10).fill(401), 429, 429]);
    } finally {
      for (const each of processes.reverse()) await each.stop();
      await world.destroy();
    }
  });
});

describe('Refreshing', () => {
  it('gives new tokens for a refresh token, once', async () => {
    const { refreshToken, id } = await anAccount(service);
    const first = await refresh(refreshToken);
    expect(first.status).toBe(200);
    expect(first.body.refresh_token).not.toBe(refreshToken);
    expect((await me(bearer(first.body.access_token))).body.id).toBe(id);
    expect((await refresh(first.body.refresh_token)).status).toBe(200);
  });

  it('ends the whole log-in where a token comes a second time, at once', async () => {
    const { refreshToken, header } = await anAccount(service);
    const { body: next } = await refresh(refreshToken);
    expect((await me(header)).status).toBe(200);
    expect(await refresh(refreshToken)).toMatchObject({ status: 401, body: { code: 'invalid_refresh_token' } });
    expect((await refresh(next.refresh_token)).status).toBe(401);
    expect((await me(header)).status).toBe(401);
    expect((await me(bearer(next.access_token))).status).toBe(401);
  });

  it('leaves the other log-ins of the account alone', async () => {
    const person = await anAccount(service);
    const { body: other } = await logIn(service, person);
    await refresh(person.refreshToken);
    await refresh(person.refreshToken);
    expect((await me(bearer(other.access_token))).status).toBe(200);
    expect((await refresh(other.refresh_token)).status).toBe(200);
  });

  it('lets one of many at once through, and ends the log-in', async () => {
    const { refreshToken } = await anAccount(service);
    const answers = await Promise.all(Array.from({ length: 10 }, () => refresh(refreshToken)));
    const [winner, ...more] = answers.filter(({ status }) => status === 200);
    expect(more).toEqual([]);
    expect((await refresh(winner!.body.refresh_token)).status).toBe(401);
  });

  it.each(['', 'nonsense', 'opr_', `opr_${'A'.repeat(43)}`, 'x'.repeat(201), 7, null])('refuses %j', async (token) => {
    expect([400, 401]).toContain((await refresh(token)).status);
  });

  it('notices a token that comes again for 30 days, and is then rid of it', async () => {
    const { refreshToken: first } = await anAccount(service);
    const { refresh_token: second } = (await refresh(first)).body;
    const { refresh_token: third } = (await refresh(second)).body;
    const wasUsed = (token: string, days: number): Promise<unknown> =>
      service.database.query(
        sql`update refresh_tokens set used_at = now() - make_interval(days => ${days})
            where encode(hash, 'hex') = ${createHash('sha256').update(token).digest('hex')}`,
      );
    await wasUsed(first, 31);
    await wasUsed(second, 29);
    await service.app.get(Sessions).purge();
    expect((await refresh(first)).status).toBe(401);
    const fourth = await refresh(third);
    expect(fourth.status).toBe(200);
    expect((await refresh(second)).status).toBe(401);
    expect((await refresh(fourth.body.refresh_token)).status).toBe(401);
  });

  it('takes no token of a log-in that was silent for too long', async () => {
    const { refreshToken, id, header } = await anAccount(service);
    await service.database.query(
      sql`update sessions set expires_at = now() - interval '1 second' where account_id = ${id}::uuid`,
    );
    expect((await refresh(refreshToken)).status).toBe(401);
    expect((await me(header)).status).toBe(401);
  });
});

describe('Logging out', () => {
  it('ends the log-in of a refresh token, and its access tokens at once', async () => {
    const { refreshToken, header } = await anAccount(service);
    expect((await me(header)).status).toBe(200);
    expect((await service.call('POST', '/api/v1/auth/logout', { refresh_token: refreshToken })).status).toBe(204);
    expect((await me(header)).status).toBe(401);
    expect((await refresh(refreshToken)).status).toBe(401);
  });

  it('ends the log-in of an access token', async () => {
    const { refreshToken, header } = await anAccount(service);
    expect((await service.call('POST', '/api/v1/auth/logout', undefined, header)).status).toBe(204);
    expect((await me(header)).status).toBe(401);
    expect((await refresh(refreshToken)).status).toBe(401);
  });

  it('tells nobody whether there was such a token', async () => {
    expect((await service.call('POST', '/api/v1/auth/logout', { refresh_token: 'opr_nonsense' })).status).toBe(204);
    expect((await service.call('POST', '/api/v1/auth/logout')).status).toBe(401);
  });

  it.each([null, 7, '', ['opr_x']])('refuses the token %j', async (refresh_token) => {
    expect((await service.call('POST', '/api/v1/auth/logout', { refresh_token })).status).toBe(400);
  });
});

describe('An access token', () => {
  const jwt = new JwtService({});

  /** A good token of an account, its payload and header to be played with. */
  async function taken(): Promise<{ payload: Record<string, unknown>; kid: string }> {
    const { header } = await anAccount(service);
    const { payload, header: head } = jwt.decode(header.authorization.slice('Bearer '.length), { complete: true });
    return { payload, kid: head.kid };
  }

  function part(value: object): string {
    return Buffer.from(JSON.stringify(value)).toString('base64url');
  }

  const sign = (payload: object, keyid: string, options: object = {}): string =>
    jwt.sign(payload, { secret: A_JWT_SECRET, keyid, ...options });

  it('is good as it was given out', async () => {
    const { payload, kid } = await taken();
    expect((await me(bearer(sign(payload, kid)))).status).toBe(200);
  });

  it.each<[string, (payload: Record<string, unknown>, kid: string) => string]>([
    ['signed with another key', (payload, kid) => jwt.sign(payload, { secret: 'x'.repeat(40), keyid: kid })],
    ['signed with no algorithm', (payload, kid) => `${part({ alg: 'none', typ: 'JWT', kid })}.${part(payload)}.`],
    ['signed with another algorithm', (payload, kid) => sign(payload, kid, { algorithm: 'HS512' })],
    ['that names an unknown key', (payload) => sign(payload, '00000000')],
    ['that names no key', (payload) => jwt.sign(payload, { secret: A_JWT_SECRET })],
    ['that has expired', (payload, kid) => sign({ ...payload, exp: Math.floor(Date.now() / 1000) - 1 }, kid)],
    ['that never expires', ({ exp: _, ...payload }, kid) => sign(payload, kid)],
    ['of another issuer', (payload, kid) => sign({ ...payload, iss: 'somebody' }, kid)],
    ['for another audience', (payload, kid) => sign({ ...payload, aud: 'somebody' }, kid)],
    ['of an unknown session', (payload, kid) => sign({ ...payload, sid: UUID }, kid)],
    ['whose session is no id', (payload, kid) => sign({ ...payload, sid: "'; drop table sessions; --" }, kid)],
    [
      'that was changed',
      (payload, kid) => sign(payload, kid).replace(/\.[^.]+\./, `.${part({ ...payload, role: 'admin' })}.`),
    ],
    ['that breaks off', (payload, kid) => sign(payload, kid).slice(0, -5)],
    ['that is no token', () => 'null'],
  ])('is refused: one %s', async (_, forge) => {
    const { payload, kid } = await taken();
    expect(await me(bearer(forge(payload, kid)))).toMatchObject({ status: 401, body: { code: 'not_signed_in' } });
  });

  it('says of a role only what the database says', async () => {
    const { payload, kid } = await taken();
    expect((await service.get('/stats/global', bearer(sign({ ...payload, role: 'admin' }, kid)))).status).toBe(403);
  });

  it.each(['', 'Basic YTpi', 'Bearer', 'Bearer ', 'bearer a b', 'Token x'])(
    'is refused: the header %j',
    async (authorization) => {
      expect((await me({ authorization })).status).toBe(401);
    },
  );
});

describe('Roles', () => {
  const setRole = (id: string, role: unknown, header: Record<string, string>, more: object = {}) =>
    service.call('PUT', `/api/v1/auth/accounts/${id}/role`, { role, ...more }, header);

  it('are set by admins and take effect for those who are logged in', async () => {
    const admin = await asAdmin(service);
    const { id, header } = await anAccount(service);
    expect((await service.get('/stats/global', header)).status).toBe(403);
    expect(await setRole(id, 'analyst', admin)).toMatchObject({ status: 200, body: { id, role: 'analyst' } });
    expect((await service.get('/stats/global', header)).status).toBe(200);
    await setRole(id, 'customer', admin);
    expect((await service.get('/stats/global', header)).status).toBe(403);
  });

  it('are known ones, and nothing else is set with them', async () => {
    const admin = await asAdmin(service);
    const { id } = await anAccount(service);
    expect((await setRole(id, 'root', admin)).status).toBe(400);
    expect((await setRole(id, ['admin'], admin)).status).toBe(400);
    expect((await setRole(id, 'vendor', admin, { email: 'x@fixture.example' })).status).toBe(400);
    expect(await setRole(UUID, 'vendor', admin)).toMatchObject({ status: 404 });
    expect((await service.get(`/api/v1/auth/accounts/${id}`, admin)).body.role).toBe('customer');
  });

  it('leave an admin, however many are taken from at once', async () => {
    const { body: first } = await me(await asAdmin(service));
    for (let round = 0; round < 10; round++) {
      const admin = await asAdmin(service);
      const second = await anAccount(service, 'admin');
      const answers = await Promise.all([
        setRole(first.id, 'customer', second.header),
        setRole(second.id, 'customer', admin),
      ]);
      // Whoever comes second is the last admin, or none any more.
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
      expect(await service.database.query(sql`select 1 from accounts where role = 'admin'`)).toHaveLength(1);
      await service.database.query(sql`update accounts set role = 'admin' where id = ${first.id}::uuid`);
      await service.database.query(sql`update accounts set role = 'customer' where id = ${second.id}::uuid`);
      service.app.get(Authenticator).forget();
    }
    const onlyAdmin = await asAdmin(service);
    expect(await setRole(first.id, 'analyst', onlyAdmin)).toMatchObject({ status: 409, body: { code: 'last_admin' } });
  }, 120_000);

  it('are listed with the accounts, page by page', async () => {
    const admin = await asAdmin(service);
    const made = [
      await anAccount(service, 'vendor'),
      await anAccount(service, 'vendor'),
      await anAccount(service, 'vendor'),
    ];
    const first = await service.get('/api/v1/auth/accounts?role=vendor&limit=2', admin);
    const second = await service.get(
      `/api/v1/auth/accounts?role=vendor&limit=2&cursor=${first.body.next_cursor}`,
      admin,
    );
    const ids = [...first.body.items, ...second.body.items].map(({ id }: { id: string }) => id);
    expect(ids.slice(0, 3)).toEqual(made.map(({ id }) => id).reverse());
    const byEmail = await service.get(`/api/v1/auth/accounts?email=${encodeURIComponent(made[0]!.email)}`, admin);
    expect(byEmail.body.items).toMatchObject([{ id: made[0]!.id }]);
    expect(JSON.stringify(byEmail.body)).not.toContain('argon2');
  });
});

describe('An API key', () => {
  const create = (header: Record<string, string>, scopes: unknown, name: unknown = 'a machine') =>
    service.call('POST', '/api/v1/auth/api-keys', { name, scopes }, header);

  it('is shown once, stored as a hash, and shows when it was last used', async () => {
    const { header } = await anAccount(service, 'analyst');
    const made = await create(header, ['statistics:read', 'statistics:read']);
    expect(made).toMatchObject({ status: 201, body: { scopes: ['statistics:read'], last_used_at: null } });
    const { key, ...shown } = made.body;
    expect(key).toMatch(/^opk_[\w-]{43}$/);
    expect((await service.get('/api/v1/auth/api-keys', header)).body.items).toEqual([shown]);
    expect(await stored('api_keys')).not.toContain(key);

    expect((await service.get('/stats/global', bearer(key))).status).toBe(200);
    const [used] = (await service.get('/api/v1/auth/api-keys', header)).body.items;
    expect(Date.parse(used.last_used_at)).toBeGreaterThanOrEqual(Date.parse(used.created_at));
  });

  it('may do what it was made for, and nothing else', async () => {
    const { header } = await anAccount(service, 'analyst');
    const { key } = (await create(header, ['statistics:read'])).body;
    expect((await service.get('/stats/global', bearer(key))).status).toBe(200);
    expect((await service.get('/order-events', bearer(key))).status).toBe(403);
    expect((await create(bearer(key), [])).status).toBe(403);
  });

  it('can be given no more than its owner may, and loses what its owner loses', async () => {
    const admin = await asAdmin(service);
    const { id, header } = await anAccount(service, 'analyst');
    expect(await create(header, ['accounts:manage'])).toMatchObject({ status: 403, body: { code: 'not_allowed' } });
    const { key } = (await create(header, ['statistics:read'])).body;
    await service.call('PUT', `/api/v1/auth/accounts/${id}/role`, { role: 'customer' }, admin);
    expect((await service.get('/stats/global', bearer(key))).status).toBe(403);
  });

  it('of a customer sees what is theirs', async () => {
    const { header, userId } = await anAccount(service);
    const { key } = (await create(header, [])).body;
    expect((await me(bearer(key))).body).toMatchObject({ kind: 'api-key', user_id: userId, scopes: [] });
  });

  it('is good no longer once it is revoked', async () => {
    const { header } = await anAccount(service, 'analyst');
    const { id, key } = (await create(header, ['statistics:read'])).body;
    expect((await service.get('/stats/global', bearer(key))).status).toBe(200);
    expect((await service.call('DELETE', `/api/v1/auth/api-keys/${id}`, undefined, header)).status).toBe(204);
    expect((await service.get('/stats/global', bearer(key))).status).toBe(401);
    expect((await service.call('DELETE', `/api/v1/auth/api-keys/${id}`, undefined, header)).status).toBe(204);
    const [listed] = (await service.get('/api/v1/auth/api-keys', header)).body.items;
    expect(listed.revoked_at).not.toBeNull();
  });

  it('of another account is not there, but for an admin', async () => {
    const owner = await anAccount(service, 'analyst');
    const stranger = await anAccount(service, 'analyst');
    const { id, key } = (await create(owner.header, ['statistics:read'])).body;
    const revoke = (header: Record<string, string>) =>
      service.call('DELETE', `/api/v1/auth/api-keys/${id}`, undefined, header);
    expect(await revoke(stranger.header)).toMatchObject({ status: 404, body: { code: 'not_found' } });
    expect((await service.get('/api/v1/auth/api-keys', stranger.header)).body.items).toEqual([]);
    expect((await service.get('/stats/global', bearer(key))).status).toBe(200);
    expect((await revoke(await asAdmin(service))).status).toBe(204);
  });

  it.each([
    ['no list of scopes', { name: 'x' }],
    ['an unknown scope', { name: 'x', scopes: ['everything'] }],
    ['scopes that are no list', { name: 'x', scopes: 'statistics:read' }],
    ['no name', { scopes: [] }],
    ['a name of two lines', { name: 'a\nb', scopes: [] }],
    ['a field too many', { name: 'x', scopes: [], account_id: UUID }],
  ])('is not made with %s', async (_, body) => {
    expect((await service.call('POST', '/api/v1/auth/api-keys', body, await asAdmin(service))).status).toBe(400);
  });
});

describe('Erasing a person', () => {
  const erase = async (userId: string) =>
    service.call('DELETE', `/api/v1/users/${userId}/personal-data`, undefined, await asAdmin(service));

  it('closes their account: no name, no address, no way in', async () => {
    const person = await anAccount(service, 'analyst');
    const { body: made } = await service.call(
      'POST',
      '/api/v1/auth/api-keys',
      { name: 'x', scopes: [] },
      person.header,
    );
    expect(await erase(person.userId)).toMatchObject({ status: 200, body: { erased: { accounts: 1 } } });
    expect(await stored('accounts')).not.toMatch(new RegExp(`${person.email}|${person.fullName}`));
    expect((await logIn(service, person)).status).toBe(401);
    expect((await refresh(person.refreshToken)).status).toBe(401);
    expect((await me(person.header)).status).toBe(401);
    expect((await me(bearer(made.key))).status).toBe(401);
    expect(await erase(person.userId)).toMatchObject({ status: 200, body: { erased: { accounts: 0 } } });
    expect((await signUp(service, person)).status).toBe(201);
  });

  it('closes it whatever it is called', async () => {
    const person = { ...aPerson(), fullName: '[erased]' };
    const { body } = await signUp(service, person);
    expect(await erase(body.user_id)).toMatchObject({ status: 200, body: { erased: { accounts: 1 } } });
    expect((await logIn(service, person)).status).toBe(401);
  });

  it('leaves an account that can be given no role', async () => {
    const { id, userId } = await anAccount(service);
    await erase(userId);
    const answer = await service.call(
      'PUT',
      `/api/v1/auth/accounts/${id}/role`,
      { role: 'admin' },
      await asAdmin(service),
    );
    expect(answer.status).toBe(404);
  });

  it('leaves no way in, however close a log-in or a new key comes', async () => {
    const admin = await asAdmin(service);
    for (let round = 0; round < 10; round++) {
      const person = await anAccount(service);
      const [loggedIn, made, erased] = await Promise.all([
        logIn(service, person),
        service.call('POST', '/api/v1/auth/api-keys', { name: 'x', scopes: [] }, person.header),
        service.call('DELETE', `/api/v1/users/${person.userId}/personal-data`, undefined, admin),
      ]);
      expect(erased.status).toBe(200);
      const { refresh_token = 'opr_none', access_token = 'none' } = loggedIn.body;
      expect((await refresh(refresh_token)).status).toBe(401);
      expect((await me(bearer(access_token))).status).toBe(401);
      expect((await me(bearer(made.body.key ?? 'opk_none'))).status).toBe(401);
    }
    const left = await service.database.query(
      sql`select 1 from accounts
          left join sessions on sessions.account_id = accounts.id and ended_at is null
          left join api_keys on api_keys.account_id = accounts.id and (revoked_at is null or name <> '[erased]')
          where closed_at is not null and (sessions.id is not null or api_keys.id is not null)`,
    );
    expect(left).toEqual([]);
  }, 120_000);

  it('leaves the only admin', async () => {
    const { body: admin } = await me(await asAdmin(service));
    expect(await erase(admin.user_id)).toMatchObject({ status: 409, body: { code: 'last_admin' } });
    expect((await me(await asAdmin(service))).status).toBe(200);
  });
});

describe('Restarts', () => {
  const another = { ADMIN_EMAIL: 'another@fixture.example', ADMIN_PASSWORD: 'fixture-secret of the other one' };
  let admins: string[];
  let ofAnother: Answer;
  let withFirstToken: number[];

  beforeAll(async () => {
    const world = await aWorld(SECURED);
    const secrets = [A_JWT_SECRET, A_JWT_SECRET.replace('0', '1'), A_JWT_SECRET.replace('0', '2')];
    let token: Record<string, string> | null = null;
    [admins, withFirstToken] = [[], []];
    try {
      for (const [i, JWT_SECRET] of secrets.entries()) {
        const environment = { JWT_SECRET, ...(i > 0 && { JWT_SECRET_PREVIOUS: secrets[i - 1]!, ...another }) };
        const each = await RunningService.ready({ world, environment });
        try {
          const header = await asAdmin(each);
          token ??= header;
          const { body } = await me(header, each);
          admins.push(`${body.email} ${body.role} ${body.id}`);
          withFirstToken.push((await me(token, each)).status);
          ofAnother = await logIn(each, { email: another.ADMIN_EMAIL, password: another.ADMIN_PASSWORD });
        } finally {
          await each.stop();
        }
      }
    } finally {
      await world.destroy();
    }
  }, 60_000);

  it('leave the first admin, who is made once and keeps a password of their own', () => {
    expect(admins).toEqual(Array(3).fill(expect.stringMatching(new RegExp(`^${ADMIN.email} admin [0-9a-f-]{36}$`))));
    expect(new Set(admins).size).toBe(1);
    expect(ofAnother.status).toBe(401);
  });

  it('with a new key leave access tokens good, but not with a second one', () => {
    expect(withFirstToken).toEqual([200, 200, 401]);
  });
});

describe('The first admin', () => {
  it('is whoever has the address already, from then on with the password of the configuration', async () => {
    const world = await aWorld();
    try {
      const open = await RunningService.ready({ world });
      const squatter = { ...aPerson(), email: ADMIN.email };
      await signUp(open, squatter);
      const { body: tokens } = await logIn(open, squatter);
      const squatterIn = bearer(tokens.access_token);
      const { body: made } = await open.call('POST', '/api/v1/auth/api-keys', { name: 'x', scopes: [] }, squatterIn);
      await open.stop();

      const secured = await RunningService.ready({ world, environment: SECURED });
      expect((await logIn(secured, squatter)).status).toBe(401);
      expect((await refresh(tokens.refresh_token, secured)).status).toBe(401);
      expect((await me(bearer(made.key), secured)).status).toBe(401);
      expect((await me(await asAdmin(secured), secured)).body.role).toBe('admin');
      await secured.stop();
    } finally {
      await world.destroy();
    }
  }, 60_000);

  it('has no password that anybody would guess', async () => {
    const start = RunningService.start({ environment: { ...SECURED, ADMIN_PASSWORD: 'password12345' } });
    await expect(start).rejects.toThrow(/^ADMIN_PASSWORD is among the first/);
  });
});

describe('Too many requests', () => {
  /** Nobody asks it whether it is ready: that would count. */
  async function aLimitedService(RATE_LIMIT_PER_MINUTE: string): Promise<RunningService> {
    const limited = await RunningService.start({ environment: { ...SECURED, RATE_LIMIT_PER_MINUTE } });
    await Promise.all([limited.database.availability.waitUntilUp(), limited.redis.availability.waitUntilUp()]);
    return limited;
  }

  it('of one caller are refused, and others are served', async () => {
    const limited = await aLimitedService('40');
    try {
      const [one, other] = [await anAccount(limited), await anAccount(limited)];
      const answers = [];
      for (let i = 0; i < 41; i++) answers.push(await me(one.header, limited));
      expect(answers.map(({ status }) => status)).toEqual([...Array<number>(40).fill(200), 429]);
      expect(answers[0]!.headers.get('ratelimit-policy')).toBe('"requests";q=40;w=60');
      expect(answers[0]!.headers.get('ratelimit')).toMatch(/^"requests";r=39;t=\d+$/);
      const refused = answers.at(-1)!;
      expect(refused.body.code).toBe('too_many_requests');
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
      expect((await me(other.header, limited)).status).toBe(200);
    } finally {
      await limited.stop();
    }
  }, 60_000);

  it('are refused before their body is read, and so is who did not log in', async () => {
    const limited = await aLimitedService('2');
    try {
      for (const status of [401, 401, 429]) expect(await statusWithoutBody(limited, '/produce')).toBe(status);
      expect(await statusWithoutBody(limited, '/api/v1/auth/login')).toBe(429);
    } finally {
      await limited.stop();
    }
  }, 60_000);

  it('with keys that are none are not even looked at, and shut nobody else out', async () => {
    const guessed = await RunningService.ready({ environment: SECURED });
    try {
      const { header } = await anAccount(guessed);
      const { body: made } = await guessed.call('POST', '/api/v1/auth/api-keys', { name: 'x', scopes: [] }, header);
      const key = bearer(made.key);
      expect((await me(key, guessed)).status).toBe(200);

      const look = jest.spyOn(guessed.app.get(ApiKeys), 'callerBy');
      const answers = await Promise.all(Array.from({ length: 110 }, (_, i) => me(bearer(`opk_${i}`), guessed)));
      expect(answers.filter(({ status }) => status === 401)).toHaveLength(100);
      expect(answers.filter(({ status }) => status === 429)).toHaveLength(10);
      expect(look).toHaveBeenCalledTimes(100);

      guessed.app.get(Authenticator).forget();
      expect((await me(header, guessed)).status).toBe(200);
      expect((await me(key, guessed)).status).toBe(200);
    } finally {
      await guessed.stop();
    }
  }, 60_000);

  it('are counted where they are refused, too, and for an account together with its keys', async () => {
    const limited = await aLimitedService('60');
    try {
      const { header } = await anAccount(limited);
      const { body: made } = await limited.call('POST', '/api/v1/auth/api-keys', { name: 'x', scopes: [] }, header);
      const left = async (path: string, by: Record<string, string>): Promise<number> =>
        Number(/;r=(\d+)/.exec((await limited.get(path, by)).headers.get('ratelimit')!)![1]);
      const first = await left('/api/v1/auth/me', header);
      expect(await left('/stats/global', header)).toBe(first - 1);
      expect(await left('/api/v1/auth/me', bearer(made.key))).toBe(first - 2);
      const nobody = await left('/stats/global', {});
      expect(await left('/stats/global', bearer('nonsense'))).toBe(nobody - 1);
    } finally {
      await limited.stop();
    }
  }, 60_000);
});

describe('What is remembered of a caller', () => {
  it('is not what was looked up before their rights changed', async () => {
    const { header, refreshToken } = await anAccount(service);
    service.app.get(Authenticator).forget();
    const sessions = service.app.get(Sessions);
    const live = sessions.live.bind(sessions);
    let resume = (): void => undefined;
    const found = new Promise<void>((isFound) => {
      jest.spyOn(sessions, 'live').mockImplementationOnce(async (id) => {
        const session = await live(id);
        isFound();
        await new Promise<void>((resolve) => (resume = resolve));
        return session;
      });
    });
    const asked = me(header);
    await found;
    await service.call('POST', '/api/v1/auth/logout', { refresh_token: refreshToken });
    resume();
    expect((await asked).status).toBe(200);
    expect((await me(header)).status).toBe(401);
  });

  it('is looked up anew after 5 s, also where the clock was set back meanwhile', async () => {
    const { header } = await anAccount(service);
    service.app.get(Authenticator).forget();
    const live = jest.spyOn(service.app.get(Sessions), 'live').mockClear();
    const [now, sinceStart] = [Date.now(), performance.now()];
    for (const hours of [0, 1]) {
      const clocks = [
        jest.spyOn(Date, 'now').mockReturnValue(now - hours * 3_600_000),
        jest.spyOn(performance, 'now').mockReturnValue(sinceStart + hours * 5_001),
      ];
      for (let request = 0; request < 2; request++) expect((await me(header)).status).toBe(200);
      for (const clock of clocks) clock.mockRestore();
      expect(live).toHaveBeenCalledTimes(hours + 1);
    }
    live.mockRestore();
  });

  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::ffff:10.0.0.7', '10.0.0.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
    ['2001:db8::6', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    [undefined, 'unknown'],
  ])('and counted of the address %s is the network %s', (ip, network) => {
    expect(networkOf({ ip })).toBe(network);
  });
});

describe('A secured service', () => {
  it('answers under any host name, and serves no page of another origin', async () => {
    const { status, headers } = await service.get('/health/live', { host: 'orders.shop.example' });
    expect(status).toBe(200);
    expect(headers.get('access-control-allow-origin')).toBeNull();
  });

  it('sends the headers that keep browsers careful', async () => {
    const { headers } = await service.get('/docs');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('x-frame-options')).toBe('SAMEORIGIN');
    expect(headers.get('content-security-policy')).toContain("default-src 'self'");
    expect(headers.get('content-security-policy')).not.toContain('upgrade-insecure-requests');
    expect(headers.get('x-powered-by')).toBeNull();
  });

  it('cuts off who sends a request drop by drop', async () => {
    const server = service.app.getHttpServer();
    const { headersTimeout, requestTimeout } = server;
    expect([headersTimeout, requestTimeout]).toEqual([10_000, 30_000]);
    server.headersTimeout = 10;
    try {
      const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
      let answer = '';
      socket.setEncoding('utf8').on('data', (text) => (answer += String(text)));
      socket.write('GET /health/live HTTP/1.1\r\nHost: localhost\r\n');
      await once(socket, 'close');
      expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    } finally {
      server.headersTimeout = headersTimeout;
    }
  });

  it('lets those who are logged in read while the database is down', async () => {
    const analyst = await anAccount(service, 'analyst');
    const down = jest.spyOn(service.database.availability, 'up', 'get').mockReturnValue(false);
    try {
      expect((await service.get('/stats/global', analyst.header)).status).toBe(200);
      expect(await logIn(service, analyst)).toMatchObject({ status: 503, body: { code: 'ledger_unavailable' } });
      expect((await service.get('/stats/global', bearer(`opk_${'A'.repeat(43)}`))).status).toBe(503);
    } finally {
      down.mockRestore();
    }
  });
});
