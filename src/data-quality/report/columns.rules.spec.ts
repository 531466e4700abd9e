import { AsciiColumn, Column, grouped, membersOf, Numbering } from './columns.rules.js';

it('A column grows and keeps what it had', () => {
  const column = new Column(Float64Array);
  for (let i = 0; i < 5_000; i++) column.push(i / 2);
  expect(column.length).toBe(5_000);
  expect([...column.values()]).toEqual(Array.from({ length: 5_000 }, (_, i) => i / 2));
});

it('A column counts at an index that it did not have', () => {
  const column = new Column(Uint32Array);
  column.increase(2);
  column.increase(0);
  column.increase(2);
  expect([...column.values()]).toEqual([1, 0, 2]);
});

it('A column of texts gives each back, the empty one too', () => {
  const texts = ['ORD-1', '', 'ORD ~!', 'x'.repeat(3_000)];
  const column = new AsciiColumn();
  for (const text of texts) column.push(text);
  expect(texts.map((_, i) => column.at(i))).toEqual(texts);
});

it('A numbering numbers each text once', () => {
  const numbering = new Numbering();
  expect(['b', 'a', 'b', '__proto__'].map((text) => numbering.of(text))).toEqual([0, 1, 0, 2]);
  expect([numbering.size, numbering.textOf(2)]).toEqual([3, '__proto__']);
});

it('Groups keep the order given, and leave out what is in none', () => {
  const groupOf = Uint32Array.of(1, 0, 1, 0xffff_ffff, 0, 1);
  const members = (order?: Uint32Array) => [0, 1, 2].map((group) => [...membersOf(grouped(groupOf, 3, order), group)]);
  expect(members()).toEqual([[1, 4], [0, 2, 5], []]);
  expect(members(Uint32Array.of(5, 4, 3, 2, 1, 0))).toEqual([[4, 1], [5, 2, 0], []]);
});
