import { Client } from 'pg';
import { FilledService } from './filled-service.js';
import { scaled, type Measurement } from './measurement.js';
import { tick, type Service } from './processes.js';

const SIZES = [100_000, 1_000_000];
const USERS_AND_MONTHS = { users: 1_000, months: 6 };
const ROWS_PER_PAGE = 5_000;

/** Proving the figures and making them anew, against the bare read of the ledger that both need. */
export const PROOF: Measurement[] = SIZES.flatMap((entries) => [
  measurement(`verify-${entries}`, 'verification', entries, verify, 0.5),
  measurement(`rebuild-${entries}`, 'rebuild', entries, rebuild, 0.3),
]);

function measurement(
  id: string,
  what: string,
  entries: number,
  run: (service: Service) => Promise<number>,
  atLeast: number,
): Measurement {
  let filled: FilledService;
  return {
    id,
    what: `${what} of ${entries} entries`,
    against: 'select * of their rows, page by page',
    unit: 'entries/s',
    toReach: { atLeast },
    async prepare(scale) {
      [filled] = (await FilledService.with({ entries: scaled(entries, scale), ...USERS_AND_MONTHS })) as [
        FilledService,
      ];
      await run(filled.service);
    },
    ours: async () => ({ value: await run(filled.service) }),
    limit: async () => ({ value: await readRows(filled.parts.databaseUrl) }),
  };
}

interface Verification {
  id: string;
  state: 'waiting' | 'running' | 'done' | 'failed';
  verified?: boolean;
  entries: number;
  duration_ms: number;
}

/** @returns entries a second */
async function verify(service: Service): Promise<number> {
  let run = await service.get<Verification>('/stats/verify');
  while (run.state === 'waiting' || run.state === 'running') {
    await tick();
    run = await service.get<Verification>(`/stats/verify/${run.id}`);
  }
  if (!run.verified) throw new Error(`The figures are wrong, or could not be verified: ${JSON.stringify(run)}`);
  return (run.entries * 1000) / run.duration_ms;
}

interface Rebuild {
  id: string;
  state: 'requested' | 'running' | 'done' | 'failed';
  total: number;
  requested_at: string;
  finished_at: string;
}

/** @returns entries a second */
async function rebuild(service: Service): Promise<number> {
  const response = await fetch(`${service.url}/stats/rebuild`, { method: 'POST' });
  if (!response.ok) throw new Error(`The rebuild was refused: ${await response.text()}`);
  let run = (await response.json()) as Rebuild;
  while (run.state === 'requested' || run.state === 'running') {
    await tick();
    run = await service.get<Rebuild>(`/stats/rebuild/${run.id}`);
  }
  if (run.state === 'failed') throw new Error(`The rebuild failed: ${JSON.stringify(run)}`);
  return (run.total * 1000) / (Date.parse(run.finished_at) - Date.parse(run.requested_at));
}

/** Every column of every row; nothing is done with them. @returns rows a second */
async function readRows(databaseUrl: string): Promise<number> {
  const client = new Client(databaseUrl);
  await client.connect();
  try {
    const started = performance.now();
    let read = 0;
    let last = '0';
    while (true) {
      const { rows } = await client.query<{ position: string }>(
        `select * from ledger where position > $1 order by position limit ${ROWS_PER_PAGE}`,
        [last],
      );
      read += rows.length;
      if (rows.length < ROWS_PER_PAGE) return (read * 1000) / (performance.now() - started);
      last = rows.at(-1)!.position;
    }
  } finally {
    await client.end();
  }
}
