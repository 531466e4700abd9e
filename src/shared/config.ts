import { plainToInstance, Transform } from 'class-transformer';
import {
  IsIn,
  IsInt,
  IsNumber,
  IsOptional,
  IsString,
  Length,
  Matches,
  Max,
  MaxLength,
  Min,
  MinLength,
  registerDecorator,
  validateSync,
} from 'class-validator';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { isEmailAddress, MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH } from './credentials.js';

const LOOPBACK_HOSTS = ['127.0.0.1', '::1', 'localhost'];
const MIN_SECRET_BYTES = 32;
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** ISO 4217 codes of currencies that have exactly two decimal places, by this runtime's own tables. */
const TWO_DECIMAL_CURRENCIES = Intl.supportedValuesOf('currency').filter(
  (code) =>
    new Intl.NumberFormat('en', { style: 'currency', currency: code }).resolvedOptions().maximumFractionDigits === 2,
);

/** Reads a variable as a whole number; anything else stays text, so that validation names it. */
function WholeNumber(least: number, most: number): PropertyDecorator {
  return (target, property) => {
    Transform(({ value }: { value: unknown }) => (/^-?\d+$/.test(String(value)) ? Number(value) : value))(
      target,
      property,
    );
    IsInt({ message: `$property must be a whole number, not "$value"` })(target, property);
    Min(least, { message: `$property must be at least ${least}` })(target, property);
    Max(most, { message: `$property must be at most ${most}` })(target, property);
  };
}

/** The name of a standard queue, and of its dead-letter queue once -dlq is added. */
function QueueName(): PropertyDecorator {
  return Matches(/^[A-Za-z0-9_-]{1,76}$/, {
    message: '$property must be 1 to 76 letters, digits, - or _ (a standard queue; -dlq is added for its dead letters)',
  });
}

/** Reads a variable as a decimal number, which no notation but digits and a point is. */
function DecimalNumber(least: number, most: number): PropertyDecorator {
  return (target, property) => {
    Transform(({ value }: { value: unknown }) => (/^\d+(\.\d+)?$/.test(String(value)) ? Number(value) : value))(
      target,
      property,
    );
    IsNumber({}, { message: `$property must be a number from ${least} to ${most}, not "$value"` })(target, property);
    Min(least, { message: `$property must be at least ${least}` })(target, property);
    Max(most, { message: `$property must be at most ${most}` })(target, property);
  };
}

/** One of some words, or a URL of one of some schemes. */
function WordOrUrl(words: string[], schemes: string[]): PropertyDecorator {
  return (target, property) =>
    registerDecorator({
      name: 'wordOrUrl',
      target: target.constructor,
      propertyName: String(property),
      validator: {
        validate: (value: unknown) =>
          typeof value === 'string' &&
          (words.includes(value) || schemes.some((scheme) => value.startsWith(`${scheme}://`) && URL.canParse(value))),
        // The value stays out of the message: a database URL carries a password.
        defaultMessage: () => `$property must be ${words.join(', ')} or a ${schemes.join(':// or ')}:// URL`,
      },
    });
}

/** A value some predicate accepts. */
function Satisfies(predicate: (value: string) => boolean, message: string): PropertyDecorator {
  return (target, property) =>
    registerDecorator({
      name: 'satisfies',
      target: target.constructor,
      propertyName: String(property),
      validator: {
        validate: (value: unknown) => typeof value === 'string' && predicate(value),
        defaultMessage: () => message,
      },
    });
}

/**
 * PostgreSQL and Intl agree on UTC and on Area/City names only: of offsets such as "+01" they think the opposite, and
 * "CET" is without summer time there and with it here.
 */
function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return name === 'UTC' || /^[A-Za-z]+\//.test(name);
  } catch {
    return false;
  }
}

/** As https://www.standardwebhooks.com has secrets written. */
function isWebhookSecret(text: string): boolean {
  const [, encoded] = /^whsec_(.+)$/.exec(text) ?? [];
  if (encoded === undefined) return false;
  const key = Buffer.from(encoded, 'base64');
  return key.toString('base64') === encoded && key.length >= 24 && key.length <= 64;
}

/** Credentials belong into a variable of their own, where they are known to be a secret. */
function isWebAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return ['http:', 'https:'].includes(protocol) && !username && !password && !search && !hash;
}

function isHost(name: string): boolean {
  return name === 'localhost' || isIP(name) !== 0;
}

/** The environment variables this service reads, with their defaults and bounds. */
class Environment {
  @IsIn(['development', 'test', 'production'], { message: 'NODE_ENV must be development, test or production' })
  NODE_ENV = 'development';

  @WholeNumber(0, 65_535)
  PORT = 9000;

  @Satisfies(isHost, 'HOST must be an IP address of this machine or localhost')
  HOST = '127.0.0.1';

  @MinLength(1)
  DATA_DIR = './data';

  @WordOrUrl(['embedded', 'aws'], ['http', 'https'])
  SQS_ENDPOINT = 'embedded';

  @WordOrUrl(['embedded', 'memory'], ['redis', 'rediss', 'unix'])
  REDIS_URL = 'embedded';

  @WordOrUrl(['embedded'], ['postgres', 'postgresql'])
  DATABASE_URL = 'embedded';

  @WholeNumber(0, 65_535)
  EMBEDDED_SQS_PORT = 4566;

  @Matches(/^[a-z0-9-]+$/, { message: 'AWS_REGION must be a region name such as us-east-1' })
  AWS_REGION = 'us-east-1';

  @QueueName()
  SQS_QUEUE_NAME = 'orders-queue';

  @QueueName()
  INVENTORY_QUEUE_NAME = 'inventory-queue';

  @QueueName()
  PAYMENT_QUEUE_NAME = 'payment-queue';

  @QueueName()
  SHIPMENT_QUEUE_NAME = 'shipment-queue';

  @WholeNumber(1, 64)
  SQS_POLLERS = 8;

  @WholeNumber(1, 10)
  STEP_POLLERS = 2;

  @WholeNumber(1, 10)
  SQS_MAX_NUMBER_OF_MESSAGES = 10;

  @IsOptional()
  @WholeNumber(0, 20)
  SQS_WAIT_TIME_SECONDS?: number;

  @WholeNumber(5, 43_200)
  SQS_VISIBILITY_TIMEOUT = 30;

  @WholeNumber(1, 1000)
  SQS_MAX_RECEIVE_COUNT = 5;

  @IsIn(['correct', 'reject'], { message: 'ORDER_VALUE_MISMATCH must be correct or reject' })
  ORDER_VALUE_MISMATCH: 'correct' | 'reject' = 'correct';

  @WholeNumber(1, 100_000_000_000)
  MAX_ORDER_VALUE = 10_000_000;

  @Satisfies(
    (code) => TWO_DECIMAL_CURRENCIES.includes(code),
    'CURRENCY must be the ISO 4217 code of a currency with two decimal places, such as USD or EUR',
  )
  CURRENCY = 'USD';

  @Satisfies(isTimeZone, 'BUSINESS_TIME_ZONE must be a time zone name such as UTC or Europe/Berlin')
  BUSINESS_TIME_ZONE = 'UTC';

  @DecimalNumber(0, 1)
  PAYMENT_FAILURE_RATE = 0.1;

  @IsOptional()
  @Satisfies(
    isWebhookSecret,
    'WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 bytes: make one with ' +
      '"echo whsec_$(openssl rand -base64 32)"',
  )
  WEBHOOK_SECRET?: string;

  @Matches(/^[A-Za-z0-9:_-]{1,64}$/, { message: 'REDIS_KEY_PREFIX must be 1 to 64 letters, digits, :, - or _' })
  REDIS_KEY_PREFIX = 'orders';

  @IsIn(LOG_LEVELS, { message: `LOG_LEVEL must be one of ${LOG_LEVELS.join(', ')}` })
  LOG_LEVEL: (typeof LOG_LEVELS)[number] = 'info';

  @WholeNumber(60, 31_536_000)
  IDEMPOTENCY_TTL_SECONDS = 86_400;

  @WholeNumber(0, 900)
  SHIPMENT_DELAY_SECONDS = 2;

  @WholeNumber(0, 86_400)
  SHIPMENT_STEP_SECONDS = 1;

  @IsOptional()
  @IsIn(['open', 'secured'], { message: 'ACCESS must be open or secured' })
  ACCESS?: 'open' | 'secured';

  @IsString()
  @MaxLength(2000)
  CORS_ORIGINS = '';

  @WholeNumber(0, 10)
  TRUSTED_PROXIES = 0;

  @WholeNumber(0, 1_000_000)
  RATE_LIMIT_PER_MINUTE = 6_000;

  @IsOptional()
  @IsString()
  JWT_SECRET?: string;

  @IsOptional()
  @IsString()
  JWT_SECRET_PREVIOUS?: string;

  @IsOptional()
  @Satisfies(isEmailAddress, 'ADMIN_EMAIL must be an e-mail address')
  ADMIN_EMAIL?: string;

  @IsOptional()
  @Length(MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH, {
    message: `ADMIN_PASSWORD must have ${MIN_PASSWORD_LENGTH} to ${MAX_PASSWORD_LENGTH} characters`,
  })
  ADMIN_PASSWORD?: string;

  @IsOptional()
  @Matches(/^[\x21-\x7e]{16,}$/, { message: 'METRICS_TOKEN must have at least 16 printable characters and no space' })
  METRICS_TOKEN?: string;

  @Matches(/^([^\s,]{1,128}(\s*,\s*[^\s,]{1,128})*)?$/, {
    message: 'ERASURE_KEPT_FIELDS must be names of fields with commas between them, such as product_name,coupon_code',
  })
  @MaxLength(10_000)
  ERASURE_KEPT_FIELDS = '';

  @WholeNumber(0, 1_440)
  DATA_QUALITY_CHECK_MINUTES = 0;

  @WholeNumber(1, 500)
  DATA_QUALITY_SAMPLE = 20;

  @IsOptional()
  @IsIn(['on', 'off'], { message: 'DEMO_DATA must be on or off' })
  DEMO_DATA?: 'on' | 'off';

  @IsOptional()
  @Matches(/^[\x21-\x7e]+$/, { message: 'API_KEY must be an API key of the service' })
  API_KEY?: string;

  @IsOptional()
  // The value stays out of the message, as it may carry a password.
  @Satisfies(
    isWebAddress,
    'LLM_BASE_URL must be an http:// or https:// URL without a user, such as https://llm.example/v1',
  )
  LLM_BASE_URL?: string;

  @IsOptional()
  @Matches(/^[\x21-\x7e]+$/, { message: 'LLM_API_KEY must be printable characters without a space' })
  LLM_API_KEY?: string;

  @IsOptional()
  @Matches(/^[\x21-\x7e]{1,200}$/, { message: 'LLM_MODEL must be 1 to 200 printable characters without a space' })
  LLM_MODEL?: string;

  @IsIn(['true', 'false'], { message: 'LLM_SEND_PERSONAL_DATA must be true or false' })
  LLM_SEND_PERSONAL_DATA: 'true' | 'false' = 'false';

  @WholeNumber(1, 10_000)
  LLM_CALLS_PER_MINUTE = 20;

  @WholeNumber(1, 300)
  LLM_TIMEOUT_SECONDS = 20;
}

/** Variables without a default. */
const OPTIONAL = [
  'SQS_WAIT_TIME_SECONDS',
  'WEBHOOK_SECRET',
  'ACCESS',
  'JWT_SECRET',
  'JWT_SECRET_PREVIOUS',
  'ADMIN_EMAIL',
  'ADMIN_PASSWORD',
  'METRICS_TOKEN',
  'DEMO_DATA',
  'API_KEY',
  'LLM_BASE_URL',
  'LLM_API_KEY',
  'LLM_MODEL',
];

/** Injection token of the {@link Config}. */
export const CONFIG = Symbol('config');

/** How a queue is made and consumed. */
export interface QueueConfig {
  readonly name: string;
  /** How many receive at once. */
  readonly pollers: number;
  readonly maxNumberOfMessages: number;
  readonly waitTimeSeconds: number;
  /** Seconds. */
  readonly visibilityTimeout: number;
  readonly maxReceiveCount: number;
}

/** The language model that orders are shown to for a second look, behind an endpoint that is compatible with OpenAI's. */
export interface LanguageModelConfig {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly name: string;
  /** Whether it is shown what may be a person's: addresses, user ids. */
  readonly sendPersonalData: boolean;
  /** Of all processes together. */
  readonly callsPerMinute: number;
  /** For all tries of a call together. */
  readonly timeoutSeconds: number;
}

/** The validated configuration; frozen, the same for the whole life of the process. */
export interface Config {
  readonly production: boolean;
  readonly port: number;
  readonly host: string;
  /** Absolute path of the folder that the embedded parts keep their data in. */
  readonly dataDir: string;
  /** `embedded`, `aws`, or the URL of an SQS-compatible endpoint. */
  readonly sqsEndpoint: string;
  /** `embedded`, `memory`, or a Redis URL. */
  readonly redisUrl: string;
  /** `embedded`, or a PostgreSQL URL. */
  readonly databaseUrl: string;
  readonly embeddedSqsPort: number;
  readonly awsRegion: string;
  /** Whether the environment names AWS credentials; the SDK finds them by its own rules. */
  readonly awsCredentialsGiven: boolean;
  /** The queue of order events. */
  readonly queue: QueueConfig;
  /** The queues of the fulfilment's steps. */
  readonly stepQueues: {
    readonly inventory: QueueConfig;
    readonly payment: QueueConfig;
    readonly shipment: QueueConfig;
  };
  readonly orderValueMismatch: 'correct' | 'reject';
  /** The most that one order may be worth, in cents. */
  readonly maxOrderCents: number;
  readonly currency: string;
  readonly businessTimeZone: string;
  /** The share of orders whose payment the simulated provider declines, 0 to 1. */
  readonly paymentFailureRate: number;
  /** What webhooks of the payment provider are signed with, as `whsec_…`; null where none is given. */
  readonly webhookSecret: string | null;
  readonly redisKeyPrefix: string;
  /** How long the answer to a request with an idempotency key is kept. */
  readonly idempotencyTtlSeconds: number;
  /** How long a paid order is kept back before it is shipped; it can be cancelled until then. */
  readonly shipmentDelaySeconds: number;
  /** How long the simulated carrier takes from one event of a shipment to the next. */
  readonly shipmentStepSeconds: number;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  /** Folders in which programs are looked for. */
  readonly searchPath: string;
  /** Origins of web pages that may call this service, besides its own. */
  readonly corsOrigins: readonly string[];
  /** `open`: whoever reaches this service, which then only this machine can, may do anything. */
  readonly access: 'open' | 'secured';
  /** How many proxies stand before this service, each of which adds to X-Forwarded-For. */
  readonly trustedProxies: number;
  /** Requests that a caller may make in a minute where access is secured; 0 for any number. */
  readonly rateLimitPerMinute: number;
  /** Keys that access tokens are signed with: the first signs, all are good. Empty where none is given. */
  readonly jwtSecrets: readonly string[];
  /** Who is made an admin where there is none. */
  readonly firstAdmin: { readonly email: string; readonly password: string } | null;
  /** What a scraper of the metrics shows. */
  readonly metricsToken: string | null;
  /** Whether a start that finds an empty catalogue fills it with demo data. */
  readonly demoData: boolean;
  /** Fields of stored bodies that an erasure of personal data keeps, besides those that the service reads. */
  readonly erasureKeptFields: readonly string[];
  /** How often new failed and suspect orders are checked, in minutes; 0: never. */
  readonly qualityCheckMinutes: number;
  /** How many orders such a check looks at. */
  readonly qualitySample: number;
  /** What commands show to the running service. */
  readonly apiKey: string | null;
  /** Null where none is configured. */
  readonly languageModel: LanguageModelConfig | null;
}

/** The environment is not usable; every problem is named, no value of a secret is shown. */
export class InvalidConfiguration extends Error {
  constructor(readonly problems: string[]) {
    super(
      `The configuration has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`,
    );
    this.name = 'InvalidConfiguration';
  }
}

/**
 * Builds the configuration from environment variables; an empty variable counts as absent.
 * @throws InvalidConfiguration naming every problem at once
 */
export function loadConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const given = Object.fromEntries(
    Object.keys(new Environment())
      .concat(OPTIONAL)
      .map((name) => [name, environment[name]?.trim()] as const)
      .filter(([, value]) => value),
  );
  const env = plainToInstance(Environment, given, { exposeDefaultValues: true });
  const problems = validateSync(env, { stopAtFirstError: true }).flatMap((error) =>
    Object.values(error.constraints ?? {}),
  );
  problems.push(...contradictions(env));
  // Trimmed like the others it would be another one than whoever logs in types.
  if (environment.ADMIN_PASSWORD !== environment.ADMIN_PASSWORD?.trim()) {
    problems.push('ADMIN_PASSWORD must not begin or end with a space');
  }
  if (problems.length > 0) throw new InvalidConfiguration(problems);

  const embeddedQueue = env.SQS_ENDPOINT === 'embedded';
  const queue = (name: string, pollers: number): QueueConfig => ({
    name,
    pollers,
    maxNumberOfMessages: env.SQS_MAX_NUMBER_OF_MESSAGES,
    // The emulator hands the next message to a waiter that has gone; short waits keep that window small.
    waitTimeSeconds: env.SQS_WAIT_TIME_SECONDS ?? (embeddedQueue ? 1 : 20),
    visibilityTimeout: env.SQS_VISIBILITY_TIMEOUT,
    maxReceiveCount: env.SQS_MAX_RECEIVE_COUNT,
  });
  return deepFreeze({
    production: env.NODE_ENV === 'production',
    port: env.PORT,
    host: env.HOST,
    dataDir: resolve(env.DATA_DIR),
    sqsEndpoint: env.SQS_ENDPOINT,
    redisUrl: env.REDIS_URL,
    databaseUrl: env.DATABASE_URL,
    embeddedSqsPort: env.EMBEDDED_SQS_PORT,
    awsRegion: env.AWS_REGION,
    awsCredentialsGiven: Boolean(environment.AWS_ACCESS_KEY_ID || environment.AWS_PROFILE),
    queue: queue(env.SQS_QUEUE_NAME, env.SQS_POLLERS),
    stepQueues: {
      inventory: queue(env.INVENTORY_QUEUE_NAME, env.STEP_POLLERS),
      payment: queue(env.PAYMENT_QUEUE_NAME, env.STEP_POLLERS),
      shipment: queue(env.SHIPMENT_QUEUE_NAME, env.STEP_POLLERS),
    },
    orderValueMismatch: env.ORDER_VALUE_MISMATCH,
    maxOrderCents: env.MAX_ORDER_VALUE * 100,
    currency: env.CURRENCY,
    businessTimeZone: env.BUSINESS_TIME_ZONE,
    paymentFailureRate: env.PAYMENT_FAILURE_RATE,
    webhookSecret: env.WEBHOOK_SECRET ?? null,
    redisKeyPrefix: env.REDIS_KEY_PREFIX,
    idempotencyTtlSeconds: env.IDEMPOTENCY_TTL_SECONDS,
    shipmentDelaySeconds: env.SHIPMENT_DELAY_SECONDS,
    shipmentStepSeconds: env.SHIPMENT_STEP_SECONDS,
    logLevel: env.LOG_LEVEL,
    searchPath: environment.PATH ?? '',
    corsOrigins: listOf(env.CORS_ORIGINS),
    access: accessOf(env),
    trustedProxies: env.TRUSTED_PROXIES,
    rateLimitPerMinute: env.RATE_LIMIT_PER_MINUTE,
    jwtSecrets: [env.JWT_SECRET, env.JWT_SECRET_PREVIOUS].filter((secret) => secret !== undefined),
    firstAdmin: env.ADMIN_EMAIL && env.ADMIN_PASSWORD ? { email: env.ADMIN_EMAIL, password: env.ADMIN_PASSWORD } : null,
    metricsToken: env.METRICS_TOKEN ?? null,
    // Whoever names a server has data of their own in mind.
    demoData: (env.DEMO_DATA ?? (env.DATABASE_URL === 'embedded' ? 'on' : 'off')) === 'on',
    erasureKeptFields: listOf(env.ERASURE_KEPT_FIELDS),
    qualityCheckMinutes: env.DATA_QUALITY_CHECK_MINUTES,
    qualitySample: env.DATA_QUALITY_SAMPLE,
    apiKey: env.API_KEY ?? null,
    languageModel: languageModelOf(env),
  });
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);
}

function languageModelOf(env: Environment): LanguageModelConfig | null {
  const { LLM_BASE_URL: baseUrl, LLM_API_KEY: apiKey, LLM_MODEL: name } = env;
  if (!baseUrl || !apiKey || !name) return null;
  return {
    baseUrl,
    apiKey,
    name,
    sendPersonalData: env.LLM_SEND_PERSONAL_DATA === 'true',
    callsPerMinute: env.LLM_CALLS_PER_MINUTE,
    timeoutSeconds: env.LLM_TIMEOUT_SECONDS,
  };
}

function accessOf({ ACCESS, HOST }: Environment): 'open' | 'secured' {
  return ACCESS ?? (LOOPBACK_HOSTS.includes(HOST) ? 'open' : 'secured');
}

function contradictions(env: Environment): string[] {
  const problems: string[] = [];
  if (isHost(env.HOST) && !LOOPBACK_HOSTS.includes(env.HOST) && env.ACCESS === 'open') {
    problems.push(
      `ACCESS=open lets anybody do anything, so it takes a HOST that only this machine reaches, not ${env.HOST}: ` +
        'leave ACCESS out, or HOST',
    );
  }
  if (isHost(env.HOST) && accessOf(env) === 'secured') problems.push(...weakSecrets(env));
  if (Boolean(env.ADMIN_EMAIL) !== Boolean(env.ADMIN_PASSWORD)) {
    problems.push('ADMIN_EMAIL and ADMIN_PASSWORD are of use together only: set both, or none');
  }
  if (env.SQS_ENDPOINT === 'embedded' && env.PORT === env.EMBEDDED_SQS_PORT && env.PORT !== 0) {
    problems.push(`PORT and EMBEDDED_SQS_PORT are both ${env.PORT}; the service and its embedded queue need one each`);
  }
  const ofModel = (['LLM_BASE_URL', 'LLM_API_KEY', 'LLM_MODEL'] as const).filter((name) => !env[name]);
  if (ofModel.length === 1 || ofModel.length === 2) {
    problems.push(
      `LLM_BASE_URL, LLM_API_KEY and LLM_MODEL are of use together only: set ${ofModel.join(' and ')}, or none of them`,
    );
  }
  problems.push(...queuesInOne(env));
  for (const origin of listOf(env.CORS_ORIGINS)) {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      problems.push(`CORS_ORIGINS has "${origin}", which is not an origin such as https://shop.example`);
    }
  }
  if (env.NODE_ENV === 'production') {
    const embedded = (['SQS_ENDPOINT', 'REDIS_URL', 'DATABASE_URL'] as const).filter((name) =>
      ['embedded', 'memory'].includes(env[name]),
    );
    if (embedded.length > 0) {
      problems.push(`NODE_ENV=production refuses embedded parts: give ${embedded.join(', ')} a real one`);
    }
  }
  return problems;
}

/** Each queue, and each queue of dead letters, is to be one of its own. */
function queuesInOne(env: Environment): string[] {
  const variables = ['SQS_QUEUE_NAME', 'INVENTORY_QUEUE_NAME', 'PAYMENT_QUEUE_NAME', 'SHIPMENT_QUEUE_NAME'] as const;
  return variables.flatMap((variable, index) => [
    ...variables
      .slice(index + 1)
      .filter((other) => env[other] === env[variable])
      .map((other) => `${variable} and ${other} are both ${env[variable]}; each needs a queue of its own`),
    ...variables
      .filter((other) => env[other] === `${env[variable]}-dlq`)
      .map((other) => `${other} is ${env[other]}, which is the queue of the dead letters of ${variable}`),
  ]);
}

/** A key of HMAC-SHA-256 must be as long as its hash: RFC 7518, section 3.2. */
function weakSecrets({ JWT_SECRET, JWT_SECRET_PREVIOUS }: Environment): string[] {
  const problems: string[] = [];
  if (Buffer.byteLength(JWT_SECRET ?? '') < MIN_SECRET_BYTES) {
    problems.push(
      `JWT_SECRET must have at least ${MIN_SECRET_BYTES} bytes where ACCESS is secured, as it is on a HOST other than ` +
        `loopback: make one with "openssl rand -base64 48"`,
    );
  }
  if (JWT_SECRET_PREVIOUS !== undefined && Buffer.byteLength(JWT_SECRET_PREVIOUS) < MIN_SECRET_BYTES) {
    problems.push(`JWT_SECRET_PREVIOUS must have at least ${MIN_SECRET_BYTES} bytes`);
  }
  return problems;
}

function deepFreeze<T extends object>(value: T): T {
  for (const inner of Object.values(value)) if (inner && typeof inner === 'object') deepFreeze(inner as object);
  return Object.freeze(value);
}
