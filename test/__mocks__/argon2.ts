import type * as Argon2 from 'argon2';

const real = jest.requireActual<typeof Argon2>('argon2');

/**
 * argon2 at a cost that tests can afford: a hash as in production takes 19 MiB and 40 ms of a core. Jest takes this file for
 * the package in every test. What a hash costs in production is shown by passwords.spec.ts.
 */
module.exports = {
  ...real,
  hash: jest.fn((password: string, options: Parameters<typeof Argon2.hash>[1]) =>
    real.hash(password, { ...options, memoryCost: 1024, timeCost: 1 }),
  ),
};
