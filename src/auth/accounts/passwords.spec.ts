import * as argon2 from 'argon2';
import { hashOf, PasswordCheck } from './passwords.js';

jest.mock('argon2', () => {
  const real = jest.requireActual<typeof argon2>('argon2');
  return { ...real, verify: jest.fn(real.verify) };
});

const verify = jest.mocked(argon2.verify);

describe('A password', () => {
  const passwords = new PasswordCheck();

  beforeEach(() => verify.mockClear());

  it('is hashed by argon2id with the parameters of OWASP', async () => {
    expect(await hashOf('fixture-secret quiet harbour')).toMatch(/^\$argon2id\$v=19\$m=19456,(t=2,p=1|p=1,t=2)\$/);
  });

  it.each([
    ['of a known address, right', 'fixture-secret quiet harbour', true],
    ['of a known address, wrong', 'fixture-secret of another', false],
    ['of an unknown address', null, false],
  ])('%s, costs one comparison with a hash of the same cost', async (_, known, isRight) => {
    const hash = known && (await hashOf(known));
    expect(await passwords.matches('fixture-secret quiet harbour', hash)).toBe(isRight);
    const costs = verify.mock.calls.map(([compared]) => /^\$argon2id\$v=19\$[^$]+/.exec(compared)?.[0]);
    expect(costs).toEqual([/^\$argon2id\$v=19\$[^$]+/.exec(await hashOf('any'))![0]]);
  });

  it('of an unknown address is never right, not even what it is compared with', async () => {
    verify.mockResolvedValueOnce(true);
    expect(await passwords.matches('fixture-secret quiet harbour', null)).toBe(false);
  });
});
