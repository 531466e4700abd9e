import { CsvError, parse as parseCsv } from 'csv-parse/sync';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { readSheet } from 'read-excel-file/node';
import { type Entry, Parse } from 'unzipper-esm';
import { messageOf } from '../shared/errors.js';
import { ORDER_FIELDS } from '../domain/order-event.js';

/** A row that can be sent as it is; whether it is a good order is for the pipeline to judge. */
export interface OrderRow {
  /** Where the row begins, from 1; see {@link OrderFile.unit}. */
  line: number;
  body: string;
}

/** A row that no message can be made of. */
export interface UnreadableRow {
  line: number;
  /** In words that go on from "line 17:". */
  problem: string;
}

/** A file of orders, opened. */
export interface OrderFile {
  /** What `line` counts: lines of text, rows of a sheet, orders of a JSON list. */
  unit: 'line' | 'row' | 'order';
  /** To be read once. Reading may end with {@link UnusableFile}. */
  rows: AsyncIterable<OrderRow | UnreadableRow>;
  /** How much of the file has been read, 0 to 1. */
  share: () => number;
}

/** A file as a whole can't be read as orders. */
export class UnusableFile extends Error {
  override readonly name = 'UnusableFile';
}

type Row = OrderRow | UnreadableRow;
/** A line of text up to its line feed, or what is wrong with it. */
type Line = { number: number; text: string } | { number: number; text: null; problem: string };
/** A part of a ZIP archive; its types leave the size out that its header claims. */
type Part = Entry & { vars: { uncompressedSize?: number | null } };
type Cell = string | number | boolean | Date | null | undefined;

/** No order is this long (a message takes 1 MiB); it keeps a file without line ends out of memory. */
const MAX_LINE = 4 * 1_048_576;
/** Reading a sheet takes three to four times its XML in memory. */
const MAX_INFLATED_BYTES = 100 * 1_048_576;
const LINE_FEED = 10;
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?$/;

/**
 * Opens a file of orders, by its name's ending:
 * `.jsonl` and `.ndjson` (an order a line; the line is the message, byte by byte), `.json` (a list of orders, or one),
 * `.csv` (separated by commas, semicolons or tabs) and `.xlsx` (the first sheet). The last two have a header that
 * names columns as the order event's fields, `items` being JSON; other columns are kept, empty cells left out.
 * Lines and CSV are read as they are needed, the others as a whole.
 * @throws UnusableFile
 */
export async function openOrderFile(path: string): Promise<OrderFile> {
  const open = READERS[extname(path).toLowerCase()];
  if (!open) throw new UnusableFile(`${path} must end in ${Object.keys(READERS).join(', ')}`);
  const { size, isDirectory } = await statOf(path);
  if (isDirectory) throw new UnusableFile(`${path} is a directory`);
  if (size === 0) throw new UnusableFile(`${path} is empty`);
  return open(path, size);
}

const READERS: Record<string, (path: string, size: number) => OrderFile | Promise<OrderFile>> = {
  '.jsonl': openJsonLines,
  '.ndjson': openJsonLines,
  '.json': openJson,
  '.csv': openCsv,
  '.xlsx': openSheet,
};

function openJsonLines(path: string, size: number): OrderFile {
  const text = new TextLines(path, size);
  return { unit: 'line', rows: jsonRows(text.lines()), share: () => text.share() };
}

async function* jsonRows(lines: AsyncIterable<Line>): AsyncGenerator<Row> {
  for await (const line of lines) {
    if (line.text === null) {
      yield { line: line.number, problem: line.problem };
    } else if (line.text.trim() !== '') {
      const problem = jsonProblem(line.text);
      yield problem === null
        ? { line: line.number, body: withoutReturn(line.text) }
        : { line: line.number, problem: `not JSON (${problem})` };
    }
  }
}

async function openJson(path: string): Promise<OrderFile> {
  const text = await readText(path);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new UnusableFile(
      `${path} is not JSON (${messageOf(error)}). If it has an order on each line, name it .jsonl.`,
    );
  }
  if (typeof parsed !== 'object' || parsed === null) {
    throw new UnusableFile(`${path} holds neither a list of orders nor an order`);
  }
  const orders: unknown[] = Array.isArray(parsed) ? parsed : [parsed];
  return wholeFile('order', orders.length, function* () {
    for (const [index, order] of orders.entries()) yield { line: index + 1, body: sendable(JSON.stringify(order)) };
  });
}

async function openSheet(path: string): Promise<OrderFile> {
  await assertInflatesWithinLimit(path);
  const sheet = (await readSheet(path).catch((error: unknown) => failToRead(path, error))) as unknown as Cell[][];
  const rows = sheet.map((cells, index) => ({ line: index + 1, cells })).filter(({ cells }) => !isBlank(cells));
  const [header, ...orders] = rows;
  if (!header) throw new UnusableFile(`${path} is empty`);
  const names = columnsOf(
    path,
    header.cells.map((cell) => String(cell ?? '')),
  );
  return wholeFile('row', orders.length, function* () {
    for (const { line, cells } of orders) yield rowOf(line, names, cells);
  });
}

/**
 * Reads a ZIP archive as readSheet does, with the same parser, but keeps nothing of it.
 * @throws UnusableFile where its parts inflate, or claim to, to more than {@link MAX_INFLATED_BYTES}
 */
async function assertInflatesWithinLimit(path: string): Promise<void> {
  let inflated = 0;
  const inflate = async (parts: AsyncIterable<Part>): Promise<void> => {
    for await (const part of parts) {
      // readSheet reserves what a part claims, which may be less than it inflates to.
      const claimed = part.vars.uncompressedSize ?? 0;
      inflated += claimed;
      if (inflated > MAX_INFLATED_BYTES) return;
      let size = 0;
      for await (const chunk of part as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > claimed) inflated += chunk.length;
        if (inflated > MAX_INFLATED_BYTES) return;
      }
    }
  };
  await pipeline(createReadStream(path), Parse({ forceStream: true }), inflate).catch((error: unknown) => {
    // To stop reading may end the pipeline with an error.
    if (inflated <= MAX_INFLATED_BYTES) failToRead(path, error);
  });
  if (inflated > MAX_INFLATED_BYTES) {
    throw new UnusableFile(`${path} inflates to more than 100 MiB; save it as .csv, which is read line by line`);
  }
}

function wholeFile(unit: OrderFile['unit'], count: number, read: () => Iterable<Row>): OrderFile {
  let taken = 0;
  async function* rows(): AsyncGenerator<Row> {
    for (const row of read()) {
      taken++;
      yield row;
    }
  }
  return { unit, rows: rows(), share: () => (count === 0 ? 1 : taken / count) };
}

function openCsv(path: string, size: number): OrderFile {
  const text = new TextLines(path, size);
  return { unit: 'line', rows: csvRows(path, text.lines()), share: () => text.share() };
}

/**
 * A record goes on over line ends for as long as a quote is open. One stray quote would so swallow all that
 * follows (what CSV libraries do); therefore a record that does not come out is given up at its first line, and
 * reading goes on with the line after that.
 */
async function* csvRows(path: string, source: AsyncGenerator<Line, undefined>): AsyncGenerator<Row> {
  const again: Line[] = []; // lines to be read again, the next one last
  const next = async (): Promise<Line | undefined> => again.pop() ?? (await source.next()).value;
  let delimiter: string | undefined;
  let names: string[] | undefined;

  for (let first = await next(); first; first = await next()) {
    if (first.text === null) {
      yield { line: first.number, problem: first.problem };
      continue;
    }
    if (first.text.trim() === '') continue;
    delimiter ??= delimiterOf(first.text);
    const following: Line[] = [];
    let record: string | null = first.text;
    let quotes = quotesIn(record);
    while (record !== null && quotes % 2 === 1) {
      const more = await next();
      if (more) following.push(more);
      record = more && more.text !== null && record.length < MAX_LINE ? `${record}\n${more.text}` : null;
      quotes += quotesIn(more?.text ?? '');
    }
    const cells = record === null ? null : cellsOf(withoutReturn(record), delimiter);
    if (!cells) again.push(...following.reverse());
    if (!names) {
      if (!cells) throw new UnusableFile(`${path} has a header with a stray quote`);
      names = columnsOf(path, cells);
    } else if (!cells) {
      yield { line: first.number, problem: 'a quote is stray or never closed' };
    } else if (!isBlank(cells)) {
      yield cells.length === names.length
        ? rowOf(first.number, names, cells)
        : { line: first.number, problem: `it has ${cells.length} cells, the header ${names.length}` };
    }
  }
}

/** The one of the usual delimiters that the header has most of. */
function delimiterOf(header: string): string {
  const count = (delimiter: string): number => header.split(delimiter).length;
  return [',', ';', '\t'].reduce((best, delimiter) => (count(delimiter) > count(best) ? delimiter : best));
}

/** The cells of a record; null where a quote stands where none may. */
function cellsOf(record: string, delimiter: string): string[] | null {
  try {
    const [cells] = parseCsv(record, { delimiter, record_delimiter: [] });
    return cells ?? null;
  } catch (error) {
    if (error instanceof CsvError) return null;
    throw error;
  }
}

/** What remains of a line end of Windows is no part of the line, but within a quoted cell it is. */
function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}

function quotesIn(text: string): number {
  return text.split('"').length - 1;
}

function columnsOf(path: string, header: string[]): string[] {
  const names = header.map((name) => name.trim());
  if (!names.some((name) => (ORDER_FIELDS as readonly string[]).includes(name))) {
    throw new UnusableFile(
      `${path} must begin with a header that names columns such as ${ORDER_FIELDS.slice(0, 5).join(', ')}`,
    );
  }
  const twice = names.find((name, index) => name !== '' && names.indexOf(name) !== index);
  if (twice) throw new UnusableFile(`${path} has two columns named ${twice}`);
  return names;
}

/** A row of cells as an order event. Numbers stay the digits they are. */
function rowOf(line: number, names: string[], cells: Cell[]): Row {
  const fields: string[] = [];
  for (const [index, name] of names.entries()) {
    const cell = cells[index];
    if (isEmpty(cell)) continue;
    if (name === '') return { line, problem: `column ${index + 1} has a value and no name` };
    if (cell instanceof Date && Number.isNaN(cell.getTime())) return { line, problem: `${name} is no possible date` };
    if (name === 'items' && typeof cell === 'string') {
      const problem = jsonProblem(cell);
      if (problem !== null) return { line, problem: `items is not JSON (${problem})` };
    }
    fields.push(`${JSON.stringify(name)}:${valueOf(name, cell)}`);
  }
  return { line, body: sendable(`{${fields.join(',')}}`) };
}

function valueOf(name: string, cell: NonNullable<Cell>): string {
  if (cell instanceof Date) return JSON.stringify(timeOf(cell));
  if (typeof cell !== 'string') return JSON.stringify(cell);
  if (name === 'items' || (name === 'order_value' && JSON_NUMBER.test(cell.trim()))) return cell.trim();
  return JSON.stringify(cell);
}

/** A sheet keeps times as fractions of a day, which come out up to a millisecond off. */
function timeOf(date: Date): string {
  return new Date(Math.round(date.getTime() / 10) * 10).toISOString();
}

function isBlank(cells: Cell[]): boolean {
  return cells.every(isEmpty);
}

function isEmpty(cell: Cell): cell is null | undefined | '' {
  return cell === null || cell === undefined || cell === '';
}

/** JSON says the same with escapes, which every queue takes: SQS refuses U+FFFE and U+FFFF, its emulators more. */
function sendable(json: string): string {
  return json.replace(/[\uD800-\uDFFF\uFFFE\uFFFF]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16)}`);
}

function jsonProblem(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

/** The lines of a text file, read as they are needed. */
class TextLines {
  private bytesRead = 0;
  private readonly decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(
    private readonly path: string,
    private readonly size: number,
  ) {}

  share(): number {
    return Math.min(1, this.bytesRead / this.size);
  }

  async *lines(): AsyncGenerator<Line, undefined> {
    let number = 0;
    let pieces: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of createReadStream(this.path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
        let start = this.bytesRead === 0 ? afterByteOrderMark(this.path, chunk) : 0;
        this.bytesRead += chunk.length;
        for (let end = chunk.indexOf(LINE_FEED, start); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
          yield this.lineOf(++number, [...pieces, chunk.subarray(start, end)], length + end - start);
          [pieces, length] = [[], 0];
          start = end + 1;
        }
        length += chunk.length - start;
        if (length <= MAX_LINE) pieces.push(chunk.subarray(start));
        else pieces = [];
      }
    } catch (error) {
      if (error instanceof UnusableFile) throw error;
      failToRead(this.path, error);
    }
    if (length > 0) yield this.lineOf(++number, pieces, length);
    return undefined;
  }

  private lineOf(number: number, pieces: Buffer[], length: number): Line {
    if (length > MAX_LINE) return { number, text: null, problem: 'longer than 4 MiB' };
    try {
      return { number, text: this.decoder.decode(pieces.length === 1 ? pieces[0] : Buffer.concat(pieces)) };
    } catch {
      return { number, text: null, problem: 'not UTF-8 text' };
    }
  }
}

/**
 * The text of a file, without its byte order mark.
 * @throws UnusableFile
 */
export async function readText(path: string): Promise<string> {
  const content = await readFile(path).catch((error: unknown) => failToRead(path, error));
  const text = content.subarray(afterByteOrderMark(path, content));
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text);
  } catch {
    throw new UnusableFile(`${path} is not UTF-8 text`);
  }
}

/** Where the text begins. @throws UnusableFile where the mark is UTF-16's */
function afterByteOrderMark(path: string, start: Buffer): number {
  const mark = start.subarray(0, 3).toString('hex');
  if (mark.startsWith('fffe') || mark.startsWith('feff')) {
    throw new UnusableFile(`${path} is UTF-16 text; save it as UTF-8`);
  }
  return mark === 'efbbbf' ? 3 : 0;
}

async function statOf(path: string): Promise<{ size: number; isDirectory: boolean }> {
  const found = await stat(path).catch((error: unknown) => failToRead(path, error));
  return { size: found.size, isDirectory: found.isDirectory() };
}

function failToRead(path: string, error: unknown): never {
  const reasons: Record<string, string> = {
    ENOENT: 'does not exist',
    EACCES: 'may not be read by this user',
    EPERM: 'may not be read by this user',
  };
  const reason = reasons[(error as NodeJS.ErrnoException).code ?? ''] ?? `can't be read: ${messageOf(error)}`;
  throw new UnusableFile(`${path} ${reason}`);
}
