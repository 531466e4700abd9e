import { deflateRawSync } from 'node:zlib';

const LOCAL_HEADER = 0x04034b50;
const DIRECTORY_HEADER = 0x02014b50;
const DIRECTORY_END = 0x06054b50;
const VERSION = 20;
const DEFLATE = 8;
const NO_TIME = 0;
const NO_CHECKSUM = 0;

/** A part of a ZIP archive, deflated. */
export interface ZipPart {
  name: string;
  deflated: Buffer;
  /** The size that the headers claim it inflates to; 0xffffffff refers to a ZIP64 header, which is missing. */
  claimedSize: number;
}

/** A part with its true size. */
export function zipPart(name: string, content: string | Buffer): ZipPart {
  return { name, deflated: deflateRawSync(content), claimedSize: Buffer.byteLength(content) };
}

/** A ZIP archive (APPNOTE.TXT, section 4.3) that may claim what is not so. Its checksums are 0. */
export function zipOf(...parts: ZipPart[]): Buffer {
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, deflated, claimedSize } of parts) {
    const shared = bytes(
      [2, 0],
      [2, DEFLATE],
      [4, NO_TIME],
      [4, NO_CHECKSUM],
      [4, deflated.length],
      [4, claimedSize],
      [2, name.length],
      [2, 0],
    );
    const file = Buffer.concat([bytes([4, LOCAL_HEADER], [2, VERSION]), shared, Buffer.from(name), deflated]);
    const rest = bytes([2, 0], [2, 0], [2, 0], [4, 0], [4, offset]);
    directory.push(bytes([4, DIRECTORY_HEADER], [2, VERSION], [2, VERSION]), shared, rest, Buffer.from(name));
    files.push(file);
    offset += file.length;
  }
  const listed = Buffer.concat(directory);
  const count: Field[] = [
    [2, parts.length],
    [2, parts.length],
  ];
  const end = bytes([4, DIRECTORY_END], [2, 0], [2, 0], ...count, [4, listed.length], [4, offset], [2, 0]);
  return Buffer.concat([...files, listed, end]);
}

type Field = [size: number, value: number];

function bytes(...fields: Field[]): Buffer {
  return Buffer.concat(
    fields.map(([size, value]) => {
      const field = Buffer.alloc(size);
      field.writeUIntLE(value, 0, size);
      return field;
    }),
  );
}
