import { parseShallow, withoutDepths } from './shallow-json.rules.js';

const LEVELS = 2;

/** What JSON.parse makes of a text, with the objects and lists within `LEVELS` others emptied; or that it is no JSON. */
function parsed(text: string): unknown {
  try {
    return emptied(JSON.parse(text), LEVELS);
  } catch {
    return 'no JSON';
  }
}

function parsedWithoutDepths(text: string): unknown {
  try {
    return JSON.parse(withoutDepths(text, LEVELS));
  } catch {
    return 'no JSON';
  }
}

function emptied(value: unknown, levels: number): unknown {
  if (Array.isArray(value)) return levels === 0 ? [] : value.map((inner) => emptied(inner, levels - 1));
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).map(([name, inner]): [string, unknown] => [name, emptied(inner, levels - 1)]);
  return Object.fromEntries(levels === 0 ? [] : members);
}

describe('withoutDepths', () => {
  const inside = [
    ...['[]', '{}', '[1]', '[ -1.5e+3 , "a" ,null]', '{"a":1}', '{"a" : {"b":[true,{}]} , "":[]}', ' \t\r\n[ \n] '],
    ...['["\\"]"]', '["\\\\"]', '["\\\\\\"","\\u00e9[{"]', '{"}":"{"}', '[[],[],[[]]]', '["é\ud800"]'],
    ...['[', ']', '{', '[1', '[1,', '[1,]', '[,1]', '[,]', '[1 2]', '[1][2]', '[[1,]2]', '[}', '{]', '[[}]', '[1]]'],
    ...[
      '{"a"}',
      '{"a":}',
      '{"a":1,}',
      '{,}',
      '{a:1}',
      '{1:1}',
      '{"a"1}',
      '{"a"::1}',
      '{"a":1 "b":2}',
      '{[]:1}',
      '{"a":1:2}',
    ],
    ...['["', '["\\"]', '["\\x"]', '["\n"]', "['a']", '[01]', '[+1]', '[1.]', '[.5]', '[NaN]', '[nul]', '[truefalse]'],
    ...['[undefined]', '[1]x', '[\u00a01]', '[\ufeff]', '[\v]', '["a"b]', '[1"a"]', '[[]1]', '[-]', '[1e]', '[0x1]'],
  ];

  it.each(inside)('leaves JSON what is JSON, and nothing else: %j', (text) => {
    for (const around of ['[%]', '[[%]]', '{"a":[%]}', '[[[%]]]', '[[{"a":%}],1]', '[[[0,%,"]"]]]', '[[[%', '[[[%]]']) {
      const whole = around.replace('%', () => text);
      expect([whole, parsedWithoutDepths(whole)]).toEqual([whole, parsed(whole)]);
    }
  });

  it('leaves JSON what is JSON where any character of it is left out, or another is put in', () => {
    const whole = '[{"a":[{"b":[1,-2.5e3],"c":"x\\"]"},null,[[],{}]]}, [ [ "\\\\" ] , {"d":{"e":[true]}} ],"]}"]';
    let changed = 0;
    for (let at = 0; at < whole.length; at++) {
      for (const put of ['', ' ', ...'[]{},:"\\1-.etn']) {
        for (const skipped of [0, 1]) {
          const text = whole.slice(0, at) + put + whole.slice(at + skipped);
          expect([text, parsedWithoutDepths(text)]).toEqual([text, parsed(text)]);
          changed++;
        }
      }
    }
    expect(changed).toBeGreaterThan(2_000);
  });

  it('leaves a text as it is that is not so deep', () => {
    for (const text of ['[[1,{"a":2}]', '[["[[["]]', '', '5', ']]]', '[[1 2'])
      expect(withoutDepths(text, 3)).toBe(text);
  });
});

describe('parseShallow', () => {
  const openings = (many: number): string => '[],'.repeat(many);

  it('reads what has few objects and lists whole, however deep they are', () => {
    const deep = `${'['.repeat(5_000)}1${']'.repeat(5_000)}`;
    let inner = parseShallow(deep);
    for (let level = 0; level < 5_000; level++) inner = (inner as unknown[])[0];
    expect(inner).toBe(1);
  });

  it('reads 200 levels where there are more than twenty thousand', () => {
    const [deep] = parseShallow(`[${'['.repeat(300)}1${']'.repeat(300)},${openings(20_000)}0]`) as unknown[];
    let inner = deep;
    let levels = 1;
    while ((inner as unknown[]).length > 0) {
      inner = (inner as unknown[])[0];
      levels++;
    }
    expect(levels).toBe(200);
  });

  it('reads an order of ten thousand items whole', () => {
    const order = { items: Array.from({ length: 10_000 }, (_, i) => ({ product_id: `P${i}`, more: { of: [i] } })) };
    expect(parseShallow(JSON.stringify(order))).toEqual(order);
  });

  it.each(['[1,]', '{"a"}', '[', '[1]]'])('throws where what it would leave out is no JSON: %s', (fault) => {
    const around = (inside: string): string => `[${openings(20_000)}${'['.repeat(300)}${inside}${']'.repeat(300)}]`;
    expect(() => parseShallow(around(fault))).toThrow(SyntaxError);
    expect(() => parseShallow(around('[1]'))).not.toThrow();
  });

  it('reads a megabyte of nesting, and finds what is wrong at its end', () => {
    const half = 524_000;
    expect(() => parseShallow(`${'['.repeat(half)}${']'.repeat(half - 1)}`)).toThrow(SyntaxError);
    expect(() => parseShallow(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_001)}`)).toThrow(SyntaxError);
    expect(() => parseShallow(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`)).not.toThrow();
  });
});
