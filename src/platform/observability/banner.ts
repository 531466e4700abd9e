import type { Config } from '../../shared/config.js';
import type { EmbeddedParts } from '../embedded/embedded-parts.js';

/** What a person at a terminal is told when the service is up. */
export function banner(config: Config, parts: EmbeddedParts, url: string): string {
  const api = url.replace('127.0.0.1', 'localhost');
  const queueLine =
    config.sqsEndpoint === 'embedded'
      ? `${parts.sqsEndpoint}  ${config.queue.name}  (embedded, kept in ${config.dataDir})`
      : `${parts.sqsEndpoint === 'aws' ? `AWS SQS, ${config.awsRegion}` : parts.sqsEndpoint}  ${config.queue.name}`;
  return [
    '',
    '  Order pipeline is up.',
    '',
    `  API      ${api}/docs`,
    `  Page     ${api}/dashboard`,
    `  Queue    ${queueLine}`,
    `  Ledger   ${ledgerLine(config, parts)}`,
    `  Redis    ${redisLine(config, parts)}`,
    `  Access   ${accessLine(config)}`,
    '',
    '  Try:',
    ...firstCommands(config, api).map((command) => `    ${command}`),
    '',
    `  Stop with Ctrl+C.${config.databaseUrl === 'embedded' ? ' Data stays; npm run reset starts over.' : ''}`,
    '',
  ].join('\n');
}

function accessLine({ access }: Config): string {
  return access === 'open'
    ? 'open: whoever is at this machine may do anything (ACCESS=secured asks for a log-in)'
    : 'secured: log in at /api/v1/auth/login, or with Authorize at /docs';
}

function firstCommands({ access, demoData, currency }: Config, api: string): string[] {
  if (access === 'open') {
    const commands = [`curl -X POST ${api}/produce`, `curl ${api}/stats/global`];
    return demoData ? [...commands, firstOrder(api, currency)] : commands;
  }
  return [
    `curl ${api}/health/ready`,
    `curl ${api}/api/v1/auth/login -H 'content-type: application/json' -d '{"email": "…", "password": "…"}'`,
  ];
}

/** An order of a product of the demo data. */
function firstOrder(api: string, currency: string): string {
  const order = {
    currency,
    items: [{ sku: 'A123', quantity: 1 }],
    shipping_address: '1 Main Street',
    payment_method: 'TEST-OK',
  };
  return (
    `curl -X POST ${api}/api/v1/orders -H "Idempotency-Key: try-$RANDOM$RANDOM" ` +
    `-H 'content-type: application/json' -d '${JSON.stringify(order)}'`
  );
}

function ledgerLine({ databaseUrl }: Config, { postgres }: EmbeddedParts): string {
  if (!postgres) return `PostgreSQL at ${new URL(databaseUrl).host}`;
  return `embedded PostgreSQL in ${postgres.home}`;
}

function redisLine({ redisUrl }: Config, { redis }: EmbeddedParts): string {
  switch (redis.kind) {
    case 'url':
      return `at ${new URL(redis.url).host || redis.url}`;
    case 'socket':
      return `embedded ${redis.program}, private to this service`;
    case 'memory':
      return redisUrl === 'memory'
        ? 'in memory: fine up to a few thousand users; set REDIS_URL for more'
        : 'in memory: fine up to a few thousand users; install redis-server (or valkey-server) for more';
  }
}
