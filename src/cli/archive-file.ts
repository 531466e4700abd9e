import { createReadStream } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import type { NumberedLine } from '../ledger/archive-import.js';
import { DamagedLine, type EntryLine, type HeaderLine, readArchiveLine } from '../ledger/archive-lines.rules.js';
import { messageOf } from '../shared/errors.js';

/** No line is this long: a body of 1 MiB takes up to six times that as JSON. */
const LONGEST_LINE = 64 * 1024 * 1024;
const LINE_FEED = 10;
/** What stands behind the entries, and is written anew. */
const TRAILER = ['repair', 'waiting_refund', 'end'];
const HEADER_BEGINNING = '{"type":"ledger",';

/** A file can't be read or written as an exported ledger, with why. */
export class UnusableArchive extends Error {
  override readonly name = 'UnusableArchive';
}

/** Where an export that is there already is to be continued. */
export interface ArchivedSoFar {
  /** Null where not even the header is there. */
  header: HeaderLine | null;
  /** The last entry that is there as a whole, and the hash of the history up to it; the header's where there is none. */
  after: number;
  entryHash: string;
  /** How many bytes of the file end with it; what follows is written anew. */
  bytes: number;
}

/** A file with an exported ledger, read line by line. */
export class ArchiveReader {
  private bytes = 0;
  /** Whether the file ends within a line. */
  torn = false;

  private constructor(
    private readonly path: string,
    private readonly size: number,
  ) {}

  /** @returns null where there is no such file @throws UnusableArchive */
  static async open(path: string): Promise<ArchiveReader | null> {
    try {
      const found = await stat(path);
      if (found.isDirectory()) throw new UnusableArchive(`${path} is a directory`);
      if (!found.isFile()) throw new UnusableArchive(`${path} is not a file that can be continued`);
      return new ArchiveReader(path, found.size);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw inWords(path, 'read', error);
    }
  }

  /** How much of the file was read, 0 to 1. */
  share(): number {
    return this.size === 0 ? 1 : Math.min(1, this.bytes / this.size);
  }

  /** The whole lines, each with the number of bytes up to its end. @throws UnusableArchive */
  async *lines(): AsyncGenerator<NumberedLine & { end: number }> {
    let number = 0;
    let pieces: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of createReadStream(this.path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
        let start = 0;
        for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
          const line = Buffer.concat([...pieces, chunk.subarray(start, end)]);
          [pieces, length] = [[], 0];
          start = end + 1;
          yield { number: ++number, text: line.toString(), end: this.bytes + start };
        }
        length += chunk.length - start;
        if (length > LONGEST_LINE) throw new UnusableArchive(`${this.path} is not an exported ledger`);
        if (start < chunk.length) pieces.push(chunk.subarray(start));
        this.bytes += chunk.length;
      }
    } catch (error) {
      throw inWords(this.path, 'read', error);
    }
    this.torn = length > 0;
    if (number === 0 && this.torn && !isBeginningOfHeader(Buffer.concat(pieces).toString())) {
      throw new UnusableArchive(`${this.path} is not an exported ledger`);
    }
  }
}

/** Finds where an export is to be continued. Of the lines only the first and the last entry are checked; import checks all. */
export async function archivedSoFar(path: string): Promise<ArchivedSoFar | null> {
  const reader = await ArchiveReader.open(path);
  if (!reader) return null;
  let header: HeaderLine | null = null;
  let entry: { text: string; end: number } | null = null;
  let headerEnd = 0;
  let inTrailer = false;
  for await (const { number, text, end } of reader.lines()) {
    if (number === 1) {
      header = checked<HeaderLine>(path, number, text, 'ledger');
      if (header.after > 0) throw new UnusableArchive(`${path} is a part of a ledger that begins in the middle`);
      headerEnd = end;
    } else if (text.startsWith('{"type":"entry"') && !inTrailer) {
      entry = { text, end };
    } else if (TRAILER.some((type) => text.startsWith(`{"type":"${type}"`))) {
      inTrailer = true;
    } else {
      throw new UnusableArchive(`${path} is not an exported ledger: see its line ${number}`);
    }
  }
  if (!header) return { header: null, after: 0, entryHash: '', bytes: 0 };
  if (!entry) return { header, after: 0, entryHash: header.entry_hash, bytes: headerEnd };
  const { position, entry_hash } = checked<EntryLine>(path, null, entry.text, 'entry');
  return { header, after: position, entryHash: entry_hash, bytes: entry.end };
}

/** A file that an exported ledger is written to, from some point on. */
export class ArchiveWriter {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private bytes: number,
  ) {}

  /** @param bytes of the file that stay; null makes the file. Only this user may read it. @throws UnusableArchive */
  static async open(path: string, bytes: number | null): Promise<ArchiveWriter> {
    try {
      const file = await open(path, bytes === null ? 'wx' : 'r+', 0o600);
      await file.truncate(bytes ?? 0);
      return new ArchiveWriter(path, file, bytes ?? 0);
    } catch (error) {
      throw inWords(path, 'written', error);
    }
  }

  /** @throws UnusableArchive */
  async write(lines: string[]): Promise<void> {
    const content = Buffer.from(lines.map((line) => `${line}\n`).join(''));
    try {
      for (let written = 0; written < content.length;) {
        const { bytesWritten } = await this.file.write(content, written, null, this.bytes);
        written += bytesWritten;
        this.bytes += bytesWritten;
      }
    } catch (error) {
      throw inWords(this.path, 'written', error);
    }
  }

  /** Sees to it that what was written is on the disk. @throws UnusableArchive */
  async sync(): Promise<void> {
    await this.file.sync().catch((error: unknown) => {
      throw inWords(this.path, 'written', error);
    });
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

function isBeginningOfHeader(text: string): boolean {
  return text.startsWith(HEADER_BEGINNING) || HEADER_BEGINNING.startsWith(text);
}

function checked<Line>(path: string, number: number | null, text: string, type: string): Line {
  const where = number === null ? 'its last entry' : `line ${number}`;
  try {
    const line = readArchiveLine(text);
    if (line.type === type) return line as Line;
  } catch (error) {
    if (!(error instanceof DamagedLine || error instanceof SyntaxError)) throw error;
    throw new UnusableArchive(`${path} can't be continued: ${where}: ${error.message}`);
  }
  throw new UnusableArchive(`${path} is not an exported ledger: see ${where}`);
}

function inWords(path: string, done: 'read' | 'written', error: unknown): Error {
  if (error instanceof UnusableArchive) return error;
  const reasons: Record<string, string> = {
    ENOENT: 'is in a folder that does not exist',
    ENOTDIR: 'is in a folder that does not exist',
    EACCES: `may not be ${done} by this user`,
    EPERM: `may not be ${done} by this user`,
    EROFS: `may not be ${done} by this user`,
    ENOSPC: "can't be written: the disk is full. What is there can be continued",
  };
  const reason = reasons[(error as NodeJS.ErrnoException).code ?? ''] ?? `can't be ${done}: ${messageOf(error)}`;
  return new UnusableArchive(`${path} ${reason}`);
}
