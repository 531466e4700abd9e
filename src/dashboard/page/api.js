/** What the service refused, or could not do. */
export class Problem extends Error {
  /**
   * @param {number} status 0 where no answer came
   * @param {string} code
   * @param {string} detail
   * @param {Record<string, unknown>} [body] the whole answer
   */
  constructor(status, code, detail, body = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.body = body;
  }
}

/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {string | null} location
 * @property {any} body
 */

/** @typedef {{ access: string, refresh: string }} Tokens */

/**
 * The service's API as whoever has logged in. Tokens are kept in memory only: closing or reloading the page forgets them.
 */
export class Api {
  /** @type {Tokens | null} */
  #tokens = null;
  /** @type {Promise<void> | null} */
  #refreshing = null;
  /** @type {ReadonlySet<string>} */
  #scopes = new Set();

  /** Is called when the log-in is over, other than by {@link logOut}. */
  onSignedOut = () => {};

  get isLoggedIn() {
    return this.#tokens !== null;
  }

  /** @param {string} scope */
  may(scope) {
    return this.#scopes.has(scope);
  }

  /**
   * Whom the service takes the page for.
   * @returns {Promise<{ kind: string, email: string | null, scopes: string[] }>}
   */
  async whoAmI() {
    const { body } = await this.get('/api/v1/auth/me');
    this.#scopes = new Set(body.scopes);
    return body;
  }

  /**
   * @param {string} email
   * @param {string} password
   */
  async logIn(email, password) {
    const body = JSON.stringify({ email, password });
    this.#keep((await this.#ask('POST', '/api/v1/auth/login', body, null)).body);
  }

  async logOut() {
    const refresh_token = this.#tokens?.refresh;
    this.#forget();
    if (refresh_token) await this.#ask('POST', '/api/v1/auth/logout', JSON.stringify({ refresh_token }), null);
  }

  /**
   * @param {string} path
   * @returns {Promise<Answer>}
   */
  get(path) {
    return this.#call('GET', path);
  }

  /**
   * @param {string} path
   * @param {string} body JSON
   * @returns {Promise<Answer>}
   */
  post(path, body) {
    return this.#call('POST', path, body);
  }

  /**
   * Asks with the access token, and once more with a new one where that is over.
   * @param {string} method
   * @param {string} path
   * @param {string} [body]
   */
  async #call(method, path, body) {
    const before = this.#tokens;
    try {
      return await this.#ask(method, path, body, before);
    } catch (error) {
      if (before === null || !(error instanceof Problem) || error.status !== 401) throw error;
    }
    if (this.#tokens === before) await this.#refresh();
    return this.#ask(method, path, body, this.#tokens);
  }

  /** A refresh token is good once, so all who need a new pair wait for the same. */
  #refresh() {
    this.#refreshing ??= this.#exchange().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  async #exchange() {
    const refresh_token = this.#tokens?.refresh;
    try {
      this.#keep((await this.#ask('POST', '/api/v1/auth/refresh', JSON.stringify({ refresh_token }), null)).body);
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        this.#forget();
        this.onSignedOut();
      }
      throw error;
    }
  }

  /** @param {{ access_token: string, refresh_token: string }} tokens */
  #keep({ access_token, refresh_token }) {
    this.#tokens = { access: access_token, refresh: refresh_token };
  }

  #forget() {
    this.#tokens = null;
    this.#scopes = new Set();
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {string | undefined} body
   * @param {Tokens | null} tokens
   * @returns {Promise<Answer>}
   * @throws {Problem}
   */
  async #ask(method, path, body, tokens) {
    /** @type {Record<string, string>} */
    const headers = { accept: 'application/json' };
    if (body !== undefined) headers['content-type'] = 'application/json';
    if (tokens) headers.authorization = `Bearer ${tokens.access}`;
    const response = await fetch(new URL(path, document.baseURI), { method, headers, body }).catch(() => {
      throw new Problem(0, 'unreachable', 'The service does not answer.');
    });
    const text = await response.text();
    const read = jsonIn(text);
    if (!response.ok) {
      const detail = read?.detail ?? `The service answered ${response.status}.`;
      throw new Problem(response.status, read?.code ?? 'unknown', detail, read ?? {});
    }
    return { status: response.status, location: response.headers.get('location'), body: read };
  }
}

/**
 * @param {string} text
 * @returns {any} null where it is no JSON
 */
export function jsonIn(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {unknown} error */
export function told(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {number} ms */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
