import { Agent, request } from 'node:http';

/** A request to be made. */
export interface Probe {
  method: 'GET' | 'POST';
  path: string;
  body?: object;
  headers?: Record<string, string>;
}

/** What became of a request. */
export type Fate =
  /** @param whole whether the answer came to its end */
  | { kind: 'answered'; status: number; body: string; whole: boolean }
  /** Nobody was there to connect to. */
  | { kind: 'refused' }
  /** The connection broke before there was any answer. */
  | { kind: 'broken'; reason: string; onUsedConnection: boolean };

/** Clients that make one request after the other, each on a connection of its own which it keeps. */
export class KeepAliveClients {
  readonly results = new Map<number, Fate>();
  private readonly agents: Agent[] = [];
  private readonly loops: Promise<void>[] = [];

  /**
   * @param url of a service
   * @param next what to ask for next
   * @param answered is told of every whole answer
   * @param firstProbe the number of the first request; those after it count up
   */
  constructor(
    private readonly url: string,
    private readonly next: () => Probe,
    private readonly answered: (probe: Probe, status: number, body: string) => void,
    private probe: number,
  ) {}

  /** Lets so many more clients begin. Each goes on until nobody is there any more. */
  begin(clients: number): void {
    for (let client = 0; client < clients; client++) {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      this.agents.push(agent);
      this.loops.push(this.tick(agent));
    }
  }

  /** Resolves when all of them found nobody any more. */
  async end(): Promise<void> {
    await Promise.all(this.loops);
    for (const agent of this.agents) agent.destroy();
  }

  private async tick(agent: Agent): Promise<void> {
    for (;;) {
      const number = this.probe++;
      const probe = this.next();
      const fate = await this.ask(agent, number, probe);
      this.results.set(number, fate);
      if (fate.kind === 'refused') return;
      if (fate.kind === 'answered' && fate.whole) this.answered(probe, fate.status, fate.body);
    }
  }

  private ask(agent: Agent, number: number, { method, path, body, headers }: Probe): Promise<Fate> {
    const text = body && JSON.stringify(body);
    return new Promise((resolve) => {
      const asked = request(`${this.url}${path}`, {
        agent,
        method,
        headers: {
          'x-probe': String(number),
          ...(text !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          ...headers,
        },
      });
      asked.on('response', (answer) => {
        const parts: Buffer[] = [];
        const settle = (): void =>
          resolve({
            kind: 'answered',
            status: answer.statusCode!,
            body: Buffer.concat(parts).toString(),
            whole: answer.complete,
          });
        answer.on('data', (part: Buffer) => parts.push(part));
        answer.on('error', () => undefined); // `close` follows
        answer.on('close', settle);
      });
      asked.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'ECONNREFUSED') resolve({ kind: 'refused' });
        else resolve({ kind: 'broken', reason: error.code ?? error.message, onUsedConnection: asked.reusedSocket });
      });
      asked.end(text);
    });
  }
}
