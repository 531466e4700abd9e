import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** A path below the project, and what stands in that file. */
type Files = Record<string, string>;
/** A rule, the file in which it is broken, and how. */
type Violation = [rule: string, file: string, code: string];
/** The rules that were broken, by file. */
type Report = Map<string, string[]>;

const PROJECT = join(__dirname, '..', '..');
const SETTINGS = ['package.json', 'tsconfig.json', 'eslint.config.mjs', '.dependency-cruiser.cjs'];

/** A small tree with the project's layout in which every import is allowed. */
const ALLOWED_IMPORTS: Files = {
  'src/domain/money.ts': `import 'decimal.js'; import 'node:crypto'; import '../shared/errors.js';`,
  'src/shared/errors.ts': ``,
  'src/shared/config.ts': `import 'node:net'; import 'class-validator'; export interface Config { port: number }`,
  'src/shared/dotenv.ts': `import 'node:path';`,
  'src/platform/redis/redis.ts': `import '../../domain/money.js'; import 'ioredis'; import 'node:fs';`,
  'src/platform/database/database-copy.ts': `import 'node:stream/promises';`,
  'src/ledger/ledger.ts': `import '../platform/redis/redis.js'; export interface Entry { position: number }`,
  'src/orders/order-event.rules.ts': `import '../domain/money.js'; import 'node:crypto'; import 'decimal.js';
    import type { Config } from '../shared/config.js'; import type { Entry } from '../ledger/ledger.js';
    export type Judging = [Config, Entry];`,
  'src/orders/order-event.rules.spec.ts': `import './order-event.rules.js'; import 'fast-check'; import '../../test/support/builders.js';`,
  'src/orders/orders.ts': `import './order-event.rules.js'; import '../ledger/ledger.js'; import '@nestjs/common';`,
  'src/stats/stats.ts': `import '../ledger/ledger.js';`,
  'src/stats/totals.ts': `import './stats.js';`,
  'src/data-quality/data-quality.ts': `import '../ledger/ledger.js';`,
  'src/dashboard/page/main.js': `import './elements.js';`,
  'src/dashboard/page/elements.js': ``,
  'src/producer/sample-orders.rules.ts': ``,
  'src/producer/producer.ts': `import type { Request } from 'express'; export type { Request };`,
  'src/cli/send-order.ts': `import '../producer/sample-orders.rules.js'; import '../platform/redis/redis.js'; import './progress.js';`,
  'src/cli/progress.ts': `import 'cli-progress';`,
  'src/cli/ledger-copy.ts': `import '../platform/database/database-copy.js';`,
  'test/support/builders.ts': `import '../../src/domain/money.js';`,
};

const FORBIDDEN_IMPORTS: Violation[] = [
  ['shared-knows-nobody', 'src/shared/a.ts', `import '../platform/redis/redis.js';`],
  [
    'shared-knows-nobody',
    'src/shared/b.ts',
    `import type { Entry } from '../ledger/ledger.js'; export type { Entry };`,
  ],
  ['shared-takes-no-package', 'src/shared/c.ts', `import '@nestjs/common';`],
  ['shared-takes-no-package', 'src/shared/d.ts', `import 'pg';`],
  ['shared-does-no-io', 'src/shared/e.ts', `import 'node:fs/promises';`],
  ['shared-does-no-io', 'src/shared/f.ts', `import 'net';`],
  ['shared-does-no-io', 'src/shared/g.ts', `import 'node:sqlite';`],
  ['config-does-no-io', 'src/shared/config.ts', `${ALLOWED_IMPORTS['src/shared/config.ts']} import 'node:fs';`],
  ['shared-knows-nobody', 'src/shared/h.ts', `import '../domain/money.js';`],
  ['shared-takes-no-package', 'src/shared/i.ts', `import 'decimal.js';`],
  ['domain-knows-shared-only', 'src/domain/a.ts', `import '../platform/redis/redis.js';`],
  ['domain-knows-shared-only', 'src/domain/b.ts', `import '../orders/order-event.rules.js';`],
  ['domain-takes-no-package', 'src/domain/c.ts', `import 'class-validator';`],
  ['domain-does-no-io', 'src/domain/d.ts', `import 'node:fs';`],
  ['platform-knows-no-feature', 'src/platform/a.ts', `import '../ledger/ledger.js';`],
  ['platform-knows-no-feature', 'src/platform/b.ts', `import '../cli/progress.js';`],
  ['features-are-islands', 'src/stats/a.ts', `import '../orders/orders.js';`],
  ['features-are-islands', 'src/ledger/b.ts', `import '../stats/stats.js';`],
  ['features-are-islands', 'src/fulfilment/c.ts', `import '../producer/sample-orders.rules.js';`],
  ['features-are-islands', 'src/a-new-feature/d.ts', `export const orders = () => import('../orders/orders.js');`],
  ['ledger-has-three-users', 'src/fulfilment/a.ts', `import '../ledger/ledger.js';`],
  [
    'ledger-has-three-users',
    'src/producer/b.ts',
    `import type { Entry } from '../ledger/ledger.js'; export type { Entry };`,
  ],
  ['cli-is-thin', 'src/cli/a.ts', `import '../producer/producer.js';`],
  ['cli-is-thin', 'src/cli/b.ts', `import '../ledger/ledger.js';`],
  ['cli-is-thin', 'src/cli/c.ts', `import '../orders/order-event.rules.js';`],
  ['cli-without-nest', 'src/cli/d.ts', `import '@nestjs/core';`],
  ['rules-use-rules', 'src/orders/a.rules.ts', `import '../platform/redis/redis.js';`],
  ['rules-use-rules', 'src/orders/b.rules.ts', `import '../ledger/ledger.js';`],
  ['rules-read-no-environment', 'src/orders/c.rules.ts', `import '../shared/config.js';`],
  ['rules-take-no-package', 'src/orders/d.rules.ts', `import '@nestjs/common';`],
  ['rules-take-no-package', 'src/orders/e.rules.ts', `import { Redis } from 'ioredis'; export { Redis };`],
  ['rules-take-no-package', 'src/orders/f.rules.ts', `import '@aws-sdk/client-sqs';`],
  ...['fs', 'net', 'http', 'child_process', 'os', 'process', 'timers/promises'].map((module): Violation => [
    'rules-do-no-io',
    `src/orders/io-${module.replace('/', '-')}.rules.ts`,
    `import 'node:${module}';`,
  ]),
  ['src-without-tests', 'src/platform/c.ts', `import '../../test/support/builders.js';`],
  ['src-without-tests', 'src/orders/g.ts', `import './order-event.rules.spec.js';`],
  ['src-without-dev-dependencies', 'src/platform/d.ts', `import 'fast-check';`],
  ['no-undeclared-package', 'src/platform/e.ts', `import 'accepts';`], // Express brings it
  ['no-unresolvable', 'src/platform/f.ts', `import './nowhere.js';`],
  ['no-circles', 'src/stats/stats.ts', `${ALLOWED_IMPORTS['src/stats/stats.ts']} import './totals.js';`],
  ['no-orphans', 'src/platform/orphan.ts', ``],
];

const ALLOWED_CODE: Files = {
  'src/shared/config.ts': `export const port = process.env.PORT;`,
  'src/shared/dotenv.ts': `export const port = process.env.PORT;`,
  'test/support/app.ts': `export const url = process.env.REDIS_URL; export const test = url ? it : it.skip;`,
  'src/cli/send-order.ts': `console.log('sent');`,
  'src/platform/observability/banner.ts': `console.log('ready');`,
  'src/orders/handler.ts': `export const receivedAt = (): [number, string] => [Date.now(), crypto.randomUUID()];`,
  'src/orders/a.rules.ts': `import { createHash } from 'node:crypto';
    export const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
    export const month = (ms: number): string => new Date(ms).toISOString().slice(0, 7);
    export const start = (year: number): number => Date.UTC(year, 0);
    export const isDate = (value: unknown): value is Date => value instanceof Date;
    export const day = (clock: Intl.DateTimeFormat, at: Date): string => clock.format(at);`,
  // Nest must find the class itself in the constructor's metadata, so an import that looks type-only is right here.
  'src/orders/consumer.ts': `import { Injectable } from '@nestjs/common'; import { Ledger } from './ledger.js';
    @Injectable() export class Consumer { constructor(readonly ledger: Ledger) {} }`,
  'src/orders/ledger.ts': `export class Ledger { readonly entries: string[] = []; }`,
  'src/dashboard/page/main.js': `document.body.append('a text'); fetch('/health');`,
};

const inRules = (rule: string, ...snippets: string[]): Violation[] =>
  snippets.map((code, i) => [rule, `src/orders/${rule.replace('/', '-')}-${i}.rules.ts`, code]);
const inPlatform = (rule: string, ...snippets: string[]): Violation[] =>
  snippets.map((code, i) => [rule, `src/platform/${rule.replace('/', '-')}-${i}.ts`, code]);
const inSpecs = (rule: string, ...snippets: string[]): Violation[] =>
  snippets.map((code, i) => [rule, `test/${rule.replace('/', '-')}-${i}.spec.ts`, code]);

const onPage = (rule: string, ...snippets: string[]): Violation[] =>
  snippets.map((code, i) => [rule, `src/dashboard/page/${rule.replace(/\W/g, '-')}-${i}.js`, code]);

const FORBIDDEN_CODE: Violation[] = [
  ...onPage(
    'page/no-markup-of-text',
    `document.body.innerHTML = 'a text';`,
    `document.body.insertAdjacentHTML('beforeend', 'a text');`,
    `document.write('a text');`,
    `new DOMParser().parseFromString('a text', 'text/html');`,
  ),
  ...onPage('no-restricted-globals', `localStorage.setItem('token', 'secret');`),
  ...onPage('no-eval', `eval('1');`),
  ...onPage('@typescript-eslint/no-unused-vars', `const unused = 1;`),
  ...inRules(
    'project/no-clock',
    `export const now = (): number => Date.now();`,
    `export const now = (): number => Date['now']();`,
    `export const now = (): Date => new Date();`,
    `export const now = (): string => Date();`,
    `const { now } = Date; export { now };`,
    `const Clock = Date; export const now = (): Date => new Clock();`,
    `export const now = (read: (clock: DateConstructor) => number): number => read(Date);`,
    `export const today = (): string => new Intl.DateTimeFormat('en').format();`,
  ),
  ...inRules(
    'project/no-machine-time-zone',
    `export const hour = (at: Date): number => at.getHours();`,
    `export const start = (year: number): Date => new Date(year, 0);`,
  ),
  ...inRules(
    'project/no-randomness',
    `export const chance = (): number => Math.random();`,
    `export const chance = (): number => Math['random']();`,
    `const { random } = Math; export { random };`,
  ),
  ...inRules(
    'no-restricted-globals',
    `export const id = (): string => crypto.randomUUID();`,
    `export const now = (): number => performance.now();`,
    `export const now = (): number => globalThis.Date.now();`,
    `export const pid = (): number => process.pid;`,
    `export const later = (work: () => void): unknown => setTimeout(work, 1);`,
    `export const ask = (url: string): unknown => fetch(url);`,
  ),
  ...inRules(
    'no-restricted-imports',
    `import { randomUUID } from 'node:crypto'; export const id = (): string => randomUUID();`,
    `import * as all from 'crypto'; export const id = (): string => all.randomUUID();`,
  ),
  ...inPlatform(
    'no-restricted-properties',
    `export const port = process.env.PORT;`,
    `export const port = process['env'].PORT;`,
    `const { env } = process; export const port = env.PORT;`,
  ),
  ...inPlatform('no-restricted-imports', `import { env } from 'node:process'; export const port = env.PORT;`),
  ...inPlatform('no-console', `console.log('here');`),
  ...inPlatform('no-empty', `export function quiet(work: () => void): void { try { work(); } catch {} }`),
  ...inPlatform('@typescript-eslint/no-explicit-any', `export type Loose = any;`),
  ...inPlatform('@typescript-eslint/no-floating-promises', `Promise.reject(new Error('unseen'));`),
  ...inPlatform(
    '@typescript-eslint/no-misused-promises',
    `setTimeout(async () => { await Promise.reject(new Error('unseen')); }, 1);`,
  ),
  ...inPlatform(
    '@typescript-eslint/consistent-type-imports',
    `import { Socket } from 'node:net'; export type Connection = Socket;`,
  ),
  ...inSpecs(
    'project/no-focused-tests',
    `it.only('is alone', () => undefined);`,
    `it.only.each([1])('is alone %i', () => undefined);`,
    `describe.only('alone', () => undefined);`,
    `fit('is alone', () => undefined);`,
  ),
  ...inSpecs(
    'project/no-skipped-tests',
    `it.skip('is asleep', () => undefined);`,
    `it.skip.each([1])('is asleep %i', () => undefined);`,
    `describe.skip('asleep', () => undefined);`,
    `it.todo('is not there');`,
    `xit('is asleep', () => undefined);`,
  ),
];

describe('The import rules', () => {
  const { forbidden } = createRequire(__filename)('../../.dependency-cruiser.cjs') as { forbidden: { name: string }[] };
  let report: Report;

  beforeAll(async () => {
    const files = { ...ALLOWED_IMPORTS, ...filesOf(FORBIDDEN_IMPORTS) };
    report = await inTree({ ...files, 'src/main.ts': importing(files) }, cruise);
  });

  it.each(FORBIDDEN_IMPORTS)('%s bites in %s: %s', (rule, file) => {
    expect(report.get(file)).toEqual([rule]);
  });

  it('let through what is allowed', () => {
    const inCircle = ['src/stats/stats.ts', 'src/stats/totals.ts'];
    const broken = [...FORBIDDEN_IMPORTS.map(([, file]) => file), ...inCircle];
    expect([...report.keys()].filter((file) => !broken.includes(file))).toEqual([]);
  });

  it('are each tried here', () => {
    const tried = new Set(FORBIDDEN_IMPORTS.map(([rule]) => rule));
    expect([...tried].sort()).toEqual(forbidden.map(({ name }) => name).sort());
  });
});

describe('The code rules', () => {
  let report: Report;

  beforeAll(async () => {
    report = await inTree({ ...ALLOWED_CODE, ...filesOf(FORBIDDEN_CODE) }, lint);
  });

  it.each(FORBIDDEN_CODE)('%s bites in %s: %s', (rule, file) => {
    expect(new Set(report.get(file))).toEqual(new Set([rule]));
  });

  it('let through what is allowed', () => {
    const broken = FORBIDDEN_CODE.map(([, file]) => file);
    expect([...report.keys()].filter((file) => !broken.includes(file))).toEqual([]);
  });
});

function filesOf(violations: Violation[]): Files {
  return Object.fromEntries(violations.map(([, file, code]) => [file, code]));
}

/** A main.ts from which everything is reached that ought to be. */
function importing(files: Files): string {
  return Object.keys(files)
    .filter((file) => file.startsWith('src/') && !/\/cli\/|\.spec\.|\/orphan\./.test(file))
    .map((file) => `import './${file.slice('src/'.length).replace(/\.ts$/, '.js')}';`)
    .join('\n');
}

/** Makes a tree of these files with the project's settings and packages, and removes it afterwards. */
async function inTree(files: Files, inspect: (folder: string) => Promise<Report>): Promise<Report> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'orders-architecture-')));
  try {
    for (const name of SETTINGS) cpSync(join(PROJECT, name), join(folder, name));
    symlinkSync(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
    for (const [file, code] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), `${code}\n`);
    }
    return await inspect(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function cruise(folder: string): Promise<Report> {
  const program = join(PROJECT, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs');
  const { summary } = (await answerOf(folder, [program, 'src', '--output-type', 'json'])) as {
    summary: { violations: { from: string; rule: { name: string } }[] };
  };
  return grouped(summary.violations.map(({ from, rule }) => [from, rule.name]));
}

async function lint(folder: string): Promise<Report> {
  const program = join(PROJECT, 'node_modules/eslint/bin/eslint.js');
  const files = (await answerOf(folder, [program, '--format', 'json', '.'])) as {
    filePath: string;
    messages: { ruleId: string | null; message: string }[];
  }[];
  return grouped(
    files.flatMap(({ filePath, messages }) =>
      messages.map(({ ruleId, message }) => [filePath.slice(folder.length + 1), ruleId ?? message] as const),
    ),
  );
}

/** What a program prints as JSON. Its exit code does not matter: with violations it is not 0. */
function answerOf(folder: string, program: string[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, program, { cwd: folder, maxBuffer: 64 * 1024 * 1024 }, (_failure, stdout, stderr) => {
      try {
        resolve(JSON.parse(stdout));
      } catch {
        reject(new Error(`${program[0]} in ${folder} printed no JSON: ${stderr || stdout}`));
      }
    });
  });
}

function grouped(found: (readonly [file: string, rule: string])[]): Report {
  const report: Report = new Map();
  for (const [file, rule] of found) report.set(file, [...(report.get(file) ?? []), rule]);
  return report;
}
