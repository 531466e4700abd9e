import type { Config } from '../shared/config.js';

/** Addresses at which a service listens everywhere, and at which it is to be reached from here. */
const EVERYWHERE: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** Where the service of a configuration answers over HTTP, e.g. `http://127.0.0.1:9000`. */
export function serviceUrlOf({ host, port }: Pick<Config, 'host' | 'port'>): string {
  const name = EVERYWHERE[host] ?? host;
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`;
}

/** What a command shows to a service that wants to know who calls. */
export function credentialsOf({ apiKey }: Pick<Config, 'apiKey'>): Record<string, string> {
  return apiKey === null ? {} : { authorization: `Bearer ${apiKey}` };
}
