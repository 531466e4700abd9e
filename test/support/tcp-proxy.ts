import { connect, createServer, type AddressInfo, type NetConnectOpts, type Server, type Socket } from 'node:net';

/** A connection that goes through the proxy. */
export interface Pair {
  client: Socket;
  upstream: Socket;
}

/** Bytes on their way through the proxy. */
export interface Passage {
  pair: Pair;
  fromClient: boolean;
  bytes: Buffer;
  /** Lets them go on; what does not is lost. */
  pass(): void;
}

/**
 * A network that can fail: what connects to its port is connected to a part behind it, unless it refuses, cuts or
 * stalls. Every failure lasts until {@link TcpProxy.resume}.
 */
export class TcpProxy {
  private readonly pairs = new Set<Pair>();
  private listener: Server | null = null;
  private state: 'well' | 'stalled' | 'hanging up' = 'well';
  private listeningPort = 0;
  /** How often somebody has tried to connect since it last failed. */
  attempts = 0;
  /** Sees what the server sends: where it says yes, that is not passed on, and the connection breaks. */
  losesAnswer: (bytes: Buffer) => boolean = () => false;
  /** By how many ms everything that the server sends comes later; for connections that are made from then on. */
  delayMs = 0;
  /** Decides about all that is to pass. What comes after it on the same way waits until the promise resolves. */
  watch: ((passage: Passage) => Promise<void>) | null = null;

  private constructor(private readonly server: NetConnectOpts) {}

  /** A proxy in front of the server that a URL or the path of a unix socket names. */
  static async before(server: string, defaultPort = 80): Promise<TcpProxy> {
    const { hostname: host, port } = server.startsWith('/') ? { hostname: '', port: '' } : new URL(server);
    const proxy = new TcpProxy(host ? { host, port: Number(port || defaultPort) } : { path: server });
    await proxy.resume();
    return proxy;
  }

  /** A URL, but through this proxy. */
  through(url: string): string {
    const address = new URL(url);
    address.hostname = '127.0.0.1';
    address.port = String(this.listeningPort);
    return address.href.replace(/\/$/, '');
  }

  /** The server is gone: connections break, new ones are refused. */
  async refuse(): Promise<void> {
    this.attempts = 0;
    const { listener } = this;
    this.listener = null;
    const closed = listener && new Promise((resolve) => listener.close(resolve));
    this.cut();
    await closed;
  }

  /** The server is gone, but what stands before it is not: all connections break, the new ones too. */
  hangUp(): void {
    this.fails('hanging up');
    this.cut();
  }

  /** Connections break; new ones are fine. */
  cut(): void {
    for (const pair of this.pairs) for (const socket of [pair.client, pair.upstream]) socket.destroy();
  }

  /** Nothing answers any more: connections stay and are accepted, but no byte passes. */
  stall(): void {
    this.fails('stalled');
    for (const pair of this.pairs) for (const socket of [pair.client, pair.upstream]) socket.pause();
  }

  /** All is well again. */
  async resume(): Promise<void> {
    this.state = 'well';
    for (const pair of this.pairs) for (const socket of [pair.client, pair.upstream]) socket.resume();
    if (this.listener) return;
    const listener = createServer((client) => this.join(client));
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject).listen(this.listeningPort, '127.0.0.1', resolve);
    });
    this.listeningPort = (listener.address() as AddressInfo).port;
    this.listener = listener;
  }

  /** Ends the proxy. */
  async close(): Promise<void> {
    await this.refuse();
  }

  private fails(how: 'stalled' | 'hanging up'): void {
    this.state = how;
    this.attempts = 0;
  }

  private join(client: Socket): void {
    this.attempts++;
    if (this.state === 'hanging up') {
      client.destroy();
      return;
    }
    const pair = { client, upstream: connect(this.server) };
    this.pairs.add(pair);
    const { upstream } = pair;
    const { delayMs } = this;
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on('data', (bytes: Buffer) => {
        const pass = (): void => void to.write(bytes);
        if (from === upstream && this.losesAnswer(bytes)) from.destroy();
        else if (from === upstream && delayMs > 0) setTimeout(pass, delayMs);
        else if (this.watch) {
          from.pause();
          void this.watch({ pair, fromClient: from === client, bytes, pass }).then(() => {
            if (this.state !== 'stalled') from.resume();
          });
        } else pass();
      });
      from.on('error', () => undefined); // its `close` follows
      from.on('close', () => {
        to.destroy();
        this.pairs.delete(pair);
      });
      if (this.state === 'stalled') from.pause();
    }
  }
}
