import { MultiBar, type SingleBar } from 'cli-progress';
import type { CommandIo } from './command.js';

const STEPS = 1_000;
const PLAIN_LINE_EVERY_MS = 5_000;

/** Shows how far long work is: a bar on a terminal, now and then a line elsewhere. */
export class Progress {
  private readonly bars?: MultiBar;
  private readonly bar?: SingleBar;
  private lastLineAt = performance.now();

  /** @param counted what was done to those that are counted, in a word */
  constructor(
    private readonly stream: CommandIo['err'],
    private readonly counted = 'sent',
  ) {
    if (!stream.isTTY) return;
    // The kind for several bars, since only that one can print a line above itself.
    this.bars = new MultiBar({
      stream,
      format: `{bar} {percentage}% | {count} ${counted} | {seconds} s`,
      barCompleteChar: '█',
      barIncompleteChar: '░',
      forceRedraw: true,
      linewrap: true, // leaves the terminal's settings alone, so that Ctrl-C has nothing to restore
    });
    this.bar = this.bars.create(STEPS, 0, payloadOf(0, 0));
  }

  /** @param share of the work that is done, 0 to 1 */
  update(share: number, count: number, seconds: number): void {
    this.bar?.update(Math.floor(share * STEPS), payloadOf(count, seconds));
    if (this.bar || performance.now() - this.lastLineAt < PLAIN_LINE_EVERY_MS) return;
    this.lastLineAt = performance.now();
    this.stream.write(`${count.toLocaleString('en')} ${this.counted} (${Math.floor(share * 100)} %)\n`);
  }

  /** Prints a line without disturbing the bar. */
  note(line: string): void {
    if (this.bars) this.bars.log(`${line}\n`);
    else this.stream.write(`${line}\n`);
  }

  stop(): void {
    this.bars?.update(); // stopping alone would lose the last notes
    this.bars?.stop();
  }
}

function payloadOf(count: number, seconds: number): Record<string, string> {
  return { count: count.toLocaleString('en'), seconds: seconds.toFixed(0) };
}
