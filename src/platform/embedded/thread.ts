import { extname, join } from 'node:path';
import { Worker } from 'node:worker_threads';

/** What a thread is sent: a question, and the number that its answer is to carry. */
export interface Asked<Question> {
  id: number;
  question: Question;
}

/** What a thread sends. Of an error its fields, since a copy between threads keeps only its message. */
export type Answered = { id: number; answer: unknown } | { id: number; failure: { message: string } };

/** A thread is gone. Its code marks it as a connection failure. */
export class ThreadEnded extends Error {
  readonly code = 'ERR_THREAD_ENDED';
  override readonly name = 'ThreadEnded';
}

interface Asker {
  resolve: (answer: unknown) => void;
  reject: (error: unknown) => void;
}

/**
 * A thread of this process that answers questions. It keeps the process alive only while somebody waits for an answer.
 * @typeParam Question what it may be asked; anything that can be copied between threads
 */
export class Thread<Question> {
  /** Resolves when it is gone, with the reason. */
  readonly ended: Promise<ThreadEnded>;
  private readonly worker: Worker;
  private readonly askers = new Map<number, Asker>();
  private asked = 0;
  private end: ThreadEnded | null = null;

  /**
   * @param script its file's name without ending; it lies beside this one
   * @param name what it is, in words
   */
  constructor(script: string, name: string) {
    // The ending of this very file: from source it is another one than from the build.
    this.worker = new Worker(join(__dirname, script + extname(__filename)), { name: script });
    this.worker.unref();
    this.worker.on('message', (answered: Answered) => this.hear(answered));
    let reason = '';
    this.worker.on('error', (error) => (reason = `: ${error instanceof Error ? error.message : String(error)}`));
    this.ended = new Promise((resolve) => {
      this.worker.once('exit', (code) => {
        this.end = new ThreadEnded(`${name} has ended with ${code}${reason}`);
        for (const { reject } of this.askers.values()) reject(this.end);
        this.askers.clear();
        resolve(this.end);
      });
    });
  }

  /**
   * Puts a question.
   * @throws ThreadEnded, also where the thread ends before it has answered; else what the thread says is wrong
   */
  async ask(question: Question): Promise<unknown> {
    if (this.end) throw this.end;
    const id = ++this.asked;
    this.worker.postMessage({ id, question } satisfies Asked<Question>);
    return new Promise((resolve, reject) => {
      this.askers.set(id, { resolve, reject });
      if (this.askers.size === 1) this.worker.ref();
    });
  }

  /** Ends it, whatever it is doing. */
  async terminate(): Promise<void> {
    await this.worker.terminate();
    await this.ended;
  }

  private hear(answered: Answered): void {
    const asker = this.askers.get(answered.id)!;
    this.askers.delete(answered.id);
    if (this.askers.size === 0) this.worker.unref();
    if ('failure' in answered) asker.reject(Object.assign(new Error(answered.failure.message), answered.failure));
    else asker.resolve(answered.answer);
  }
}
