import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { command, wholeArgument, type CommandIo } from '../../src/cli/command.js';
import { Progress } from '../../src/cli/progress.js';
import { canStartRedis } from '../support/redis-server.js';
import { ChaosRun } from './chaos-run.js';
import { ChaosWorld } from './chaos-world.js';
import { faultText, PROCESSES } from './faults.js';
import { Findings } from './invariants.js';
import { plan, roundText, type Plan, type Round } from './plan.js';

/** The service, built with this command. */
const SERVICE = join(__dirname, '..', '..', 'src');
const MAX_ROUNDS = 100_000;
const USAGE = `Breaks real processes on a real PostgreSQL, a real Redis and an SQS emulator, all started for it, and looks whether
anything is lost, counted twice or told wrong.

Usage: npm run chaos -- [options]

  --seed NUMBER         decides traffic and faults (default 1)
  --rounds NUMBER       how many rounds of traffic, with one or two faults each (default 50)
  --audit-every NUMBER  looks at everything after so many rounds, and at the end (default 10)
  --print-plan          prints what would be done, and does nothing
  --require FILE        a script that every process of the service loads first, say to plant a bug and see it found
  --help                this text

The same seed makes the same messages and the same faults, each with its parameters and its moment (a number of messages
acknowledged). When exactly that moment comes, and what a process is at just then, the machine decides; so the same seed
need not find the same bug twice.

Exit code 0 where every invariant held, 1 where one did not (the logs of all processes are then kept), 2 for wrong usage
or a missing server. It needs redis-server or valkey-server on this machine; npm brings PostgreSQL.
`;

interface Options {
  seed: number;
  rounds: number;
  auditEvery: number;
  preload: string | null;
}

/** `npm run chaos`: random faults against real processes on real parts, and a report of what held. */
export const run = command(USAGE, async (argv, io) => {
  const { values } = parseArgs({
    args: argv,
    options: {
      seed: { type: 'string', default: '1' },
      rounds: { type: 'string', default: '50' },
      'audit-every': { type: 'string', default: '10' },
      'print-plan': { type: 'boolean', default: false },
      require: { type: 'string' },
    },
  });
  const options: Options = {
    seed: wholeArgument('--seed', values.seed, 0, 2 ** 32 - 1),
    rounds: wholeArgument('--rounds', values.rounds, 1, MAX_ROUNDS),
    auditEvery: wholeArgument('--audit-every', values['audit-every'], 1, MAX_ROUNDS),
    preload: values.require ?? null,
  };
  const planned = plan(options.seed, options.rounds);
  if (values['print-plan']) {
    for (const round of planned.rounds) io.out.write(`${roundText(round)}\n`);
    return 0;
  }
  if (!canStartRedis()) {
    io.err.write('This needs redis-server or valkey-server (Debian: apt-get install redis-server).\n');
    return 2;
  }
  return chaos(planned, options, io);
});

/** Carries a plan out in a world of its own, and tells of it. @returns the exit code */
async function chaos(planned: Plan, options: Options, io: CommandIo): Promise<number> {
  const began = performance.now();
  const findings = new Findings();
  const making = ChaosWorld.make(SERVICE, options.preload, findings);
  const interruption = new Interruption(making, io);
  const world = await making;
  let isWell = false;
  try {
    io.out.write(await headerOf(options, world));
    const run = new ChaosRun(world, planned, findings);
    await run.begin();
    const rounds = await allRounds(run, planned, options, findings, io);
    await run.end();
    isWell = findings.violations.length === 0;
    io.out.write(`\n${findings.report()}\n\n${totalsOf(run, rounds, performance.now() - began)}\n`);
  } catch (error) {
    await interruption.endsFirst();
    io.out.write(`\nThis could not go on. What was found so far:\n\n${findings.report()}\n\n`);
    throw error;
  } finally {
    interruption.off();
    await world.destroy({ keepLogs: !isWell });
    if (!isWell) {
      io.out.write(`Logs of all processes: ${world.logFolder}\nThe same faults again: ${replayOf(options)}\n`);
    }
  }
  if (isWell) io.out.write('Every invariant held.\n');
  return isWell ? 0 : 1;
}

/** One round after the other, up to the first in which something is found. @returns how many */
async function allRounds(
  run: ChaosRun,
  { rounds }: Plan,
  { auditEvery }: Options,
  findings: Findings,
  io: CommandIo,
): Promise<number> {
  const progress = io.err.isTTY ? new Progress(io.err, 'rounds') : null;
  const began = performance.now();
  let done = 0;
  try {
    for (const round of rounds) {
      const roundBegan = performance.now();
      await run.round(round);
      const last = ++done === rounds.length;
      const looks = last || done % auditEvery === 0 || findings.violations.length > 0;
      if (looks) await run.look(last);
      const line = lineOf(round, performance.now() - roundBegan, looks);
      progress?.note(line);
      progress?.update(done / rounds.length, done, (performance.now() - began) / 1_000);
      if (!progress) io.out.write(`${line}\n`);
      if (findings.violations.length > 0) break;
    }
  } finally {
    progress?.stop();
  }
  return done;
}

async function headerOf(options: Options, world: ChaosWorld): Promise<string> {
  const { seed, rounds } = options;
  const versions = [...(await world.versions()), `Node ${process.versions.node}`].join(', ');
  return `Chaos with seed ${seed}, ${rounds} rounds: ${PROCESSES} processes on ${versions}\nLogs: ${world.logFolder}\n\n`;
}

function lineOf({ number, messages, faults }: Round, ms: number, audited: boolean): string {
  const time = `${(ms / 1_000).toFixed(1)} s`.padStart(7);
  const told = faults.map(faultText).join('; ');
  return `${String(number).padStart(4)} ${time}  ${String(messages.length).padStart(3)} messages  ${told}${audited ? '  [audited]' : ''}`;
}

function totalsOf({ totals, reader }: ChaosRun, rounds: number, ms: number): string {
  const made = [...totals.faults].filter(([, times]) => times > 0);
  const faults = made.reduce((sum, [, times]) => sum + times, 0);
  const answers = [...reader.answers].sort(([a], [b]) => b - a);
  return [
    `Rounds    ${rounds} in ${(ms / 1_000).toFixed(0)} s`,
    `Messages  ${totals.messages}: ${totals.contents} contents, ${totals.messages - totals.contents} repetitions; ${totals.retries} retries`,
    `Faults    ${faults}: ${made.map(([kind, times]) => `${kind} ${times}`).join(', ')}`,
    `Reads     ${answers.map(([status, times]) => `${times} ${status === 0 ? 'without an answer' : `with ${status}`}`).join(', ')}`,
  ].join('\n');
}

function replayOf({ seed, rounds, auditEvery, preload }: Options): string {
  const plant = preload ? ` --require ${preload}` : '';
  return `npm run chaos -- --seed ${seed} --rounds ${rounds} --audit-every ${auditEvery}${plant}`;
}

const SIGNALS: NodeJS.Signals[] = ['SIGINT', 'SIGTERM'];

/** Has Ctrl-C end everything and leave nothing behind; a second one does not wait for that. */
class Interruption {
  private happened = false;
  private readonly listener = (): void => void this.interrupt();

  constructor(
    private readonly world: Promise<ChaosWorld>,
    private readonly io: CommandIo,
  ) {
    for (const signal of SIGNALS) process.on(signal, this.listener);
  }

  off(): void {
    for (const signal of SIGNALS) process.off(signal, this.listener);
  }

  /** Where it has happened, this process ends with it and with nothing that comes of it. */
  async endsFirst(): Promise<void> {
    if (this.happened) await new Promise(() => undefined);
  }

  private async interrupt(): Promise<void> {
    if (this.happened) process.exit(130);
    this.happened = true;
    this.io.err.write('\nInterrupted; taking everything away again …\n');
    await (await this.world).destroy({ keepLogs: false });
    process.exit(130);
  }
}

/** Ends by itself where all is taken away; but a stalled part's connection must not keep a command from ending. */
if (require.main === module) {
  void run(process.argv.slice(2), { out: process.stdout, err: process.stderr }).then((code) => process.exit(code));
}
