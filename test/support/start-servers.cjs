/**
 * Jest's global set-up: builds the service once, and starts one PostgreSQL, one Redis and one queue for the whole run.
 * DATABASE_URL and REDIS_URL name servers that are used instead. Where no Redis is installed, each service keeps its
 * own in memory. All of it ends with this process, however that ends; but on a server that was given, a killed run leaves
 * its `test_*` databases.
 */
const { execFileSync } = require('node:child_process');
const { randomBytes } = require('node:crypto');
const { mkdtempSync, rmSync, symlinkSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const REPOSITORY = join(__dirname, '..', '..');

module.exports = async function startServers() {
  const folder = mkdtempSync(join(tmpdir(), 'order-pipeline-test-run-'));
  buildInto(folder);
  const { EmbeddedQueue } = require(join(folder, 'src/platform/embedded/embedded-queue.js'));
  const { migratedTemplate } = require(join(folder, 'test/support/template-database.js'));
  const { goesWithThisProcess } = require(join(folder, 'test/support/own-process.js'));
  const { PostgresServer } = require(join(folder, 'test/support/postgres-server.js'));
  const { canStartRedis, RedisServer } = require(join(folder, 'test/support/redis-server.js'));
  goesWithThisProcess(folder);

  const queue = await EmbeddedQueue.start(0, null);
  const redis = !process.env.REDIS_URL && canStartRedis() ? await RedisServer.start() : null;
  const postgres = process.env.DATABASE_URL ? null : await PostgresServer.start();
  const databaseUrl = process.env.DATABASE_URL ?? postgres.url;
  const template = await migratedTemplate(databaseUrl, `test_template_${randomBytes(6).toString('hex')}`);

  Object.assign(process.env, {
    TEST_BUILD: join(folder, 'src'),
    TEST_SQS_ENDPOINT: queue.endpoint,
    TEST_REDIS_URL: process.env.REDIS_URL ?? redis?.url ?? 'memory',
    TEST_DATABASE_URL: databaseUrl,
    TEST_TEMPLATE_DATABASE: template.name,
  });
  globalThis.stopServers = async () => {
    await template.drop();
    await postgres?.remove();
    await redis?.remove();
    await queue.stop();
    rmSync(folder, { recursive: true, force: true });
  };
};

function buildInto(folder) {
  for (const name of ['package.json', 'migrations', 'node_modules'])
    symlinkSync(join(REPOSITORY, name), join(folder, name));
  execFileSync(
    process.execPath,
    [
      join(REPOSITORY, 'node_modules/@swc/cli/bin/swc.js'),
      ...['src', 'test/support', 'test/chaos', '--out-dir', folder, '--extensions', '.ts'],
      ...['--copy-files', '--ignore', '**/*.spec.ts', '--quiet'],
    ],
    { cwd: REPOSITORY, stdio: ['ignore', 'ignore', 'inherit'] },
  );
}
