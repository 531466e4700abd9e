import { argon2id, hash, verify } from 'argon2';
import { randomBytes } from 'node:crypto';
import { ClientError } from '../../shared/errors.js';

/** OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane. */
const PARAMETERS = { type: argon2id, memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 } as const;
/** Whoever guesses cleverly comes upon a common password sooner than this. */
const MIN_GUESSES = 1_000_000;
/** Characters that are rated; the effort grows faster than their number. */
const MAX_RATED = 40;

/** A password that is among the first to be guessed. */
export class CommonPassword extends ClientError {
  readonly code = 'common_password';
  readonly kind = 'invalid';
  override readonly fields = [
    { field: 'password', message: 'must not be a common one, nor made of your name or e-mail' },
  ];
  constructor() {
    super('This password is among the first that anybody would guess. Choose another: a few unrelated words will do.');
  }
}

/** Hashes a password with argon2id, off the main thread. @returns the hash in the PHC format */
export function hashOf(password: string): Promise<string> {
  return hash(normalised(password), PARAMETERS);
}

/** Tells whether passwords are right, in the same time whether there is anything to compare them with or not. */
export class PasswordCheck {
  private decoy: string | null = null;

  /** @param known the hash of the right one; null where nobody of that name is known */
  async matches(password: string, known: string | null): Promise<boolean> {
    this.decoy ??= await hashOf(randomBytes(16).toString('hex'));
    const isRight = await verify(known ?? this.decoy, normalised(password));
    return isRight && known !== null;
  }
}

/**
 * Refuses a password that is common or made of what is known of its owner.
 * @param personal words that whoever guesses would try
 * @throws CommonPassword
 */
export async function assertUncommon(password: string, personal: string[]): Promise<void> {
  const rate = await guessesNeeded();
  if (rate(normalised(password).slice(0, MAX_RATED), personal) < MIN_GUESSES) throw new CommonPassword();
}

let rating: Promise<(password: string, personal: string[]) => number> | null = null;

/** Read when first needed: the dictionary is large, and most processes never see a new password. */
function guessesNeeded(): Promise<(password: string, personal: string[]) => number> {
  rating ??= Promise.all([import('@zxcvbn-ts/core'), import('@zxcvbn-ts/language-common')]).then(
    ([{ zxcvbn, zxcvbnOptions }, { dictionary, adjacencyGraphs }]) => {
      zxcvbnOptions.setOptions({ dictionary, graphs: adjacencyGraphs });
      return (password, personal) => zxcvbn(password, personal).guesses;
    },
  );
  return rating;
}

/** The same characters typed on another keyboard are the same password: NIST SP 800-63B, section 3.1.1.2. */
function normalised(password: string): string {
  return password.normalize('NFKC');
}
