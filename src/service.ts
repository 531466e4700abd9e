import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import helmet, { type HelmetOptions } from 'helmet';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { AppModule } from './app.module.js';
import { assertFirstAdminIsSafe } from './auth/accounts/first-admin.service.js';
import { saysItIsSigned } from './fulfilment/payments/webhook-signatures.service.js';
import { EmbeddedQueuePortTaken } from './platform/embedded/embedded-queue.js';
import { AnswerAdapter } from './platform/http/answer-adapter.js';
import { ApiOverview } from './platform/http/api-overview.js';
import { ProblemFilter } from './platform/http/problem.filter.js';
import { RequestBodyGuard } from './platform/http/request-body.guard.js';
import { sameMachineOnly } from './platform/http/same-machine.middleware.js';
import { RequestValidation } from './platform/http/validation.js';
import { HttpMetrics } from './platform/observability/http-metrics.js';
import { ServiceLogger } from './platform/observability/logging.js';
import { RequestLog } from './platform/observability/request-log.js';
import type { Config } from './shared/config.js';

const { name, version } = JSON.parse(readFileSync(join(__dirname, '..', 'package.json'), 'utf8')) as {
  name: string;
  version: string;
};

/** Headers of answers that a page of another origin may read, once it is allowed to ask at all. */
const READ_BY_PAGES = [
  'Content-Disposition',
  'Link',
  'Location',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'X-Request-Id',
];

/** The service speaks plain HTTP, so its own page must not ask for its parts by another; TLS is the proxy's before it. */
const HEADERS_OF_PAGES: HelmetOptions = {
  contentSecurityPolicy: { directives: { upgradeInsecureRequests: null } },
  strictTransportSecurity: false,
};

/** The dashboard shows what senders wrote: it runs its own scripts only, none of a text, and asks nobody but this service. */
const HEADERS_OF_DASHBOARD: HelmetOptions = {
  ...HEADERS_OF_PAGES,
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'"],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
      requireTrustedTypesFor: ["'script'"],
      trustedTypes: ["'none'"],
    },
  },
};

/** Of those, what a browser looks at in an answer that is no page: every header costs both sides some time. */
const HEADERS_OF_ANSWERS: HelmetOptions = {
  contentSecurityPolicy: false,
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
  referrerPolicy: false,
  strictTransportSecurity: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xPermittedCrossDomainPolicies: false,
  xPoweredBy: false, // Express is told not to send it
  xXssProtection: false,
};

/** The port of the HTTP API is in use. */
export class PortTaken extends Error {
  constructor(port: number) {
    super(`Port ${port} is taken. Stop what uses it, or choose another one: PORT=${port + 1} npm start`);
    this.name = 'PortTaken';
  }
}

/**
 * Wires the service and brings its embedded parts up; it does not listen yet. Consuming begins with `app.init()` or
 * `app.listen()`.
 * @throws CommonAdminPassword @throws DataFolderInUse @throws EmbeddedQueuePortTaken @throws NoPostgres @throws OldDataFolder
 * @throws OtherPostgresVersion @throws ServerNotStarted
 */
export async function createService(config: Config): Promise<NestExpressApplication> {
  await assertFirstAdminIsSafe(config);
  const app = await NestFactory.create<NestExpressApplication>(AppModule.with(config), new AnswerAdapter(), {
    bufferLogs: true,
    abortOnError: false,
    bodyParser: false,
  });
  app.useLogger(app.get(ServiceLogger));
  app.set('query parser', 'simple');
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('trust proxy', config.trustedProxies);
  app.use(helmet(HEADERS_OF_ANSWERS));
  app.use('/docs', helmet(HEADERS_OF_PAGES));
  app.use('/dashboard', helmet(HEADERS_OF_DASHBOARD));
  // Where nobody has to log in, a web page must not be let in either.
  if (config.access === 'open') app.use(sameMachineOnly(config.corsOrigins));
  if (config.corsOrigins.length > 0) app.enableCors({ origin: [...config.corsOrigins], exposedHeaders: READ_BY_PAGES });
  app.useGlobalGuards(new RequestBodyGuard(({ headers }) => saysItIsSigned(headers)));
  app.useGlobalPipes(new RequestValidation());
  app.useGlobalFilters(new ProblemFilter());
  describe(app);
  observeRequests(app);
  return app;
}

/** @throws PortTaken @throws EmbeddedQueuePortTaken */
export async function assertPortsFree({ host, port, sqsEndpoint, embeddedSqsPort }: Config): Promise<void> {
  if (await isTaken(host, port)) throw new PortTaken(port);
  if (sqsEndpoint === 'embedded' && (await isTaken('127.0.0.1', embeddedSqsPort))) {
    throw new EmbeddedQueuePortTaken(embeddedSqsPort);
  }
}

function isTaken(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(true) : reject(error),
    );
    probe.listen(port, host, () => probe.close(() => resolve(false)));
  });
}

/** Installed here and not by a module, for which Nest would match every path anew. */
function observeRequests(app: NestExpressApplication): void {
  for (const middleware of [app.get(HttpMetrics), app.get(RequestLog)]) app.use(middleware.use.bind(middleware));
}

/** Swagger at /docs, the document at /docs-json, and the list of routes at /api from the same source. */
function describe(app: NestExpressApplication): void {
  const options = new DocumentBuilder()
    .setTitle(name)
    .setVersion(version)
    .setDescription(
      'Order events arrive on a queue, are judged, written once to a durable ledger and projected into live statistics. ' +
        'Money is decimal with at most two places; times are UTC. Errors are `application/problem+json` with a stable ' +
        '`code`.',
    )
    .addBearerAuth({ type: 'http', description: 'An access token from /api/v1/auth/login, or an API key' })
    .build();
  // Made when it is first asked for: that takes a quarter of a second.
  let made: OpenAPIObject | undefined;
  const document = (): OpenAPIObject => (made ??= SwaggerModule.createDocument(app, options));
  SwaggerModule.setup('docs', app, document, { jsonDocumentUrl: 'docs-json', customSiteTitle: 'Order pipeline' });
  app.get(ApiOverview).isDescribedBy(document);
}
