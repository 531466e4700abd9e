import { readdirSync } from 'node:fs';
import { Client } from 'pg';
import { cpuTimesOf } from './processes.js';

/**
 * CPU time that the PostgreSQL server has used since its start, in seconds: all its processes, whatever their database.
 * 0 where the server is elsewhere, or where the system does not tell.
 */
export async function postgresCpuSeconds(databaseUrl: string): Promise<number> {
  const client = new Client(databaseUrl);
  await client.connect();
  let postmaster: number | undefined;
  try {
    const { rows } = await client.query<{ pid: number }>(
      `select pg_backend_pid() as pid where inet_server_addr() is null or inet_server_addr() = inet_client_addr()`,
    );
    postmaster = rows[0] && cpuTimesOf(rows[0].pid)?.parent;
  } finally {
    await client.end();
  }
  if (postmaster === undefined) return 0;
  const times = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => [Number(pid), cpuTimesOf(Number(pid))] as const);
  // Connections come and go: those that ended are counted with the process that all of them are children of.
  return times.reduce((sum, [pid, time]) => {
    if (pid === postmaster) return sum + (time ? time.own + time.ofChildren : 0);
    return time?.parent === postmaster ? sum + time.own : sum;
  }, 0);
}
