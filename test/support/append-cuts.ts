import type { Pair, Passage, TcpProxy } from './tcp-proxy.js';

/** When the connection of an append is cut. */
export const MOMENTS = [
  'before the statement leaves',
  'halfway through the statement',
  'while the statement runs',
  'when the answer begins',
  'when all is answered',
] as const;

export type Moment = (typeof MOMENTS)[number];

/** What ends PostgreSQL's answer to a statement outside a transaction: the commit came before it. */
const READY_FOR_QUERY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

/** The ids of messages as they stand in an append. */
const MESSAGE_ID = /"message_id":"([^"]+)"/g;

/** What a cut met. */
export interface Cut {
  moment: Moment;
  /** Whether the append put in any of its messages all the same. One of nothing but duplicates never does. */
  committed: boolean;
  messageIds: string[];
  /** How many of its messages the database had before. */
  before: number;
}

/**
 * Cuts the connection that an append is on, at a moment that the test says. Nothing passes afterwards until it is known
 * what became of that append on the server, so that it can be told from its repetition.
 */
export class AppendCuts {
  private armed: { moment: Moment; afterMs: number; happened: (cut: Cut) => void } | null = null;
  private target: Pair | null = null;
  /** Is called with what the server answers to the append. */
  private answered: (bytes: Buffer) => void = () => undefined;
  private held: Promise<unknown> = Promise.resolve();

  /**
   * @param network through which the service reaches its database
   * @param stored how many of so many messages the database has put in, once no append is running on the server
   */
  constructor(
    network: TcpProxy,
    private readonly stored: (messageIds: string[]) => Promise<number>,
  ) {
    network.watch = (passage) => this.decide(passage);
  }

  /** Cuts the next append. @param afterMs how long the statement may run, where it is cut while it does */
  next(moment: Moment, afterMs: number): Promise<Cut> {
    return new Promise((happened) => (this.armed = { moment, afterMs, happened }));
  }

  private async decide(passage: Passage): Promise<void> {
    const { pair, fromClient, bytes } = passage;
    if (pair === this.target) {
      // The rest of the statement; and of the answer nothing comes through.
      if (fromClient) passage.pass();
      else this.answered(bytes);
      return;
    }
    await this.held;
    if (!this.armed || !fromClient || !bytes.includes('append_entries(')) return passage.pass();
    const { moment, afterMs, happened } = this.armed;
    this.armed = null;
    this.target = pair;
    const cut = this.cut(passage, moment, afterMs);
    this.held = cut;
    // The rest of the statement is to come while it runs.
    void cut.then(happened);
  }

  private async cut({ pair, bytes, pass }: Passage, moment: Moment, afterMs: number): Promise<Cut> {
    const messageIds = Array.from(bytes.toString().matchAll(MESSAGE_ID), ([, id]) => id!);
    const before = await this.stored(messageIds);
    const { client, upstream } = pair;
    if (moment === 'halfway through the statement') {
      await new Promise<void>((sent) => upstream.write(bytes.subarray(0, bytes.length / 2), () => sent()));
    } else if (moment !== 'before the statement leaves') {
      const over = this.untilAnswered(moment, afterMs);
      pass();
      await over;
    }
    client.destroy();
    upstream.destroy();
    this.target = null;
    return { moment, committed: (await this.stored(messageIds)) > before, messageIds, before };
  }

  private untilAnswered(moment: Moment, afterMs: number): Promise<void> {
    return new Promise((resolve) => {
      if (moment === 'while the statement runs') setTimeout(resolve, afterMs);
      let end = Buffer.alloc(0);
      this.answered = (bytes) => {
        end = Buffer.concat([end, bytes]).subarray(-READY_FOR_QUERY.length);
        if (moment === 'when the answer begins' || end.equals(READY_FOR_QUERY)) resolve();
      };
    });
  }
}
