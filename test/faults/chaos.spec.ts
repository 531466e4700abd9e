import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../support/eventually.js';
import { fullFaults } from '../support/fault-scale.js';
import { itWithRedis } from '../support/only-on.js';
import { childrenOf } from '../support/own-process.js';
import { parts } from '../support/parts.js';

const PROGRAM = join(parts.build, '..', 'test', 'chaos', 'main.js');
const PLANTED = join(__dirname, '..', 'chaos', 'planted-bugs');
function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** What a run of the command came to. */
interface Run {
  code: number;
  out: string;
  err: string;
}

describe('The chaos command', () => {
  const chaos = (argv: string[], environment?: Record<string, string>): Promise<Run> =>
    new Promise((resolve) => {
      execFile(process.execPath, [PROGRAM, ...argv], { env: environment }, (error, out, err) => {
        resolve({ code: error ? Number(error.code) : 0, out, err });
      });
    });

  const itFinds = (bug: string, invariant: string, seed: number, rounds: number): void => {
    itWithRedis(`control: finds a service that ${bug.replaceAll('-', ' ')}, and exits with 1`, async () => {
      const plant = join(PLANTED, `${bug}.cjs`);
      const argv = ['--seed', String(seed), '--rounds', String(rounds), '--audit-every', '1', '--require', plant];
      const { code, out } = await chaos(argv);
      expect(out).toMatch(new RegExp(`^VIOLATION in round \\d+, ${invariant}: `, 'm'));
      expect(out).toContain(`The same faults again: npm run chaos -- ${argv.join(' ')}\n`);
      const logs = /^Logs of all processes: (.+)$/m.exec(out)![1]!;
      expect(existsSync(join(logs, 'process-1-1.log'))).toBe(true);
      rmSync(dirname(logs), { recursive: true });
      expect(code).toBe(1);
    });
  };

  itWithRedis('finds every invariant of a sound service held, exits with 0 and leaves nothing behind', async () => {
    const { code, out, err } = await chaos(['--seed', '1611', '--rounds', '2']);
    expect({ code, err, violations: out.match(/^VIOLATION.*$/gm) }).toEqual({ code: 0, err: '', violations: null });
    expect(out).toMatch(/^Every message is accounted for, once +[1-9]\d* +0$/m);
    expect(out).toMatch(/^Redis equals the ledger +1 +0$/m);
    expect(out).toMatch(/^Messages +[1-9]\d*: /m);
    expect(out).toContain('Every invariant held.');
    expect(existsSync(/^Logs: (.+)$/m.exec(out)![1]!)).toBe(false);
  });

  itWithRedis('leaves no process behind where it is killed', async () => {
    const command = spawn(process.execPath, [PROGRAM, '--rounds', '100']);
    let out = '';
    command.stdout.on('data', (text) => (out += String(text)));
    const [, folder] = await eventually(() => {
      const said = /^Logs: (.+)\/logs$[^]*^ +1 .+ messages/m.exec(out);
      if (!said) throw new Error(`It has done nothing yet:\n${out}`);
      return said;
    }, 60_000);
    const started = childrenOf(command.pid!);
    // PostgreSQL, Redis, three processes of the service, and who ends them.
    expect(started.length).toBeGreaterThanOrEqual(6);
    command.kill('SIGKILL');
    await eventually(() => expect(started.filter(isThere)).toEqual([]));
    rmSync(folder!, { recursive: true });
  });

  itWithRedis('plans the same faults for the same seed, and others for another one', async () => {
    const plans = await Promise.all(
      ['7', '7', '8'].map((seed) => chaos(['--print-plan', '--seed', seed, '--rounds', '20'])),
    );
    expect(plans[0]!.out.trim().split('\n')).toHaveLength(20);
    expect(plans[1]).toEqual(plans[0]);
    expect(plans[2]!.out).not.toEqual(plans[0]!.out);
  });

  itWithRedis('says what to install where a server is missing, and exits with 2', async () => {
    const { code, err } = await chaos([], { PATH: '' });
    expect({ code, err }).toEqual({
      code: 2,
      err: 'This needs redis-server or valkey-server (Debian: apt-get install redis-server).\n',
    });
  });

  itWithRedis('exits with 2 where it is not understood', async () => {
    const { code, err } = await chaos(['--rounds', 'many']);
    expect(code).toBe(2);
    expect(err).toMatch(/^--rounds must be a whole number from 1 to 100000, not "many"\n\n.*Usage: /s);
  });

  itWithRedis('finds the methods of the service in which its bugs are planted', async () => {
    const bugs = readdirSync(PLANTED).filter((name) => name !== 'build.cjs');
    expect(bugs.length).toBeGreaterThan(0);
    for (const bug of bugs) {
      const plant = `process.argv[1] = ${JSON.stringify(join(parts.build, 'main.js'))}; require(${JSON.stringify(join(PLANTED, bug))});`;
      await expect(promisify(execFile)(process.execPath, ['-e', plant])).resolves.toMatchObject({ stderr: '' });
    }
  });

  itFinds('loses-messages', 'accounted', 250, 1);
  if (fullFaults) {
    itFinds('counts-twice', '(redis|reads)', 20, 2);
    itFinds('skips-a-position', 'positions', 20, 2);
    itFinds('rewrites-history', 'history', 20, 3);
    itFinds('tells-too-much', 'reads', 20, 2);
    itFinds('does-not-end', 'exits', 63, 1); // a seed that begins with a SIGTERM
  }
});
