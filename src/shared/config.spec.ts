import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseEnv } from 'node:util';
import { InvalidConfiguration, loadConfig } from './config.js';

/** The AWS SDK reads these by itself. */
const READ_BY_THE_SDK = ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'];
/** The system sets these, not a user of this service. */
const SET_BY_THE_SYSTEM = ['PATH'];

const REAL_PARTS = {
  SQS_ENDPOINT: 'aws',
  REDIS_URL: 'rediss://cache.example:6379/0',
  DATABASE_URL: 'postgres://orders@db.example/orders',
};

describe('.env.example', () => {
  const text = readFileSync(join(__dirname, '..', '..', '.env.example'), 'utf8');
  const shown = parseEnv(text.replace(/^# (?=[A-Z_]+=)/gm, '')) as Record<string, string>;

  it('names every variable that the configuration reads, and no other', () => {
    const read = namesReadFrom(loadConfig).filter((name) => !SET_BY_THE_SYSTEM.includes(name));
    expect(Object.keys(shown).sort()).toEqual([...read, ...READ_BY_THE_SDK].sort());
  });

  it('sets nothing as it stands', () => {
    expect(parseEnv(text)).toEqual({});
  });

  it('says something about every variable', () => {
    const lines = text.split('\n');
    const bare = lines.filter((line, i) => /^# [A-Z_]+=/.test(line) && !lines[i - 1]!.startsWith('#'));
    expect(bare).toEqual([]);
  });

  it.each(Object.entries(shown))('shows the default of %s', (name, value) => {
    expect(loadConfig({ [name]: value })).toEqual(loadConfig({}));
  });
});

describe('The configuration', () => {
  it('has a default for everything', () => {
    expect(loadConfig({})).toMatchObject({
      production: false,
      port: 9000,
      host: '127.0.0.1',
      dataDir: resolve('data'),
      sqsEndpoint: 'embedded',
      redisUrl: 'embedded',
      databaseUrl: 'embedded',
      queue: { name: 'orders-queue', pollers: 8, maxNumberOfMessages: 10, visibilityTimeout: 30, maxReceiveCount: 5 },
    });
  });

  it('counts an empty variable as absent, and trims', () => {
    expect(loadConfig({ PORT: '', HOST: '  ', CURRENCY: ' EUR ' })).toMatchObject({
      port: 9000,
      host: '127.0.0.1',
      currency: 'EUR',
    });
  });

  it('waits 1 s for messages of the embedded queue, 20 s for those of a real one', () => {
    expect(loadConfig({}).queue.waitTimeSeconds).toBe(1);
    expect(loadConfig({ SQS_ENDPOINT: 'aws' }).queue.waitTimeSeconds).toBe(20);
    expect(loadConfig({ SQS_WAIT_TIME_SECONDS: '0' }).queue.waitTimeSeconds).toBe(0);
  });

  it('can not be changed', () => {
    const config = loadConfig({});
    expect(Object.isFrozen(config) && Object.isFrozen(config.queue) && Object.isFrozen(config.corsOrigins)).toBe(true);
  });

  it('names every problem at once', () => {
    const wrong = {
      NODE_ENV: 'staging',
      PORT: 'http',
      HOST: 'shop.example',
      SQS_POLLERS: '0',
      SQS_MAX_NUMBER_OF_MESSAGES: '11',
      SQS_WAIT_TIME_SECONDS: '1.5',
      SQS_QUEUE_NAME: 'orders.fifo',
      ORDER_VALUE_MISMATCH: 'ignore',
      PAYMENT_FAILURE_RATE: '10%',
      WEBHOOK_SECRET: 's3cret',
      CURRENCY: 'JPY',
      REDIS_KEY_PREFIX: '{orders}',
      LOG_LEVEL: 'loud',
      ACCESS: 'ajar',
      CORS_ORIGINS: 'https://shop.example/',
      TRUSTED_PROXIES: 'all',
      RATE_LIMIT_PER_MINUTE: '-1',
      ADMIN_EMAIL: 'admin',
      ADMIN_PASSWORD: 's3cret',
      METRICS_TOKEN: 's3cret',
      ERASURE_KEPT_FIELDS: 'product name',
      DEMO_DATA: 'yes',
      API_KEY: 'a b',
      LLM_BASE_URL: 'https://user:s3cret@llm.example/v1',
      LLM_API_KEY: 's3cret s3cret',
      LLM_MODEL: 'a model',
      LLM_SEND_PERSONAL_DATA: 'some',
      LLM_CALLS_PER_MINUTE: '0',
      LLM_TIMEOUT_SECONDS: '0.5',
    };
    const problems = problemsOf(wrong);
    expect(problems.map((problem) => /^[A-Z_]+/.exec(problem)?.[0]).sort()).toEqual(Object.keys(wrong).sort());
    expect(problems.join()).not.toContain('s3cret');
    expect(() => loadConfig(wrong)).toThrow(problems.map((problem) => `  - ${problem}`).join('\n'));
  });

  describe.each(['0.0.0.0', '192.168.1.7', '::', '10.0.0.1'])('answers on %s', (host) => {
    it('never openly', () => {
      expect(problemsOf({ HOST: host, ACCESS: 'open' })).toEqual([expect.stringContaining(`not ${host}`)]);
    });

    it('with a key to sign tokens with only', () => {
      expect(problemsOf({ HOST: host })).toEqual([expect.stringMatching(/^JWT_SECRET must have at least 32 bytes/)]);
      expect(loadConfig({ HOST: host, JWT_SECRET: 's'.repeat(32) })).toMatchObject({ host, access: 'secured' });
    });
  });

  it.each(['127.0.0.1', '::1', 'localhost'])('answers on %s, openly unless told otherwise', (host) => {
    expect(loadConfig({ HOST: host })).toMatchObject({ host, access: 'open', jwtSecrets: [] });
    const secured = { HOST: host, ACCESS: 'secured', JWT_SECRET: 's'.repeat(32) };
    expect(loadConfig(secured)).toMatchObject({ host, access: 'secured', jwtSecrets: ['s'.repeat(32)] });
  });

  it.each([undefined, 's3cret', 's3cret'.repeat(5), 'é'.repeat(15)])(
    'refuses the key %s, without showing it',
    (JWT_SECRET) => {
      const problems = problemsOf({ ACCESS: 'secured', ...(JWT_SECRET && { JWT_SECRET }) });
      expect(problems).toEqual([expect.stringMatching(/^JWT_SECRET must have at least 32 bytes/)]);
      expect(problems.join()).not.toContain('s3cret');
    },
  );

  it('counts the bytes of a key, and takes the one before it as well', () => {
    const secrets = { JWT_SECRET: 'é'.repeat(16), JWT_SECRET_PREVIOUS: 'p'.repeat(32) };
    expect(loadConfig({ ACCESS: 'secured', ...secrets }).jwtSecrets).toEqual(Object.values(secrets));
    expect(problemsOf({ ACCESS: 'secured', ...secrets, JWT_SECRET_PREVIOUS: 'short' })).toEqual([
      expect.stringContaining('JWT_SECRET_PREVIOUS'),
    ]);
  });

  it.each(['0', '1', '0.25', '1.0'])('takes %s as the share of payments that fail', (rate) => {
    expect(loadConfig({ PAYMENT_FAILURE_RATE: rate })).toMatchObject({ paymentFailureRate: Number(rate) });
  });

  it.each(['-0.1', '1.01', '1e-1', '.5', '0x1', 'NaN'])('refuses %s as the share of payments that fail', (rate) => {
    expect(problemsOf({ PAYMENT_FAILURE_RATE: rate })).toEqual([expect.stringContaining('PAYMENT_FAILURE_RATE')]);
  });

  it.each([24, 64])('takes a secret of %i bytes for webhooks', (bytes) => {
    const secret = `whsec_${Buffer.alloc(bytes, 's').toString('base64')}`;
    expect(loadConfig({ WEBHOOK_SECRET: secret })).toMatchObject({ webhookSecret: secret });
  });

  it.each([
    `whsec_${Buffer.alloc(23, 's').toString('base64')}`,
    `whsec_${Buffer.alloc(65, 's').toString('base64')}`,
    Buffer.alloc(32, 's').toString('base64'),
    `whsec_${Buffer.alloc(32, 's').toString('base64').replace('=', '')}`,
    `whsec_${'*'.repeat(44)}`,
  ])('refuses the secret %s for webhooks, without showing it', (secret) => {
    const problems = problemsOf({ WEBHOOK_SECRET: secret });
    expect(problems).toEqual([expect.stringMatching(/^WEBHOOK_SECRET must be whsec_/)]);
    expect(problems.join()).not.toContain(secret);
  });

  it('takes an admin whole, or not at all', () => {
    const admin = { ADMIN_EMAIL: 'admin@shop.example', ADMIN_PASSWORD: 's3cret of the admin' };
    expect(loadConfig(admin).firstAdmin).toEqual({ email: admin.ADMIN_EMAIL, password: admin.ADMIN_PASSWORD });
    expect(problemsOf({ ...admin, ADMIN_PASSWORD: 'x'.repeat(129) })).toEqual([expect.stringContaining('12 to 128')]);
    expect(problemsOf({ ...admin, ADMIN_PASSWORD: 's3cret of the admin ' })).toEqual([
      expect.stringContaining('a space'),
    ]);
    for (const name of Object.keys(admin)) {
      expect(problemsOf({ ...admin, [name]: '' })).toEqual([expect.stringContaining('set both, or none')]);
    }
  });

  it('takes a language model whole, or not at all', () => {
    const model = { LLM_BASE_URL: 'https://llm.example/v1', LLM_API_KEY: 's3cret', LLM_MODEL: 'a-model' };
    expect(loadConfig({ ...model, LLM_SEND_PERSONAL_DATA: 'true' }).languageModel).toEqual({
      baseUrl: model.LLM_BASE_URL,
      apiKey: model.LLM_API_KEY,
      name: model.LLM_MODEL,
      sendPersonalData: true,
      callsPerMinute: 20,
      timeoutSeconds: 20,
    });
    expect(loadConfig({ LLM_CALLS_PER_MINUTE: '5' }).languageModel).toBeNull();
    for (const name of Object.keys(model)) {
      const problems = problemsOf({ ...model, [name]: '' });
      expect(problems).toEqual([expect.stringContaining(`set ${name}, or none of them`)]);
      expect(problems.join()).not.toContain('s3cret');
    }
  });

  it.each(['llm.example/v1', 'ftp://llm.example', 'https://llm.example/v1?key=s3cret', 'https://s3cret@llm.example'])(
    'refuses %s as where a language model is, without showing it',
    (url) => {
      const problems = problemsOf({ LLM_BASE_URL: url, LLM_API_KEY: 'k', LLM_MODEL: 'm' });
      expect(problems).toEqual([expect.stringMatching(/^LLM_BASE_URL must be/)]);
      expect(problems.join()).not.toContain('s3cret');
    },
  );

  it('refuses embedded parts in production, and names those that are', () => {
    expect(problemsOf({ NODE_ENV: 'production', ...REAL_PARTS, REDIS_URL: 'memory' })).toEqual([
      expect.stringMatching(/^NODE_ENV=production .* give REDIS_URL /),
    ]);
    expect(problemsOf({ NODE_ENV: 'production' })[0]).toContain('SQS_ENDPOINT, REDIS_URL, DATABASE_URL');
    expect(loadConfig({ NODE_ENV: 'production', ...REAL_PARTS }).production).toBe(true);
  });

  it('reads which fields an erasure keeps', () => {
    expect(loadConfig({}).erasureKeptFields).toEqual([]);
    const ERASURE_KEPT_FIELDS = 'product_name ,Größe,coupon-code';
    expect(loadConfig({ ERASURE_KEPT_FIELDS }).erasureKeptFields).toEqual(['product_name', 'Größe', 'coupon-code']);
    for (const wrong of [',', 'a,,b', 'a,', 'x'.repeat(129)]) {
      expect(problemsOf({ ERASURE_KEPT_FIELDS: wrong })).toEqual([expect.stringContaining('ERASURE_KEPT_FIELDS')]);
    }
  });

  it('makes demo data beside an embedded ledger only, unless told otherwise', () => {
    expect(loadConfig({ NODE_ENV: 'test' }).demoData).toBe(true);
    expect(loadConfig({ DEMO_DATA: 'off' }).demoData).toBe(false);
    expect(loadConfig(REAL_PARTS).demoData).toBe(false);
    expect(loadConfig({ NODE_ENV: 'production', ...REAL_PARTS, DEMO_DATA: 'on' }).demoData).toBe(true);
  });

  it('refuses one port for the service and its embedded queue', () => {
    expect(problemsOf({ PORT: '4566' })).toEqual([expect.stringContaining('EMBEDDED_SQS_PORT')]);
    expect(loadConfig({ PORT: '4566', SQS_ENDPOINT: 'aws' }).port).toBe(4566);
    expect(loadConfig({ PORT: '0', EMBEDDED_SQS_PORT: '0' }).port).toBe(0);
  });

  it('gives each step of the fulfilment a queue that is received like the orders queue', () => {
    const { queue, stepQueues } = loadConfig({
      SQS_VISIBILITY_TIMEOUT: '45',
      STEP_POLLERS: '3',
      SHIPMENT_QUEUE_NAME: 'S',
    });
    const step = (name: string): object => ({ ...queue, name, pollers: 3, visibilityTimeout: 45 });
    expect(stepQueues).toEqual({
      inventory: step('inventory-queue'),
      payment: step('payment-queue'),
      shipment: step('S'),
    });
  });

  it('refuses a queue for two purposes, dead letters among them', () => {
    expect(problemsOf({ PAYMENT_QUEUE_NAME: 'orders-queue' })).toEqual([
      'SQS_QUEUE_NAME and PAYMENT_QUEUE_NAME are both orders-queue; each needs a queue of its own',
    ]);
    expect(problemsOf({ INVENTORY_QUEUE_NAME: 'x', SHIPMENT_QUEUE_NAME: 'x-dlq' })).toEqual([
      'SHIPMENT_QUEUE_NAME is x-dlq, which is the queue of the dead letters of INVENTORY_QUEUE_NAME',
    ]);
    expect(problemsOf({ PAYMENT_QUEUE_NAME: 'a queue' })).toEqual([expect.stringContaining('PAYMENT_QUEUE_NAME')]);
  });

  // PostgreSQL reads +01 as west of Greenwich and knows no summer time of CET; Intl takes both the other way.
  it.each(['+01', '+01:00', 'CET', 'EET', 'Mars/Olympus'])('refuses the time zone %s', (zone) => {
    expect(problemsOf({ BUSINESS_TIME_ZONE: zone })).toEqual([expect.stringContaining('BUSINESS_TIME_ZONE')]);
  });

  it.each([
    ['REDIS_URL', 'mysql://root:s3cret@cache.example'],
    ['REDIS_URL', 'redis:s3cret'],
    ['DATABASE_URL', 'postgres:/s3cret'],
    ['DATABASE_URL', 'mysql://orders:s3cret@db.example/orders'],
    ['SQS_ENDPOINT', 'ftp://user:s3cret@queue.example'],
  ])('refuses a %s of %s without showing it', (name, value) => {
    const problems = problemsOf({ [name]: value });
    expect(problems).toEqual([expect.stringContaining(name)]);
    expect(problems.join()).not.toContain('s3cret');
  });

  it('shows no secret with other problems, and keeps none of AWS', () => {
    const secrets = {
      ...REAL_PARTS,
      REDIS_URL: 'redis://:s3cret@cache.example',
      DATABASE_URL: 'postgres://orders:s3cret@db.example/orders',
    };
    expect(problemsOf({ ...secrets, PORT: 'x', HOST: '0.0.0.0' }).join()).not.toContain('s3cret');
    const config = loadConfig({
      AWS_ACCESS_KEY_ID: 'AKIA',
      AWS_SECRET_ACCESS_KEY: 's3cret',
      AWS_SESSION_TOKEN: 's3cret',
    });
    expect(config.awsCredentialsGiven).toBe(true);
    expect(JSON.stringify(config)).not.toContain('s3cret');
  });
});

function namesReadFrom(load: (environment: NodeJS.ProcessEnv) => unknown): string[] {
  const names = new Set<string>();
  load(new Proxy<NodeJS.ProcessEnv>({}, { get: (_, name) => void names.add(String(name)) }));
  return [...names];
}

function problemsOf(environment: Record<string, string>): string[] {
  try {
    loadConfig(environment);
  } catch (error) {
    if (error instanceof InvalidConfiguration) return error.problems;
    throw error;
  }
  return [];
}
