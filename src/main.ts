import './require-node.js';
import 'reflect-metadata';
import './require-data-folder.js';
import { EmbeddedParts } from './platform/embedded/embedded-parts.js';
import { banner } from './platform/observability/banner.js';
import { assertPortsFree, createService } from './service.js';
import { loadConfig } from './shared/config.js';

/** What a user can mend; anything else keeps its stack trace. */
const MISTAKES_OF_USE = ['DataFolderInUse', 'EmbeddedQueuePortTaken', 'PortTaken'];

/** Starts the service. */
async function main(): Promise<void> {
  const config = loadConfig();
  // Before anything is consumed, since a service that can't answer should not begin.
  await assertPortsFree(config);
  const app = await createService(config);
  app.enableShutdownHooks(['SIGTERM', 'SIGINT'], { useProcessExit: true });
  await app.listen(config.port, config.host);
  process.stdout.write(banner(config, app.get(EmbeddedParts), await app.getUrl()));
}

main().catch((error: Error) => {
  process.stderr.write(`${MISTAKES_OF_USE.includes(error.name) ? error.message : error.stack}\n`);
  process.exit(1);
});
