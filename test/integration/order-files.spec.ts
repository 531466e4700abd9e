import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import writeExcelFile from 'write-excel-file/node';
import { openOrderFile, type OrderRow, type UnreadableRow } from '../../src/cli/order-files.js';
import { type ZipPart, zipOf, zipPart } from '../support/zip.js';

const MIB = 1_048_576;
const ITEMS = '[{"product_id":"P1","quantity":2,"price_per_unit":2.50}]';
const QUOTED_ITEMS = `"${ITEMS.replaceAll('"', '""')}"`;
const HEADER = 'order_id,user_id,order_timestamp,order_value,items';

let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'order-files-'))));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function rowsOf(path: string): Promise<(OrderRow | UnreadableRow)[]> {
  const rows: (OrderRow | UnreadableRow)[] = [];
  for await (const row of (await openOrderFile(path)).rows) rows.push(row);
  return rows;
}

const rowsIn = (name: string, content: string | Buffer): Promise<(OrderRow | UnreadableRow)[]> =>
  rowsOf(fileOf(name, content));

describe('A file of JSON lines', () => {
  it('gives each line as it is', async () => {
    const odd = '  {"order_id" : "ORD1","order_value":1.50, "note":"ü 😀"}\t';
    expect(await rowsIn('a.jsonl', `${odd}\n{"b":2}\n`)).toEqual([
      { line: 1, body: odd },
      { line: 2, body: '{"b":2}' },
    ]);
  });

  it('gives bad orders as they are, whatever JSON they are', async () => {
    expect(await rowsIn('a.ndjson', '{}\n42\n"text"\nnull\n[]')).toHaveLength(5);
    expect(await rowsIn('a.ndjson', '{"user_id":""}')).toEqual([{ line: 1, body: '{"user_id":""}' }]);
  });

  it('names the lines that are not JSON', async () => {
    expect(await rowsIn('a.jsonl', '{"a":1}\n{"a":\n{"a":3}\n')).toEqual([
      { line: 1, body: '{"a":1}' },
      { line: 2, problem: expect.stringMatching(/^not JSON \(.+\)$/) },
      { line: 3, body: '{"a":3}' },
    ]);
  });

  it('counts blank lines but does not give them', async () => {
    expect(await rowsIn('a.jsonl', '\n{"a":1}\n\n  \n{"a":2}\n\n')).toEqual([
      { line: 2, body: '{"a":1}' },
      { line: 5, body: '{"a":2}' },
    ]);
  });

  it('may have a byte order mark, Windows line ends and no end to its last line', async () => {
    expect(await rowsIn('a.JSONL', '\uFEFF{"a":1}\r\n{"a":2}')).toEqual([
      { line: 1, body: '{"a":1}' },
      { line: 2, body: '{"a":2}' },
    ]);
  });

  it('names a line that is not UTF-8', async () => {
    const content = Buffer.from('{"a":"\xe9"}\n{"a":2}\n', 'latin1');
    expect(await rowsIn('a.jsonl', content)).toEqual([
      { line: 1, problem: 'not UTF-8 text' },
      { line: 2, body: '{"a":2}' },
    ]);
  });

  it('names a line that is far too long, without keeping it', async () => {
    const rows = await rowsIn('a.jsonl', `{"a":"${'x'.repeat(5 * MIB)}"}\n{"a":2}\n`);
    expect(rows).toEqual([
      { line: 1, problem: 'longer than 4 MiB' },
      { line: 2, body: '{"a":2}' },
    ]);
  });

  it('gives lines whole that are longer than what is read at once', async () => {
    const long = `{"a":"${'é😀'.repeat(200_000)}"}`;
    expect(await rowsIn('a.jsonl', `${long}\n${long}\n`)).toEqual([
      { line: 1, body: long },
      { line: 2, body: long },
    ]);
  });

  it('is read only as far as it is asked for', async () => {
    const file = await openOrderFile(fileOf('a.jsonl', '{"a":1}\n'.repeat(500_000)));
    expect(file.share()).toBe(0);
    for await (const row of file.rows) {
      expect(row.line).toBe(1);
      break;
    }
    expect(file.share()).toBeLessThan(0.1);
  });
});

describe('A JSON file', () => {
  it('gives each order of its list', async () => {
    expect(await rowsIn('a.json', '[{"order_id":"ORD1","items":[{"quantity":1}]},\n {"order_id":"ORD2"}, 5]')).toEqual([
      { line: 1, body: '{"order_id":"ORD1","items":[{"quantity":1}]}' },
      { line: 2, body: '{"order_id":"ORD2"}' },
      { line: 3, body: '5' },
    ]);
  });

  it('gives its one order', async () => {
    expect(await rowsIn('a.json', '\uFEFF{"order_id":"ORD1"}')).toEqual([{ line: 1, body: '{"order_id":"ORD1"}' }]);
  });

  it('says where it is broken, and what else it may be', async () => {
    await expect(rowsIn('a.json', '{"a":1}\n{"a":2}\n')).rejects.toThrow(/line 2 column 1.*name it \.jsonl/);
  });

  it('must hold orders', async () => {
    await expect(rowsIn('a.json', '"ORD1"')).rejects.toThrow('neither a list of orders nor an order');
  });
});

describe('A CSV file', () => {
  it('gives each row as an order event, numbers with the digits they have', async () => {
    const row = `ORD1,U7,2026-01-31T12:00:00Z,5.00,${QUOTED_ITEMS}`;
    expect(await rowsIn('a.csv', `${HEADER}\n${row}\n`)).toEqual([
      {
        line: 2,
        body: `{"order_id":"ORD1","user_id":"U7","order_timestamp":"2026-01-31T12:00:00Z","order_value":5.00,"items":${ITEMS}}`,
      },
    ]);
  });

  it('leaves empty cells out and keeps unknown columns', async () => {
    expect(await rowsIn('a.csv', 'order_id,user_id,gift wrap,order_value\nORD1,,"red, ""shiny""",n/a\n')).toEqual([
      { line: 2, body: '{"order_id":"ORD1","gift wrap":"red, \\"shiny\\"","order_value":"n/a"}' },
    ]);
  });

  it.each([
    ['semicolons', ';'],
    ['tabs', '\t'],
  ])('may be separated by %s', async (_name, delimiter) => {
    const content = ['order_id,user_id,items', `ORD1,"U7",${QUOTED_ITEMS}`];
    const cells = content[1]!.replace('ORD1,"U7",', `ORD1${delimiter}"U7"${delimiter}`);
    expect(await rowsIn('a.csv', `${content[0]!.replaceAll(',', delimiter)}\n${cells}`)).toEqual([
      { line: 2, body: `{"order_id":"ORD1","user_id":"U7","items":${ITEMS}}` },
    ]);
  });

  it('may have a byte order mark, Windows line ends and cells of several lines', async () => {
    const content = '\uFEFForder_id,shipping_address\r\nORD1,"1 Main St\r\nTown"\r\n\r\nORD2,x\r\n,\r\n';
    expect(await rowsIn('a.csv', content)).toEqual([
      { line: 2, body: '{"order_id":"ORD1","shipping_address":"1 Main St\\r\\nTown"}' },
      { line: 5, body: '{"order_id":"ORD2","shipping_address":"x"}' },
    ]);
  });

  it('names a row whose items are not JSON', async () => {
    const rows = await rowsIn('a.csv', `order_id,items\nORD1,"[{"\nORD2,[]\nORD3,5\n`);
    expect(rows).toEqual([
      { line: 2, problem: expect.stringMatching(/^items is not JSON/) },
      { line: 3, body: '{"order_id":"ORD2","items":[]}' },
      { line: 4, body: '{"order_id":"ORD3","items":5}' },
    ]);
  });

  it('names a row with more or fewer cells than the header', async () => {
    expect(await rowsIn('a.csv', 'order_id,user_id\nORD1\nORD2,U2,x\nORD3,U3\n')).toEqual([
      { line: 2, problem: 'it has 1 cells, the header 2' },
      { line: 3, problem: 'it has 3 cells, the header 2' },
      { line: 4, body: '{"order_id":"ORD3","user_id":"U3"}' },
    ]);
  });

  it.each([
    ['never closed', 'ORD2,"U2'],
    ['in a plain cell', 'ORD2,5" pipe'],
    ['followed by text', 'ORD2,"U2"x'],
    ['opening where it should close', 'ORD2,"U2" "'],
  ])('loses no other row to a quote that is %s', async (_case, broken) => {
    expect(await rowsIn('a.csv', `order_id,items\nORD1,[]\n${broken}\nORD3,"[\n]"\nORD4,[]\n`)).toEqual([
      { line: 2, body: '{"order_id":"ORD1","items":[]}' },
      { line: 3, problem: 'a quote is stray or never closed' },
      { line: 4, body: '{"order_id":"ORD3","items":[\n]}' },
      { line: 6, body: '{"order_id":"ORD4","items":[]}' },
    ]);
  });

  it('reads on in order after a quote that nothing closes', async () => {
    const rows = await rowsIn('a.csv', 'order_id\nORD1\n"ORD2\nORD3\nORD4\nORD5');
    expect(rows.map(({ line }) => line)).toEqual([2, 3, 4, 5, 6]);
    expect(rows.map((row) => 'body' in row)).toEqual([true, false, true, true, true]);
  });

  it('names a row that is not UTF-8', async () => {
    const content = Buffer.from('order_id,shipping_address\nORD1,Orl\xe9ans\nORD2,Paris\n', 'latin1');
    expect(await rowsIn('a.csv', content)).toEqual([
      { line: 2, problem: 'not UTF-8 text' },
      { line: 3, body: '{"order_id":"ORD2","shipping_address":"Paris"}' },
    ]);
  });

  it('reads a row with ten thousand items', async () => {
    const items = JSON.stringify(Array.from({ length: 10_000 }, (_, n) => ({ product_id: `P${n}`, quantity: 1 })));
    const content = `order_id,items\nORD1,"${items.replaceAll('"', '""')}"\n`;
    expect(await rowsIn('a.csv', content)).toEqual([{ line: 2, body: `{"order_id":"ORD1","items":${items}}` }]);
  });

  it('writes characters that some queues refuse as escapes', async () => {
    const [row] = await rowsIn('a.csv', 'order_id,shipping_address\nORD1,😀 \uFFFF\n');
    expect((row as OrderRow).body).toBe('{"order_id":"ORD1","shipping_address":"\\ud83d\\ude00 \\uffff"}');
  });

  it('must name known columns, each once', async () => {
    await expect(rowsIn('a.csv', 'id;user\n1;2\n')).rejects.toThrow('must begin with a header');
    await expect(rowsIn('a.csv', 'order_id,order_id\n1,2\n')).rejects.toThrow('two columns named order_id');
    await expect(rowsIn('a.csv', '"order_id,user_id\n1,2\n')).rejects.toThrow('stray quote');
  });

  it('names a value in a column without a name', async () => {
    expect(await rowsIn('a.csv', 'order_id,\nORD1,x\nORD2,\n')).toEqual([
      { line: 2, problem: 'column 2 has a value and no name' },
      { line: 3, body: '{"order_id":"ORD2"}' },
    ]);
  });

  it('gives back whatever cells it was written from', async () => {
    const cell = fc.string({ unit: fc.constantFrom('a', ' ', '"', ',', ';', '\n', '\r', 'é', '😀') });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(cell, cell), { minLength: 1 }), async (table) => {
        const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;
        const lines = table.map((cells) => ['ORD1', ...cells].map(quoted).join(','));
        const rows = await rowsIn('property.csv', `order_id,one,two\n${lines.join('\n')}`);
        const events = rows.map((row) => JSON.parse((row as OrderRow).body) as { one?: string; two?: string });
        expect(events.map(({ one = '', two = '' }) => [one, two])).toEqual(table);
      }),
    );
  });
});

describe('A sheet', () => {
  const header = ['order_id', 'user_id', 'order_timestamp', 'order_value', 'items', 'gift'];
  const head = header.map((value) => ({ value }));

  async function sheetOf(rows: ({ value: unknown; type?: unknown; format?: string } | null)[][]): Promise<string> {
    const path = join(folder, 'a.xlsx');
    await writeExcelFile(rows as never).toFile(path);
    return path;
  }

  it('gives each row as an order event, dates as ISO times', async () => {
    const when = new Date('2010-12-01T08:26:00Z');
    const path = await sheetOf([
      head,
      [
        { value: 'ORD1' },
        { value: 'U7' },
        { value: when, type: Date, format: 'yyyy-mm-dd hh:mm:ss' },
        { value: 20.34 },
        { value: ITEMS },
        { value: true, type: Boolean },
      ],
    ]);
    expect(await rowsOf(path)).toEqual([
      {
        line: 2,
        body: `{"order_id":"ORD1","user_id":"U7","order_timestamp":"2010-12-01T08:26:00.000Z","order_value":20.34,"items":${ITEMS},"gift":true}`,
      },
    ]);
  });

  it('leaves empty cells and rows out, and names rows by their number', async () => {
    const empty = header.map(() => null);
    const row = (...cells: string[]): ({ value: string } | null)[] =>
      header.map((_, index) => (cells[index] ? { value: cells[index] } : null));
    const path = await sheetOf([empty, head, row('ORD1'), empty, row('ORD2', '', '', '', 'oops'), row('', 'U3')]);
    expect(await rowsOf(path)).toEqual([
      { line: 3, body: '{"order_id":"ORD1"}' },
      { line: 5, problem: expect.stringMatching(/^items is not JSON/) },
      { line: 6, body: '{"user_id":"U3"}' },
    ]);
  });

  it('must be one', async () => {
    await expect(rowsIn('b.xlsx', 'order_id,user_id\n')).rejects.toThrow("b.xlsx can't be read");
  });

  it('must name known columns', async () => {
    const path = await sheetOf([[{ value: 'id' }], [{ value: 'ORD1' }]]);
    await expect(rowsOf(path)).rejects.toThrow('must begin with a header');
  });
});

describe('A sheet that inflates', () => {
  const NAMESPACE = 'http://schemas.openxmlformats.org';
  const RELATIONSHIPS = `${NAMESPACE}/officeDocument/2006/relationships`;
  const cell = (at: string, text: string): string => `<c r="${at}" t="inlineStr"><is><t>${text}</t></is></c>`;
  const sheet = [
    zipPart(
      'xl/workbook.xml',
      `<workbook xmlns="${NAMESPACE}/spreadsheetml/2006/main" xmlns:r="${RELATIONSHIPS}"><sheets><sheet name="1" sheetId="1" r:id="r1"/></sheets></workbook>`,
    ),
    zipPart(
      'xl/_rels/workbook.xml.rels',
      `<Relationships xmlns="${NAMESPACE}/package/2006/relationships"><Relationship Id="r1" Type="${RELATIONSHIPS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`,
    ),
    zipPart(
      'xl/worksheets/sheet1.xml',
      `<worksheet xmlns="${NAMESPACE}/spreadsheetml/2006/main"><sheetData><row r="1">${cell('A1', 'order_id')}</row><row r="2">${cell('A2', 'ORD1')}</row></sheetData></worksheet>`,
    ),
  ];
  const blanks = (mib: number): ZipPart => zipPart('docProps/app.xml', Buffer.alloc(mib * MIB, ' '));
  const refusal = 'c.xlsx inflates to more than 100 MiB; save it as .csv, which is read line by line';
  let bomb: ZipPart;
  beforeAll(() => (bomb = blanks(101)));

  it('to less than 100 MiB is read', async () => {
    expect(await rowsIn('c.xlsx', zipOf(...sheet, blanks(50)))).toEqual([{ line: 2, body: '{"order_id":"ORD1"}' }]);
  });

  it('to more is refused', async () => {
    const file = zipOf(...sheet, bomb);
    expect(file.length).toBeLessThan(MIB / 2);
    await expect(rowsIn('c.xlsx', file)).rejects.toThrow(refusal);
  });

  it.each([
    ['ten bytes', 10],
    ['nothing', 0],
    ['what a missing header says', 0xffffffff],
  ])('to more is refused, too, where it claims %s', async (_what, claimedSize) => {
    await expect(rowsIn('c.xlsx', zipOf(...sheet, { ...bomb, claimedSize }))).rejects.toThrow(refusal);
  });

  it('to less is refused where it claims more', async () => {
    await expect(rowsIn('c.xlsx', zipOf(...sheet, { ...blanks(1), claimedSize: 101 * MIB }))).rejects.toThrow(refusal);
  });

  it('is refused where its parts are too large together, read or not', async () => {
    const parts = [blanks(51), { ...blanks(51), name: 'xl/media/image1.png' }];
    await expect(rowsIn('c.xlsx', zipOf(...sheet, ...parts))).rejects.toThrow(refusal);
  });
});

describe('An unusable file is refused:', () => {
  it('one that is missing', async () => {
    await expect(rowsOf(join(folder, 'missing.csv'))).rejects.toThrow('missing.csv does not exist');
  });

  it('one without content', async () => {
    await expect(rowsIn('empty.jsonl', '')).rejects.toThrow('empty.jsonl is empty');
  });

  it('one of another kind', async () => {
    await expect(rowsIn('a.txt', '{}')).rejects.toThrow('must end in .jsonl, .ndjson, .json, .csv, .xlsx');
  });

  it('a directory', async () => {
    const path = join(folder, 'directory.csv');
    mkdirSync(path);
    await expect(rowsOf(path)).rejects.toThrow('directory.csv is a directory');
  });

  it.each(['.csv', '.jsonl', '.json'])('one in UTF-16: %s', async (ending) => {
    await expect(rowsIn(`a${ending}`, Buffer.from('\uFEFF{"a":1}', 'utf16le'))).rejects.toThrow('save it as UTF-8');
  });
});
