import { Logger } from '@nestjs/common';
import { Ledger } from '../../src/ledger/ledger.repository.js';
import { OrderIntake } from '../../src/orders/consumer/order-intake.service.js';
import type { RunningService } from '../support/app.js';
import { auditOf } from '../support/audit.js';
import { eventually } from '../support/eventually.js';
import { hasRedisServer, itWithRedis } from '../support/only-on.js';
import { anOrderEvent } from '../support/order-events.js';
import { ServiceBehindNetwork } from '../support/service-behind-network.js';

const ORDERS = 200;

describe('A Redis that answers nothing at all', () => {
  let behind: ServiceBehindNetwork | undefined;
  let service: RunningService;

  beforeAll(async () => {
    if (!hasRedisServer) return;
    Logger.overrideLogger(false);
    behind = await ServiceBehindNetwork.ready();
    ({ service } = behind);
  });

  afterAll(() => behind?.end());

  async function storedEntries(): Promise<number> {
    return (await service.app.get(Ledger).head()).position;
  }

  async function hasStored(entries: number): Promise<void> {
    await eventually(async () => expect(await storedEntries()).toBe(entries), 60_000);
  }

  /** Sends orders while Redis is silent. @param meanwhile what is expected of them before it answers again */
  async function whileSilent(meanwhile: (before: number) => Promise<void>): Promise<void> {
    const { network } = behind!;
    await service.settled();
    const before = await storedEntries();
    network.stall();
    try {
      await service.send(...Array.from({ length: ORDERS }, (_, i) => anOrderEvent({ user_id: `U${i % 50}` })));
      await meanwhile(before);
    } finally {
      await network.resume();
    }
    await hasStored(before + ORDERS);
    expect(await auditOf(service)).toEqual([]);
  }

  itWithRedis('keeps no order from the ledger', async () => {
    await whileSilent((before) => hasStored(before + ORDERS));
  });

  itWithRedis('control: an intake that asks Redis first is found to stand still', async () => {
    const intake = service.app.get(OrderIntake);
    const handle = intake.handle.bind(intake);
    let asked = 0;
    const asking = jest.spyOn(intake, 'handle').mockImplementation(async (messages) => {
      asked++;
      await eventually(() => service.redis.client.ping(), 60_000);
      return handle(messages);
    });
    try {
      await whileSilent(async (before) => {
        await eventually(() => expect(asked).toBeGreaterThanOrEqual(service.config.queue.pollers));
        // Whoever has received orders waits, and nobody else could store them.
        expect(await storedEntries()).toBe(before);
      });
    } finally {
      asking.mockRestore();
    }
  });
});
