type Numbers = Float64Array | Uint32Array | Uint8Array;

const FIRST_SIZE = 1_024;

/** A list of numbers that grows and takes no more than their own bytes: a million of them are no million objects. */
export class Column<List extends Numbers> {
  private list: List;
  private used = 0;

  constructor(private readonly make: new (size: number) => List) {
    this.list = new make(FIRST_SIZE);
  }

  get length(): number {
    return this.used;
  }

  push(value: number): void {
    if (this.used === this.list.length) {
      const longer = new this.make(this.used * 2);
      longer.set(this.list);
      this.list = longer;
    }
    this.list[this.used++] = value;
  }

  /** Adds to the number at an index; what was not there yet is 0. */
  increase(index: number): void {
    while (this.used <= index) this.push(0);
    this.list[index]!++;
  }

  /** What there is by now. */
  values(): List {
    return this.list.subarray(0, this.used) as List;
  }
}

/** Texts of ASCII characters, as bytes in a row. */
export class AsciiColumn {
  private readonly bytes = new Column(Uint8Array);
  private readonly ends = new Column(Float64Array);

  push(text: string): void {
    for (let i = 0; i < text.length; i++) this.bytes.push(text.charCodeAt(i));
    this.ends.push(this.bytes.length);
  }

  at(index: number): string {
    const ends = this.ends.values();
    return String.fromCharCode(...this.bytes.values().subarray(ends[index - 1] ?? 0, ends[index]));
  }
}

/** Numbers texts from 0 on, each once. */
export class Numbering {
  private readonly numbers = new Map<string, number>();
  private readonly texts: string[] = [];

  get size(): number {
    return this.texts.length;
  }

  of(text: string): number {
    let number = this.numbers.get(text);
    if (number === undefined) {
      number = this.texts.length;
      this.numbers.set(text, number);
      this.texts.push(text);
    }
    return number;
  }

  textOf(number: number): string {
    return this.texts[number]!;
  }
}

/** The values at some indices, in a list of their own. */
export function picked(values: Float64Array, indices: Uint32Array): Float64Array {
  const chosen = new Float64Array(indices.length);
  for (let i = 0; i < indices.length; i++) chosen[i] = values[indices[i]!]!;
  return chosen;
}

/** Indices in groups: those of group g are `members` from `starts[g]` up to `starts[g + 1]`. */
export interface Grouping {
  starts: Uint32Array;
  members: Uint32Array;
}

/**
 * Puts indices into groups, by counting; within a group they stay in the order given.
 * @param groupOf the group of each index, from 0; what is not below `groups` is in none
 * @param indices in the order that groups are to keep; all in ascending order if absent
 */
export function grouped(groupOf: Uint32Array, groups: number, indices?: Uint32Array): Grouping {
  const starts = new Uint32Array(groups + 1);
  for (const group of groupOf) if (group < groups) starts[group + 1]!++;
  for (let group = 0; group < groups; group++) starts[group + 1]! += starts[group]!;
  const next = starts.slice();
  const members = new Uint32Array(starts[groups]!);
  for (let i = 0; i < groupOf.length; i++) {
    const index = indices ? indices[i]! : i;
    const group = groupOf[index]!;
    if (group < groups) members[next[group]!++] = index;
  }
  return { starts, members };
}

/** The members of one group. */
export function membersOf({ starts, members }: Grouping, group: number): Uint32Array {
  return members.subarray(starts[group], starts[group + 1]);
}
