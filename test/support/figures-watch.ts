import { StatisticsRepository } from '../../src/stats/projection/statistics.repository.js';
import type { ServiceUnderFaults } from './service-under-faults.js';

/**
 * Reads the statistics over and over, and compares how far they go with the ledger, which is asked afterwards: while the
 * service counts its database as up, it must not serve figures of entries that the ledger does not have.
 */
export class FiguresWatch {
  /** How many answers had figures. */
  answers = 0;
  /** How often Redis held figures of the generation in service that were ahead of the ledger. */
  sightings = 0;
  private readonly faults: string[] = [];
  /** Counts up when a ledger is put back, and again when that is done. */
  private era = 0;
  private running = true;
  private readonly loop: Promise<void>;

  constructor(private readonly watched: ServiceUnderFaults) {
    this.loop = this.readOn();
    watched.beforeStop(() => this.stop());
  }

  /** Puts another ledger in the place of the present one. */
  async whileReplaced(replace: () => Promise<void>): Promise<void> {
    this.era++;
    await replace();
    this.era++;
  }

  /** What was wrong so far, one fact each. */
  get found(): readonly string[] {
    return this.faults;
  }

  /** Ends it. @returns what was wrong, one fact each */
  async stop(): Promise<string[]> {
    this.running = false;
    await this.loop;
    return this.answers > 0 ? this.faults : [...this.faults, 'No answer with figures was seen'];
  }

  private async readOn(): Promise<void> {
    while (this.running) {
      await this.read().catch(() => undefined); // a part is away, there is nothing to compare
    }
  }

  private async read(): Promise<void> {
    const { service } = this.watched;
    const { era } = this;
    const trusted = service.database.availability.up;
    const { status, body } = await service.get('/stats/global');
    const head = await this.watched.head();
    // Past the service: it is not to learn from this that its database was away.
    const [served] = await this.watched.query<{ generation: number }>(
      'select generation::float8 as generation from projection',
    );
    const checkpoint = await service.app.get(StatisticsRepository).checkpoint(served!.generation);
    const now = await this.watched.head();
    if (era !== this.era || era % 2 === 1) return;
    if (checkpoint && checkpoint.position > now) this.sightings++;
    if (status !== 200) return;
    this.answers++;
    if (trusted && body.as_of.position > head) {
      this.faults.push(`Statistics up to entry ${body.as_of.position} were served, and the ledger ends at ${head}`);
    }
  }
}
