import { Logger } from '@nestjs/common';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuardedServer, type ServerCommand, ServerNotStarted } from '../../src/platform/embedded/guarded-server.js';
import { eventually } from '../support/eventually.js';
import { signal } from '../support/own-process.js';

let folder: string;

beforeEach(() => {
  Logger.overrideLogger(false);
  folder = mkdtempSync(join(tmpdir(), 'guarded-server-'));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A program that runs as long as a file is there, and exits at once without it. */
function aServer(attempts: { count: number }): ServerCommand {
  const [mayRun, pid] = [join(folder, 'may-run'), join(folder, 'pid')];
  writeFileSync(mayRun, '');
  return {
    program: '/bin/sh',
    args: [
      '-c',
      `test -e '${mayRun}' || { echo 'FATAL: it may not run'; exit 1; }; echo $$ > '${pid}'; exec sleep 100`,
    ],
    logPath: join(folder, 'log'),
    stopSignal: 'TERM',
    probe: async () => {
      attempts.count++;
      if (!existsSync(mayRun) || !existsSync(pid)) throw new Error('No answer');
    },
  };
}

describe('A server that exits', () => {
  it('during its first start fails it with its reason', async () => {
    const command = aServer({ count: 0 });
    rmSync(join(folder, 'may-run'));
    const starting = GuardedServer.start(command);
    await expect(starting).rejects.toThrow(ServerNotStarted);
    await expect(starting).rejects.toThrow('/bin/sh does not start: FATAL: it may not run');
  });

  it('and can not be started again keeps nobody from stopping it', async () => {
    const attempts = { count: 0 };
    const server = await GuardedServer.start(aServer(attempts));
    const before = attempts.count;
    rmSync(join(folder, 'may-run'));
    signal([Number(readFileSync(join(folder, 'pid'), 'utf8'))], 'SIGKILL');
    await eventually(() => expect(attempts.count).toBeGreaterThan(before));
    await server.stop();
  });
});
