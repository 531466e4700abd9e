import type { Redis as IORedis } from 'ioredis';
import type { RedisCommand } from '../../../src/platform/redis/redis.js';
import type { ModelRedis } from './model-redis.js';

/** How a client reaches the server. */
export interface ModelConnection {
  readonly isOpen: boolean;
  open(): Promise<void>;
  close(): void;
  /** Has something done on the server; what is sent first is done first. @param name for the trace */
  send<T>(name: string, work: () => T): Promise<T>;
  /** Is called when the connection breaks. */
  onBroken(listener: (error: Error) => void): void;
}

type Listener = (error?: Error) => void;

/** As much of the ioredis client as src/platform/redis/redis.ts and the live figures use, on the model of a server. */
class ModelRedisClient {
  private readonly listeners: Record<string, Listener> = {};

  constructor(
    private readonly server: ModelRedis,
    private readonly connection: ModelConnection,
  ) {
    connection.onBroken((error) => {
      this.listeners['error']?.(error);
      this.listeners['close']?.();
    });
  }

  get status(): string {
    return this.connection.isOpen ? 'ready' : 'end';
  }

  on(event: string, listener: Listener): void {
    this.listeners[event] = listener;
  }

  connect(): Promise<void> {
    return this.connection.open();
  }

  disconnect(): void {
    this.connection.close();
  }

  defineCommand(name: string): void {
    const run = (keyCount: number, ...parts: (string | number)[]): Promise<string> => {
      const texts = parts.map(String);
      return this.connection.send(name, () =>
        this.server.script(name, texts.slice(0, keyCount), texts.slice(keyCount)),
      );
    };
    Object.assign(this, { [name]: run });
  }

  ping = this.command('ping');
  info = this.command('info');
  del = this.command('del');
  hset = this.command('hset');
  hmget = this.command('hmget');
  scan = this.command('scan');

  multi(commands: RedisCommand[]): { exec(): Promise<[Error | null, unknown][]> } {
    return { exec: () => this.connection.send('multi', () => this.server.runEach(commands)) };
  }

  /** One round trip, but no transaction: others come in between. */
  pipeline(commands: RedisCommand[]): { exec(): Promise<[Error | null, unknown][]> } {
    const half = Math.ceil(commands.length / 2);
    const parts = [commands.slice(0, half), commands.slice(half)];
    return {
      exec: async () => {
        const sent = parts.map((part) => this.connection.send('pipeline', () => this.server.runEach(part)));
        return (await Promise.all(sent)).flat();
      },
    };
  }

  private command(name: string) {
    return (...args: (string | number)[]): Promise<unknown> =>
      this.connection.send(name, () => this.server.run([name, ...args]));
  }
}

/** A client of the model for what expects one of a real server. */
export function modelRedisClient(server: ModelRedis, connection: ModelConnection): IORedis {
  return new ModelRedisClient(server, connection) as unknown as IORedis;
}
