import type { Config } from '../shared/config.js';

/** Where the service of a configuration answers over HTTP, e.g. `http://127.0.0.1:9000`. */
export function serviceUrlOf({ host, port }: Pick<Config, 'host' | 'port'>): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
