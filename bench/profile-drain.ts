import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sampleBodies } from './bodies.js';
import { drainService } from './drain.js';
import { type CpuProfile, flameGraph } from './flame-graph.js';
import { takeAwayLeftovers } from './leftovers.js';

const ORDERS = 60_000;

/** Profiles the service while it drains a full queue, and draws where its time goes. Usage: profile-drain FILE.svg */
async function main(file: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'orders-profile-'));
  try {
    const { perSecond } = await drainService(sampleBodies, ORDERS, ['--cpu-prof', `--cpu-prof-dir=${folder}`]);
    // Each thread writes its own; the main one's is the largest.
    const [largest] = readdirSync(folder)
      .map((name) => join(folder, name))
      .sort((one, other) => statSync(other).size - statSync(one).size);
    const profile = JSON.parse(readFileSync(largest!, 'utf8')) as CpuProfile;
    const title = `The service's main thread at full drain, profiled, ${Math.round(perSecond)} orders/s. Orange: this project; yellow: libraries; blue: Node`;
    writeFileSync(file, flameGraph(profile, title));
    console.log(`${file} was written`);
  } finally {
    await takeAwayLeftovers();
    rmSync(folder, { recursive: true, force: true });
  }
}

void main(process.argv[2] ?? 'docs/drain-flame-graph.svg').then(() => process.exit());
