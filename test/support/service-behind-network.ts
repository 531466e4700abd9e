import { RunningService } from './app.js';
import { RealWorld } from './real-world.js';
import { TcpProxy } from './tcp-proxy.js';

/** A service on servers of a test's own, which reaches its Redis over a network that the test breaks. */
export class ServiceBehindNetwork {
  private constructor(
    readonly world: RealWorld,
    readonly network: TcpProxy,
    readonly service: RunningService,
  ) {}

  static async ready(): Promise<ServiceBehindNetwork> {
    const world = await RealWorld.make();
    const network = await TcpProxy.before(world.redis.url);
    const environment = { REDIS_URL: network.through(world.redis.url) };
    return new ServiceBehindNetwork(world, network, await RunningService.ready({ world, environment }));
  }

  async end(): Promise<void> {
    await this.service.stop();
    await this.network.close();
    await this.world.destroy();
  }
}
