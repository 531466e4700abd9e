import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { loadConfig } from '../shared/config.js';
import { command, runAsProcess } from './command.js';
import { Progress } from './progress.js';
import { ServiceClient } from './service-client.js';

const LOOK_EVERY_MS = 200;
const USAGE = `Makes the live statistics anew from the ledger.

Usage: npm run rebuild -- [--from-beginning]

  --from-beginning  undoes a clearing: the statistics then cover the whole ledger
  --help            this text

The running service does it, and goes on serving the present statistics until the new ones take their place; Ctrl-C
ends only this command. Where another rebuild is under way, that one is followed: the exit code is then 0 only if it was
asked for the same.
`;

/** What is read of the service's rebuild resource. */
interface RebuildSeen {
  id: string;
  state: 'requested' | 'running' | 'done' | 'failed';
  from_beginning: boolean;
  started_at: string | null;
  finished_at: string | null;
  done: number | null;
  total: number | null;
  position: number | null;
  error: string | null;
}

/** What was asked for did not come about. */
export class NotRebuilt extends Error {
  override readonly name = 'NotRebuilt';
}

/** `npm run rebuild`: the live statistics made anew by the running service. */
export const run = command(USAGE, async (argv, io) => {
  const { values } = parseArgs({ args: argv, options: { 'from-beginning': { type: 'boolean', default: false } } });
  const fromBeginning = values['from-beginning'];
  const service = new ServiceClient(loadConfig(io.environment), 'statistics:manage');
  const { rebuild, isOurs } = await begin(service, fromBeginning);
  if (!isOurs) io.err.write('Another rebuild is under way already; this follows it.\n');
  const ended = await follow(service, rebuild, new Progress(io.err, 'read'));
  if (ended.state === 'failed') throw new NotRebuilt(`The rebuild failed: ${ended.error}`);
  if (ended.from_beginning !== fromBeginning) {
    const what = ended.from_beginning ? 'undid a clearing' : 'did not undo a clearing';
    throw new NotRebuilt(`The rebuild that was under way ${what}, unlike what you asked for. Run this again.`);
  }
  const seconds = (Date.parse(ended.finished_at!) - Date.parse(ended.started_at!)) / 1_000;
  io.out.write(
    `Entries    ${(ended.done ?? 0).toLocaleString('en')}\n` +
      `Position   ${(ended.position ?? 0).toLocaleString('en')}\n` +
      `Time       ${seconds.toFixed(1)} s\n` +
      `See ${service.url}/stats/global\n`,
  );
  return 0;
});

/** Asks for a rebuild, or finds the one that is under way. */
async function begin(
  service: ServiceClient,
  fromBeginning: boolean,
): Promise<{ rebuild: RebuildSeen; isOurs: boolean }> {
  const asked = await service.call('POST', '/stats/rebuild', { from_beginning: fromBeginning });
  if (asked.status === 202) return { rebuild: asked.body as RebuildSeen, isOurs: true };
  if (asked.status !== 409) throw service.refusal(asked);
  const latest = await service.call('GET', '/stats/rebuild?limit=1');
  if (latest.status !== 200) throw service.refusal(latest);
  return { rebuild: (latest.body as { items: [RebuildSeen] }).items[0], isOurs: false };
}

/** Shows how far a rebuild is until it has ended. */
async function follow(service: ServiceClient, rebuild: RebuildSeen, progress: Progress): Promise<RebuildSeen> {
  const began = performance.now();
  try {
    while (true) {
      const { state, done, total } = rebuild;
      const share = state === 'done' ? 1 : total ? (done ?? 0) / total : 0;
      progress.update(share, done ?? 0, (performance.now() - began) / 1_000);
      if (state === 'done' || state === 'failed') return rebuild;
      await pause(LOOK_EVERY_MS);
      const answer = await service.call('GET', `/stats/rebuild/${rebuild.id}`);
      if (answer.status !== 200) throw service.refusal(answer);
      rebuild = answer.body as RebuildSeen;
    }
  } finally {
    progress.stop();
  }
}

if (require.main === module) void runAsProcess(run);
