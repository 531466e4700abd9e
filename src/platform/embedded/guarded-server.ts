import { Logger } from '@nestjs/common';
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../shared/errors.js';

const START_TIMEOUT_MS = 10_000;
/** A server that exits during its start is tried again for so long: what a dead predecessor left may still be ending. */
const RETRY_EXITED_MS = 3_000;
const POLL_INTERVAL_MS = 10;
const RESTART_DELAY_MS = 200;

/**
 * Runs the server, and ends it when the shell's standard input closes: that pipe ends with this process, however it
 * ends. Node itself can't tie a child's life to its own.
 */
const GUARD = [
  'exec 3<&0',
  '"$0" "$@" 3<&- & server=$!',
  '(cat <&3 > /dev/null; kill -s "$STOP_SIGNAL" "$server" 2> /dev/null; rm -rf "$REMOVE") &',
  'wait "$server"',
].join('\n');

/** How a private server is started and stopped. */
export interface ServerCommand {
  program: string;
  args: string[];
  /** What the guard is started by, e.g. `unshare` with its options; empty where it needs nothing. */
  prefix?: string[];
  uid?: number;
  gid?: number;
  /** Its output goes here; only that of the latest start is kept. */
  logPath: string;
  /** The signal that stops it without losing anything. */
  stopSignal: 'TERM' | 'INT';
  /** A file or folder that goes with the server. */
  remove: string;
  /** Called before every start, also after the server died. */
  prepare?: () => Promise<void> | void;
  /** Resolves where the server answers; throws where it does not (yet). */
  probe: () => Promise<void>;
}

/** A server that is a child of this process, ends with it, and is started again when it dies. */
export class GuardedServer {
  private readonly logger = new Logger('GuardedServer');
  private guard!: ChildProcess;
  private up = false;
  private stopping = false;

  private constructor(private readonly command: ServerCommand) {}

  /** @throws Error with the last line of its log where it does not answer within 10 s */
  static async start(command: ServerCommand): Promise<GuardedServer> {
    const server = new GuardedServer(command);
    await server.launch();
    try {
      await server.waitUntilUp();
      server.up = true;
    } catch (error) {
      await server.stop();
      throw new Error(`${command.program} does not start: ${lastLine(command.logPath)}`, { cause: error });
    }
    return server;
  }

  /** Resolves when the server has written its files and is gone. */
  async stop(): Promise<void> {
    this.stopping = true;
    if (!this.hasExited()) {
      const ended = new Promise((resolve) => this.guard.once('exit', resolve));
      this.guard.stdin?.end();
      await ended;
    }
    rmSync(this.command.remove, { recursive: true, force: true });
  }

  private hasExited(): boolean {
    return this.guard.exitCode !== null || this.guard.signalCode !== null;
  }

  private async launch(): Promise<void> {
    const { program, args, prefix = [], uid, gid, logPath, stopSignal, remove, prepare } = this.command;
    await prepare?.();
    const log = openSync(logPath, 'w');
    const words = [...prefix, '/bin/sh', '-c', GUARD, program, ...args];
    this.guard = spawn(words[0]!, words.slice(1), {
      // Detached: Ctrl+C in a terminal reaches the whole process group, and the server must outlive the last write.
      detached: true,
      cwd: '/', // the server's user may not be allowed into this one's
      stdio: ['pipe', log, log],
      env: { STOP_SIGNAL: stopSignal, REMOVE: remove },
      uid,
      gid,
    });
    closeSync(log);
    this.guard.once('exit', () => {
      this.guard.stdin?.destroy();
      if (this.up && !this.stopping) this.logger.error(`${basename(program)} has ended: ${lastLine(logPath)}`);
      this.relaunchSoon();
    });
  }

  /** Whoever is connected notices that the server was gone, and connects again by itself. */
  private relaunchSoon(): void {
    if (this.stopping) return;
    setTimeout(() => {
      if (this.stopping) return;
      this.launch().catch((error: unknown) => {
        this.logger.error(`${basename(this.command.program)} can't be started again: ${messageOf(error)}`);
        this.relaunchSoon();
      });
    }, RESTART_DELAY_MS).unref();
  }

  private async waitUntilUp(): Promise<void> {
    const began = performance.now();
    let failure: unknown = new Error('no answer');
    while (performance.now() < began + (this.hasExited() ? RETRY_EXITED_MS : START_TIMEOUT_MS)) {
      try {
        return await this.command.probe();
      } catch (error) {
        failure = error;
      }
      await sleep(POLL_INTERVAL_MS);
    }
    throw failure;
  }
}

function lastLine(path: string): string {
  return readFileSync(path, 'utf8').trim().split('\n').at(-1) ?? 'no output';
}
