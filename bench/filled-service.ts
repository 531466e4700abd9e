import { fillLedger, type LedgerShape } from './ledger-fill.js';
import { ownParts, servedGeneration, type OwnParts } from './parts.js';
import { Emulator, Service } from './processes.js';

/** Ten million entries are aggregated before the service is ready. */
const READY_WITHIN_MS = 3_600_000;

/** The service on real parts, beside a ledger that was filled beforehand, and an empty queue. */
export class FilledService {
  /** Those that run, by their ledgers' shapes. */
  private static readonly running = new Map<string, FilledService>();

  private constructor(
    readonly service: Service,
    readonly parts: OwnParts,
    private readonly emulator: Emulator,
  ) {}

  /**
   * One service for each ledger. Filling takes long, so each goes on running until services with other ledgers are
   * asked for.
   */
  static async with(...shapes: LedgerShape[]): Promise<FilledService[]> {
    const wanted = shapes.map((shape) => JSON.stringify(shape));
    for (const [ledger, filled] of FilledService.running) {
      if (wanted.includes(ledger) && filled.isRunning) continue;
      FilledService.running.delete(ledger);
      await filled.stop();
    }
    for (const [i, shape] of shapes.entries()) {
      if (!FilledService.running.has(wanted[i]!)) {
        FilledService.running.set(wanted[i]!, await FilledService.start(shape));
      }
    }
    return wanted.map((ledger) => FilledService.running.get(ledger)!);
  }

  /** The generation of the figures that is in service. */
  generation(): Promise<number> {
    return servedGeneration(this.parts);
  }

  private static async start(shape: LedgerShape): Promise<FilledService> {
    const emulator = await Emulator.start();
    const parts = await ownParts();
    await fillLedger(parts.databaseUrl, shape);
    const environment = { ...parts.environment, SQS_ENDPOINT: emulator.endpoint };
    return new FilledService(await Service.start(environment, [], READY_WITHIN_MS), parts, emulator);
  }

  /** Whoever failed beside it may have had it taken away. */
  private get isRunning(): boolean {
    const { exitCode, signalCode } = this.service.process;
    return exitCode === null && signalCode === null;
  }

  private async stop(): Promise<void> {
    await this.service.stop();
    await this.parts.destroy();
    await this.emulator.stop();
  }
}
