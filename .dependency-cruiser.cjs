/**
 * Who may import whom: app.module → features → platform → domain → shared. Every folder of src that is not shared, domain,
 * platform or cli is a feature, so a new one is held to this from its first file. test/integration/architecture.spec.ts breaks each
 * rule; what an import can't show (a clock, randomness) is refused by eslint.config.mjs.
 */

const FEATURE = '^src/(?!shared/|domain/|platform/|cli/)([^/]+)/';
const RULES = '\\.rules\\.ts$';
const PRODUCTION = { path: '^src/', pathNot: '\\.spec\\.ts$' };

const PACKAGE = '(^|/)node_modules/';
const npm = (...names) => `${PACKAGE}(${names.join('|')})/`;
const core = (...names) => `^(node:)?(${names.join('|')})$`;

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'shared-knows-nobody',
      comment: 'shared/ is what everything else stands on; it imports nothing of ours but itself.',
      severity: 'error',
      from: { path: '^src/shared/' },
      to: { path: '^src/', pathNot: '^src/shared/' },
    },
    {
      name: 'shared-takes-no-package',
      comment: 'shared/ knows no Nest and no driver; it takes validation only.',
      severity: 'error',
      from: { path: '^src/shared/', pathNot: '\\.spec\\.ts$' },
      to: { path: PACKAGE, pathNot: npm('class-transformer', 'class-validator') },
    },
    {
      name: 'shared-does-no-io',
      comment: 'shared/ opens no file and no socket. config.ts asks net what an IP address looks like.',
      severity: 'error',
      from: { path: '^src/shared/', pathNot: ['\\.spec\\.ts$', '^src/shared/config\\.ts$'] },
      to: { dependencyTypes: ['core'], pathNot: core('crypto', 'path', 'url', 'util') },
    },
    {
      name: 'config-does-no-io',
      comment: 'config.ts takes the environment as an argument and opens nothing.',
      severity: 'error',
      from: { path: '^src/shared/config\\.ts$' },
      to: { dependencyTypes: ['core'], pathNot: core('net', 'path') },
    },
    {
      name: 'domain-knows-shared-only',
      comment: 'domain/ is what an order event means; it needs nothing of the outside world.',
      severity: 'error',
      from: { path: '^src/domain/' },
      to: { path: '^src/', pathNot: '^src/(domain|shared)/' },
    },
    {
      name: 'domain-takes-no-package',
      comment: 'domain/ takes exact arithmetic only.',
      severity: 'error',
      from: { path: '^src/domain/', pathNot: '\\.spec\\.ts$' },
      to: { path: PACKAGE, pathNot: npm('decimal\\.js') },
    },
    {
      name: 'domain-does-no-io',
      comment: 'domain/ takes values and returns values. Of Node it takes hashes.',
      severity: 'error',
      from: { path: '^src/domain/', pathNot: '\\.spec\\.ts$' },
      to: { dependencyTypes: ['core'], pathNot: core('crypto') },
    },
    {
      name: 'platform-knows-no-feature',
      comment: 'platform/ is the outside world behind small modules; it does not know what it is used for.',
      severity: 'error',
      from: { path: '^src/platform/' },
      to: { path: '^src/', pathNot: '^src/(platform|domain|shared)/' },
    },
    {
      name: 'features-are-islands',
      comment: 'Features meet on the queue and in the ledger, not in each other’s files.',
      severity: 'error',
      from: { path: FEATURE },
      to: { path: '^src/', pathNot: ['^src/(platform|domain|shared|ledger)/', '^src/$1/'] },
    },
    {
      name: 'ledger-has-three-users',
      comment: 'Only orders, stats and data-quality use the ledger.',
      severity: 'error',
      from: { path: FEATURE, pathNot: '^src/(ledger|orders|stats|data-quality)/' },
      to: { path: '^src/ledger/' },
    },
    {
      name: 'cli-is-thin',
      comment: 'Commands talk to the running app; of the features they may use the producer’s pure rules.',
      severity: 'error',
      from: { path: '^src/cli/' },
      to: { path: '^src/', pathNot: ['^src/(cli|platform|domain|shared)/', '^src/producer/.*\\.rules\\.ts$'] },
    },
    {
      name: 'cli-without-nest',
      comment: 'A command starts at once.',
      severity: 'error',
      from: { path: '^src/cli/' },
      to: { path: npm('@nestjs/[^/]+', '@ssut/nestjs-sqs', 'nestjs-pino') },
    },
    {
      name: 'rules-use-rules',
      comment:
        'Rules take values and return values: of ours they import domain/, shared/ and other rules. A type does nothing.',
      severity: 'error',
      from: { path: RULES },
      to: { path: '^src/', pathNot: ['^src/(domain|shared)/', RULES], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'rules-read-no-environment',
      comment: 'Settings are arguments of a rule. Their type may be imported.',
      severity: 'error',
      from: { path: RULES },
      to: { path: '^src/shared/(config|dotenv)\\.ts$', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'rules-take-no-package',
      comment: 'No Nest, no driver, no SDK in a rule; exact arithmetic is welcome.',
      severity: 'error',
      from: { path: RULES },
      to: { path: PACKAGE, pathNot: npm('decimal\\.js') },
    },
    {
      name: 'rules-do-no-io',
      comment: 'A rule touches nothing outside. Of crypto it takes createHash (eslint sees to that).',
      severity: 'error',
      from: { path: RULES },
      to: { dependencyTypes: ['core'], pathNot: core('crypto') },
    },
    {
      name: 'src-without-tests',
      comment: 'What runs in production imports no test.',
      severity: 'error',
      from: PRODUCTION,
      to: { path: ['^(test|bench)/', '\\.spec\\.ts$'] },
    },
    {
      name: 'src-without-dev-dependencies',
      comment: 'A devDependency is not there in production. Its types are gone by then, and may be used.',
      severity: 'error',
      from: PRODUCTION,
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-undeclared-package',
      comment: 'A package that only another one brings along may be gone with its next version.',
      severity: 'error',
      from: PRODUCTION,
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-unresolvable',
      comment: 'What can’t be found can’t be judged by the other rules either.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-circles',
      comment: 'Two files that need each other are one file, or three.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphans',
      comment: 'Every file is reached from main.ts or from a command, but for those that a browser loads.',
      severity: 'error',
      from: { path: '^src/(main\\.ts$|cli/)' },
      to: {
        path: '^src/',
        pathNot: ['^src/(main\\.ts$|cli/)', '\\.spec\\.ts$', '\\.d\\.ts$', '^src/dashboard/page/'],
        reachable: false,
      },
    },
  ],
  options: {
    // As Node resolves a CommonJS require.
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['node', 'require', 'default', 'import'],
      mainFields: ['main'],
      extensions: ['.ts', '.js', '.cjs', '.mjs', '.json'],
    },
    doNotFollow: { path: 'node_modules' },
    // Imports of types count too: they tie files together just as much.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
  },
};
