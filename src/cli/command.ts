import { loadDotenv } from '../shared/dotenv.js';
import { messageOf } from '../shared/errors.js';

/** What a command works with, besides its arguments. */
export interface CommandIo {
  /** Results. */
  out: NodeJS.WritableStream;
  /** Progress and problems. */
  err: NodeJS.WritableStream & { isTTY?: boolean };
  /** Stands in for the process's environment variables. */
  environment?: NodeJS.ProcessEnv;
}

/** A command: takes the arguments after its name, returns the exit code, throws nothing. */
export type Command = (argv: string[], io: CommandIo) => Promise<number>;

/** The arguments of a command are not what it understands. */
export class WrongUsage extends Error {
  override readonly name = 'WrongUsage';
}

/**
 * A command from its work and its usage text. `--help` prints the usage; wrong arguments print it too and exit with 2;
 * anything else that goes wrong is said in one line, without a stack trace, and exits with 1.
 */
export function command(usage: string, work: Command): Command {
  return async (argv, io) => {
    if (argv.includes('--help') || argv.includes('-h')) {
      io.out.write(usage);
      return 0;
    }
    try {
      return await work(argv, io);
    } catch (error) {
      const wrongUsage = error instanceof WrongUsage || codeOf(error).startsWith('ERR_PARSE_ARGS');
      io.err.write(`${messageOf(error)}\n${wrongUsage ? `\n${usage}` : ''}`);
      return wrongUsage ? 2 : 1;
    }
  };
}

/** Runs a command as this process. */
export async function runAsProcess(run: Command): Promise<void> {
  loadDotenv();
  process.exitCode = await run(process.argv.slice(2), { out: process.stdout, err: process.stderr });
}

/** An argument as a number within bounds. @throws WrongUsage */
export function numberArgument(name: string, text: string, least: number, most: number): number {
  const number = text.trim() === '' ? NaN : Number(text);
  if (number >= least && number <= most) return number;
  throw new WrongUsage(`${name} must be a number from ${least} to ${most}, not "${text}"`);
}

/** An argument as a whole number within bounds. @throws WrongUsage */
export function wholeArgument(name: string, text: string, least: number, most: number): number {
  const number = /^[+-]?\d+$/.test(text.trim()) ? Number(text) : NaN;
  if (number >= least && number <= most) return number;
  throw new WrongUsage(`${name} must be a whole number from ${least} to ${most}, not "${text}"`);
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown }).code);
}
