import { Logger } from '@nestjs/common';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { basename } from 'node:path';
import { messageOf } from '../../shared/errors.js';
import { backOff, pause } from '../back-off.js';
import { OutageNotice } from '../outage-notice.js';

/** A server may have to read much of its data after a crash. */
const START_TIMEOUT_MS = 60_000;
/** A server that exits during its start is tried again for so long: what a dead predecessor left may still be ending. */
const RETRY_EXITED_MS = 3_000;
const POLL_INTERVAL_MS = 20;
const MAX_RESTART_DELAY_MS = 2_000;

/** Answers to early and late connections. They do not explain why a server ended. */
const NO_REASON = /the database system is (starting up|shutting down|not yet accepting connections|in recovery mode)/;

/**
 * Runs a server, and ends it when the standard input closes: that pipe ends with this process, however it ends. Node itself
 * can't tie a child's life to its own. The guard ignores signals that a terminal or systemd sends to all processes.
 */
const GUARD = [
  "trap '' HUP INT TERM",
  'exec 3<&0',
  '"$0" "$@" 3<&- & server=$!',
  '(read -r line <&3; rm -rf "$REMOVE"; kill -s "$STOP_SIGNAL" "$server") 2> /dev/null & watch=$!',
  'wait "$server"; code=$?',
  'kill -s KILL "$watch" 2> /dev/null',
  'exit $code',
].join('\n');

/** A program under a guard. */
export interface GuardedProgram {
  program: string;
  args: string[];
  /** What the guard is started by, e.g. `unshare` with its options; empty where it needs nothing. */
  prefix?: string[];
  uid?: number;
  gid?: number;
  /** The signal that ends it. */
  stopSignal: 'TERM' | 'INT' | 'KILL';
  /** A file or folder that goes with it. */
  remove?: string;
}

/** How a private server is started and stopped. */
export interface ServerCommand extends GuardedProgram {
  /** Its output goes here; only that of the latest start is kept. */
  logPath: string;
  /** Called before every start, also after the server died. */
  prepare?: () => Promise<void> | void;
  /** Resolves where the server answers; throws where it does not (yet). */
  probe: () => Promise<void>;
}

/** A private server can't be started. */
export class ServerNotStarted extends Error {
  override readonly name = 'ServerNotStarted';
}

/** A server that is a child of this process, ends with it, and is started again when it dies. */
export class GuardedServer {
  private readonly name: string;
  private readonly notice: OutageNotice;
  private readonly stopping = new AbortController();
  private guard: ChildProcess | null = null;
  private hasExited = true;
  /** Resolves when the latest guard is gone. */
  private exited = Promise.resolve();
  private running: Promise<void> | null = null;

  private constructor(private readonly command: ServerCommand) {
    this.name = basename(command.program);
    this.notice = new OutageNotice(new Logger('GuardedServer'), `${this.name} is up`);
  }

  /** @throws ServerNotStarted with the reason from its log where it does not answer */
  static async start(command: ServerCommand): Promise<GuardedServer> {
    const server = new GuardedServer(command);
    try {
      await server.bringUp(START_TIMEOUT_MS, RETRY_EXITED_MS);
    } catch (error) {
      const reason = reasonInLog(command.logPath) || messageOf(error);
      await server.stop();
      throw new ServerNotStarted(`${command.program} does not start: ${reason}`, { cause: error });
    }
    server.running = server.keepRunning();
    return server;
  }

  /** Resolves when the server has written its files and is gone. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.notice.stop();
    this.guard?.stdin?.destroy();
    await (this.running ?? this.exited);
    if (this.command.remove) rmSync(this.command.remove, { recursive: true, force: true });
  }

  /** Starts the server again whenever it ends. Its clients reconnect by themselves. */
  private async keepRunning(): Promise<void> {
    for (;;) {
      await this.exited;
      if (this.stopping.signal.aborted) return;
      this.notice.fails(`${this.name} has ended: ${reasonInLog(this.command.logPath)}; starting it again`);
      await this.bringUp(Infinity, Infinity).then(
        () => this.notice.isWell(),
        () => undefined, // it is being stopped
      );
    }
  }

  /**
   * Starts the server, again where it exits, until it answers.
   * @param timeoutMs how long it may run without an answer
   * @param retryMs for how long it is started again
   */
  private async bringUp(timeoutMs: number, retryMs: number): Promise<void> {
    const { signal } = this.stopping;
    const began = performance.now();
    for (let restarts = 0; ;) {
      try {
        if (this.hasExited) {
          if (this.guard) await pause(backOff(restarts++, MAX_RESTART_DELAY_MS), signal);
          await this.launch();
        }
        return await this.command.probe();
      } catch (error) {
        await pause(POLL_INTERVAL_MS, signal);
        const elapsed = performance.now() - began;
        if (signal.aborted || elapsed > (this.hasExited ? retryMs : timeoutMs)) throw error;
      }
    }
  }

  private async launch(): Promise<void> {
    const log = openSync(this.command.logPath, 'w');
    try {
      await this.command.prepare?.();
      this.stopping.signal.throwIfAborted();
      const { file, args, options } = guarded(this.command);
      // Detached: Ctrl+C in a terminal reaches the whole process group, and the server must outlive the last write.
      const guard = spawn(file, args, { ...options, detached: true, stdio: ['pipe', log, log] });
      this.guard = guard;
      this.hasExited = false;
      this.exited = new Promise((resolve) => {
        const ended = (): void => {
          guard.stdin?.destroy();
          this.hasExited = true;
          resolve();
        };
        guard.once('exit', ended).once('error', ended);
      });
      await once(guard, 'spawn');
    } finally {
      closeSync(log);
    }
  }
}

/** A program under a guard, for `spawn` and the like; its standard input has to be a pipe. */
export function guarded({ program, args, prefix = [], uid, gid, stopSignal, remove = '' }: GuardedProgram): {
  file: string;
  args: string[];
  options: { cwd: string; env: Record<string, string>; uid?: number; gid?: number };
} {
  const [file, ...rest] = [...prefix, '/bin/sh', '-c', GUARD, program, ...args];
  // The server's user may not be allowed into the working directory of this process.
  return { file: file!, args: rest, options: { cwd: '/', env: { STOP_SIGNAL: stopSignal, REMOVE: remove }, uid, gid } };
}

/** The line of a program's output that explains best why it ended. */
export function reasonIn(output: string): string {
  const lines = output.trim().split('\n');
  const reasons = lines.filter((line) => /error:|FATAL|PANIC/.test(line) && !NO_REASON.test(line));
  return (reasons.at(-1) ?? lines.at(-1)!).trim();
}

function reasonInLog(path: string): string {
  try {
    return reasonIn(readFileSync(path, 'utf8'));
  } catch {
    return ''; // the log is gone with its folder, or was never made
  }
}
