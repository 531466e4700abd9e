import { Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { Interval } from '@nestjs/schedule';
import { withTimeout } from '../../platform/back-off.js';
import { Database } from '../../platform/database/database.js';
import { OrdersQueue } from '../../platform/queue/queue.js';
import { QueueSender } from '../../platform/queue/queue-sender.js';
import { messageOf, UnavailableError } from '../../shared/errors.js';
import { REPAIR_ATTRIBUTE } from '../../domain/order-event.js';
import { Repairs } from './repairs.service.js';

const LOOK_EVERY_MS = 5_000;
/** Each body may have 1 MiB. */
const REPAIRS_PER_BATCH = 50;
const STOP_TIMEOUT_MS = 1_500;

/**
 * Puts recorded repairs on the orders queue, where they go the way of every order event. They are recorded first and
 * sent after, so none is forgotten while the queue is away; any process may send them.
 */
@Injectable()
export class RepairDispatch implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly logger = new Logger('RepairDispatch');
  private readonly stopping = new AbortController();
  private again = false;
  private busy = false;
  private ended: Promise<void> = Promise.resolve();

  constructor(
    private readonly repairs: Repairs,
    private readonly sender: QueueSender,
    private readonly queue: OrdersQueue,
    private readonly database: Database,
  ) {}

  onApplicationBootstrap(): void {
    this.notify();
  }

  async onModuleDestroy(): Promise<void> {
    this.stopping.abort();
    await withTimeout(STOP_TIMEOUT_MS, this.ended);
  }

  /** Has what waits sent now. Also called every few seconds, for what other processes left. */
  @Interval(LOOK_EVERY_MS)
  notify(): void {
    this.again = true;
    if (!this.busy) this.ended = this.run();
  }

  private async run(): Promise<void> {
    this.busy = true;
    try {
      while (this.again) {
        this.again = false;
        await this.queue.availability.waitUntilUp(this.stopping.signal);
        await this.database.availability.waitUntilUp(this.stopping.signal);
        if (this.stopping.signal.aborted) return;
        const taken = await this.repairs.takeUnsent(REPAIRS_PER_BATCH);
        if (taken.length > 0) await this.send(taken);
        if (taken.length === REPAIRS_PER_BATCH) this.again = true;
      }
    } catch (error) {
      // A part that is down says so itself.
      if (!(error instanceof UnavailableError)) this.logger.error(`Repairs can't be sent: ${messageOf(error)}`);
    } finally {
      this.busy = false;
    }
  }

  /** What the queue does not take although it is there counts as sent in vain: it is tried again later, and not for ever. */
  private async send(taken: { id: string; body: string }[]): Promise<void> {
    const messages = taken.map((repair) => ({ ...repair, attributes: attributesOf(repair.id) }));
    try {
      await this.sender.sendEach(messages, {
        onFailed: ({ id }, { message }) => this.logger.error(`Repair ${id} can't be put on the queue: ${message}`),
      });
    } catch (error) {
      await this.repairs.giveBack(taken.map(({ id }) => id));
      throw error;
    }
  }
}

function attributesOf(repairId: string): Record<string, { DataType: string; StringValue: string }> {
  return { [REPAIR_ATTRIBUTE]: { DataType: 'String', StringValue: repairId } };
}
