import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** A rule with a name of its own that refuses whatever a selector matches. */
function refuse(message, ...selectors) {
  return {
    meta: { type: 'problem', schema: [], messages: { refused: message } },
    create: (context) =>
      Object.fromEntries(
        selectors.map((selector) => [selector, (node) => context.report({ node, messageId: 'refused' })]),
      ),
  };
}

/**
 * What no published rule says. Each has a name, so that a report (and test/integration/architecture.spec.ts) tells which one bit,
 * and none is lost as `no-restricted-syntax` would be, of which the last block that matches a file wins.
 */
const project = {
  rules: {
    'no-clock': refuse(
      'A rule takes the time as an argument.',
      'NewExpression[callee.name="Date"][arguments.length=0]',
      'CallExpression[callee.name="Date"]',
      'MemberExpression[object.name="Date"][property.name="now"]',
      'MemberExpression[object.name="Date"][property.value="now"]',
      // `const clock = Date` would hide the calls above.
      ':not(NewExpression, CallExpression, MemberExpression, BinaryExpression, TSTypeReference) > Identifier[name="Date"]',
      ':matches(NewExpression, CallExpression) > Identifier.arguments[name="Date"]',
      // Intl's formatters take the current time where they are given none.
      'CallExpression[callee.property.name=/^(format|formatToParts)$/][arguments.length=0]',
    ),
    'no-machine-time-zone': refuse(
      "A rule takes the time zone as an argument; this reads the machine's.",
      'NewExpression[callee.name="Date"][arguments.length>1]',
      'MemberExpression[property.name=/^(get|set)(FullYear|Month|Date|Day|Hours|Minutes|Seconds|Milliseconds)$/]',
      'MemberExpression[property.name=/^(getTimezoneOffset|toDateString|toTimeString|toLocale(Date|Time)String)$/]',
    ),
    'no-randomness': refuse(
      'A rule takes ids and random numbers as arguments.',
      'MemberExpression[object.name="Math"][property.name="random"]',
      'MemberExpression[object.name="Math"][property.value="random"]',
      'VariableDeclarator[init.name="Math"] > ObjectPattern > Property[key.name="random"]',
    ),
    'no-focused-tests': refuse(
      'A focused test silences all others.',
      'MemberExpression[object.name=/^(it|test|describe)$/][property.name="only"]',
      'MemberExpression[object.object.name=/^(it|test)$/][property.name="only"]',
      'Identifier[name=/^(fit|fdescribe)$/]',
    ),
    'no-skipped-tests': refuse(
      'Only the helper in test/support may skip a test, and it says why.',
      'MemberExpression[object.name=/^(it|test|describe)$/][property.name=/^(skip|todo)$/]',
      'MemberExpression[object.object.name=/^(it|test)$/][property.name=/^(skip|todo)$/]',
      'Identifier[name=/^(xit|xtest|xdescribe)$/]',
    ),
  },
};

/** Refuses what would read text as HTML or keep something beyond the page. */
const page = {
  rules: {
    'no-markup-of-text': refuse(
      'Text goes in as text: textContent, append, replaceChildren.',
      'MemberExpression[property.name=/^(innerHTML|outerHTML|insertAdjacentHTML|setHTMLUnsafe|createContextualFragment|srcdoc)$/]',
      'MemberExpression[object.name="document"][property.name=/^write(ln)?$/]',
      'NewExpression[callee.name="DOMParser"]',
    ),
  },
};

const globalsOf = (message, ...names) => names.map((name) => ({ name, message }));

export default defineConfig(
  globalIgnores(['dist/', 'data/', 'coverage/']),

  {
    plugins: { project },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-cond-assign': 'error',
      'no-constant-condition': ['error', { checkLoops: 'allExceptWhileTrue' }],
      'no-control-regex': 'error',
      'no-debugger': 'error',
      'no-dupe-else-if': 'error',
      'no-duplicate-case': 'error',
      'no-empty': 'error',
      'no-empty-pattern': 'error',
      'no-irregular-whitespace': 'error',
      'no-loss-of-precision': 'error',
      'no-self-assign': 'error',
      'no-self-compare': 'error',
      'no-sparse-arrays': 'error',
      'no-unsafe-finally': 'error',
      'no-unused-labels': 'error',
      'no-useless-catch': 'error',
      'no-useless-escape': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
    },
  },

  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Says nothing in a file with decorators: there Nest needs the imported class itself, which a type import erases.
      '@typescript-eslint/consistent-type-imports': [
        'error',
        { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false },
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', ignoreRestSiblings: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // An async method without await is how a class fulfils an interface of promises.
      '@typescript-eslint/require-await': 'off',
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'The environment is read in src/shared/config.ts only.' },
      ],
      'no-restricted-imports': [
        'error',
        { paths: ['process', 'node:process'].map((name) => ({ name, message: 'Use the global process.' })) },
      ],
    },
  },
  {
    files: [
      'src/shared/config.ts',
      'src/shared/dotenv.ts',
      'test/support/**/*.ts',
      'bench/parts.ts',
      'bench/processes.ts',
      'bench/transaction-recorder.ts',
    ],
    rules: { 'no-restricted-properties': 'off' },
  },

  {
    files: ['src/**/*.ts'],
    ignores: ['src/cli/**', 'src/platform/observability/banner.ts'],
    rules: { 'no-console': 'error' },
  },

  {
    files: ['src/**/*.rules.ts'],
    rules: {
      'project/no-clock': 'error',
      'project/no-machine-time-zone': 'error',
      'project/no-randomness': 'error',
      'no-restricted-globals': [
        'error',
        ...globalsOf('A rule takes the time as an argument.', 'performance', 'Temporal'),
        ...globalsOf('A rule takes ids and random numbers as arguments.', 'crypto'),
        ...globalsOf('A rule returns at once.', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask'),
        ...globalsOf(
          'A rule touches nothing outside.',
          'process',
          'console',
          'fetch',
          'WebSocket',
          'require',
          'globalThis',
        ),
      ],
      'no-restricted-imports': [
        'error',
        {
          paths: ['crypto', 'node:crypto'].map((name) => ({
            name,
            allowImportNames: ['createHash', 'hash'],
            message: 'Of crypto a rule may use hashing only.',
          })),
        },
      ],
    },
  },

  {
    files: ['src/dashboard/page/**/*.js'],
    plugins: { page, '@typescript-eslint': tseslint.plugin },
    rules: {
      'page/no-markup-of-text': 'error',
      'no-console': 'error',
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'no-new-func': 'error',
      'no-script-url': 'error',
      '@typescript-eslint/no-unused-vars': 'error',
      'no-restricted-globals': [
        'error',
        ...globalsOf(
          'What is shown and who has logged in is forgotten with the page.',
          'localStorage',
          'sessionStorage',
          'indexedDB',
        ),
      ],
    },
  },

  {
    files: ['test/**/*.ts', 'bench/**/*.ts', 'src/**/*.spec.ts'],
    rules: {
      'project/no-focused-tests': 'error',
      'project/no-skipped-tests': 'error',
      // A test looks into answers whose type is what it is about to prove.
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  { files: ['test/support/**/*.ts'], rules: { 'project/no-skipped-tests': 'off' } },
);
