import fc from 'fast-check';
import { isDeeper, isJsonDeeper } from './nesting.js';

const isDeep = (json: string, levels: number): boolean => isJsonDeeper(Buffer.from(json), levels);

describe('isJsonDeeper', () => {
  it('finds what isDeeper finds in the parsed value', () => {
    const text = fc.string({ unit: fc.constantFrom('[', ']', '{', '}', '"', '\\', 'é', '學', '\n') });
    const value = fc.letrec((tie) => ({
      value: fc.oneof({ maxDepth: 8 }, text, fc.array(tie('value')), fc.dictionary(text, tie('value'))),
    })).value;
    fc.assert(
      fc.property(value, fc.nat({ max: 8 }), fc.constantFrom(0, 1), (value, levels, indent) => {
        expect(isDeep(JSON.stringify(value, null, indent), levels)).toBe(isDeeper(value, levels));
      }),
    );
  });

  it.each([
    ['[]', 0, true],
    ['[]', 1, false],
    ['[[],[],[[]]]', 2, true],
    ['[[],[],[[]]]', 3, false],
    ['["[[[","\\"[[[","\\\\"]', 1, false],
    ['["\\\\",[]]', 1, true],
    ['"[', 0, false],
    ['"\\', 0, false],
    ['', 0, false],
  ])('of %s more than %i levels: %s', (json, levels, expected) => {
    expect(isDeep(json, levels)).toBe(expected);
  });
});
