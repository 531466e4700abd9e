import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { archiveLine, EMPTY_HISTORY, historyHash, readArchiveLine } from './archive-lines.rules.js';

const CONTENT = 'ab'.repeat(32);

function sha256(...parts: (Buffer | string)[]): string {
  return parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex');
}

describe('A line of an archive', () => {
  it('is read as it was written, whatever is in it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.jsonValue(), (body, any) => {
        const entry = { type: 'entry', body: body.toWellFormed(), any };
        const read = readArchiveLine(archiveLine(JSON.stringify(entry)));
        expect(JSON.stringify({ ...read, check: undefined })).toEqual(JSON.stringify(entry));
      }),
    );
  });

  it('is not read where any character of it was changed, added or taken out', () => {
    const line = archiveLine('{"type":"entry","position":12,"user_id":"U1"}');
    for (let at = 0; at < line.length; at++) {
      for (const other of [line.slice(0, at) + line.slice(at + 1), `${line.slice(0, at)}~${line.slice(at)}`]) {
        expect(() => readArchiveLine(other)).toThrow();
      }
    }
  });

  it.each([
    ['', 'no line of an exported ledger'],
    ['{}', 'no line of an exported ledger'],
    [archiveLine('{"type":"gift"}'), 'its type "gift" is not known'],
    [archiveLine('{"type":"ledger","version":2}'), 'its version is 2'],
  ])('is refused with the reason: %s', (line, reason) => {
    expect(() => readArchiveLine(line)).toThrow(reason);
  });
});

describe('The hash of a history', () => {
  const order = { kind: 'order', content_hash: CONTENT, ref_position: null } as const;

  it('begins with the hash of nothing', () => {
    expect(EMPTY_HISTORY).toBe(sha256(''));
  });

  it.each([
    ['an order that counts', { ...order, outcome: 'corrected', value_cents: 1_050 }, 'corrected|1050'],
    ['an order that failed', { ...order, outcome: 'failed', value_cents: null }, 'failed'],
    ['a repair', { ...order, kind: 'repair', outcome: 'accepted', value_cents: null, ref_position: 7 }, 'repair|7'],
    [
      'a refund',
      { ...order, kind: 'refund', outcome: 'accepted', value_cents: 5, ref_position: 7 },
      'refund|accepted|5|7',
    ],
    [
      'a refund too many',
      { ...order, kind: 'refund', outcome: 'failed', value_cents: null, ref_position: 7 },
      'refund|failed|7',
    ],
    ['a wrong refund', { ...order, kind: 'refund', outcome: 'failed', value_cents: null }, 'refund|failed'],
  ] as const)('goes on over content and meaning of %s', (_what, entry, meaning) => {
    const before = Buffer.from(EMPTY_HISTORY, 'hex');
    expect(historyHash(EMPTY_HISTORY, entry)).toBe(sha256(before, Buffer.from(CONTENT, 'hex'), meaning));
  });

  it('is not made up for a kind that is not known', () => {
    const gift = { ...order, kind: 'gift' as 'order', outcome: 'accepted', value_cents: null } as const;
    expect(() => historyHash(EMPTY_HISTORY, gift)).toThrow('its kind "gift" is not known');
  });
});
