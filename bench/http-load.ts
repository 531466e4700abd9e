import autocannon from 'autocannon';

/** How many connections ask at once, and for how long. */
export interface LoadShape {
  connections: number;
  seconds: number;
}

/** How a load was answered. */
export interface Answered {
  /** How many were answered. */
  answers: number;
  /** Answers a second. */
  perSecond: number;
  /** From a request to the end of its answer. */
  medianMs: number;
  p99Ms: number;
}

/** Asks for paths in turn on each of some connections, the next as soon as the one before is answered. */
export class HttpLoad {
  private readonly times: number[] = [];
  private readonly run: autocannon.Instance;
  private readonly ended: Promise<autocannon.Result>;

  /** Begins at once. */
  constructor(
    url: string,
    private readonly paths: string[],
    { connections, seconds }: LoadShape,
  ) {
    let settle!: (error: Error | null, result: autocannon.Result) => void;
    this.ended = new Promise((resolve, reject) => {
      settle = (error, result) => (error ? reject(error) : resolve(result));
    });
    const requests = paths.map((path) => ({ path }));
    this.run = autocannon({ url, connections, duration: seconds, requests }, settle);
    // Its own histograms count whole milliseconds, and an answer takes less than one.
    this.run.on('response', (_client, _status, _bytes, ms) => this.times.push(ms));
  }

  /** Resolves when it is over. @throws Error where an answer was not 2xx */
  async answered(): Promise<Answered> {
    const { duration, non2xx, errors, timeouts } = await this.ended;
    const times = this.times.sort((one, other) => one - other);
    if (times.length === 0 || non2xx + errors > 0) {
      const failed = `${non2xx} answers not 2xx, ${errors} errors, ${timeouts} of them time-outs`;
      throw new Error(`${this.paths.join(' ')}: ${times.length} answers, ${failed}`);
    }
    return {
      answers: times.length,
      perSecond: times.length / duration,
      medianMs: quantile(times, 0.5),
      p99Ms: quantile(times, 0.99),
    };
  }

  /** Ends it before its time. */
  async stop(): Promise<Answered> {
    this.run.stop();
    return this.answered();
  }
}

/** Asks for paths until the time is over. @throws Error where an answer was not 2xx */
export function load(url: string, paths: string[], shape: LoadShape): Promise<Answered> {
  return new HttpLoad(url, paths, shape).answered();
}

function quantile(sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
