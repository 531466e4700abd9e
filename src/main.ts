import './require-node.js';
import './compile-cache.js';
import 'reflect-metadata';
import './require-data-folder.js';
import { Logger } from '@nestjs/common';
import { flushCompileCache } from 'node:module';
import { EmbeddedParts } from './platform/embedded/embedded-parts.js';
import { banner } from './platform/observability/banner.js';
import { Readiness } from './platform/observability/readiness.js';
import { assertPortsFree, createService } from './service.js';
import { loadConfig } from './shared/config.js';
import { describeFailure } from './shared/failed-start.js';

const SHUTDOWN_SIGNALS: NodeJS.Signals[] = ['SIGTERM', 'SIGINT'];
/** Every part has a limit of its own for stopping; this one is for many of them hanging at once. */
const SHUTDOWN_TIMEOUT_MS = 9_000;

/** Starts the service. */
async function main(): Promise<void> {
  const config = loadConfig();
  // Before anything is consumed, since a service that can't answer should not begin.
  await assertPortsFree(config);
  // Nest would log a failed start, stack trace and all, before the log of the service is set up.
  Logger.overrideLogger(false);
  const app = await createService(config);
  app.enableShutdownHooks(SHUTDOWN_SIGNALS, { useProcessExit: true });
  for (const signal of SHUTDOWN_SIGNALS) {
    process.once(signal, () => {
      // Before any part is stopped, of which each may take a while.
      app.get(Readiness).shutDown();
      setTimeout(giveUp, SHUTDOWN_TIMEOUT_MS).unref();
    });
  }
  await app.listen(config.port, config.host);
  process.stdout.write(banner(config, app.get(EmbeddedParts), await app.getUrl()));
  flushCompileCache(); // a start after a kill is to be quick, too
}

/** Ends a shutdown that takes too long. Nothing is lost: what was not acknowledged is delivered again. */
function giveUp(): void {
  new Logger('main').warn(`Not every part has stopped within ${SHUTDOWN_TIMEOUT_MS / 1000} s; ending without them`);
  process.exit(0);
}

main().catch((error: Error) => {
  process.stderr.write(`${describeFailure(error)}\n`);
  process.exit(1);
});
