import type { Config } from '../shared/config.js';
import { credentialsOf, serviceUrlOf } from './service-url.js';

/** What the service answered; its body read from JSON. */
export interface Answered {
  status: number;
  body: unknown;
}

/** The service can't be asked, with what to do about it. */
export class NoService extends Error {
  override readonly name = 'NoService';
}

/** The running service that a configuration names, as a command sees it. */
export class ServiceClient {
  readonly url: string;
  private readonly credentials: Record<string, string>;

  /** @param scope what an API key must have for what it is asked */
  constructor(
    config: Pick<Config, 'host' | 'port' | 'apiKey'>,
    private readonly scope: string,
  ) {
    this.url = serviceUrlOf(config);
    this.credentials = credentialsOf(config);
  }

  /** @throws NoService */
  async call(method: string, path: string, body?: object): Promise<Answered> {
    try {
      const response = await fetch(`${this.url}${path}`, {
        method,
        headers: { ...this.credentials, ...(body && { 'content-type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
      });
      return { status: response.status, body: await response.json() };
    } catch {
      throw new NoService(
        `No service answers at ${this.url}. Start it with npm start, or set PORT and HOST to where it runs.`,
      );
    }
  }

  /** What to throw for an answer that is none. */
  refusal({ status, body }: Answered): NoService {
    const { detail = `it answered ${status}` } = body as { detail?: string };
    const hint = status === 401 || status === 403 ? ` Set API_KEY to a key with the scope ${this.scope}.` : '';
    return new NoService(`${this.url} refuses: ${detail}${hint}`);
  }
}
