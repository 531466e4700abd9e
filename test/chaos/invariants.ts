/** Everything that must always be so, in the order of the report. */
export const INVARIANTS = {
  intake: 'Intake goes on after every fault',
  accounted: 'Every message is accounted for, once',
  dead: 'Nothing is a dead letter',
  positions: 'Positions are gapless',
  lines: 'Lines add up to the value of their order',
  keys: 'Tables of keys equal the ledger',
  history: 'History is chained, and never rewritten',
  redis: 'Redis equals the ledger',
  sums: 'Users, months and days add up to all',
  rankings: 'Rankings equal the figures that they rank',
  verified: 'The service itself finds no drift',
  reads: 'Reads are exact, or 503 with a known code',
  forward: 'Reads never go back',
  answered: 'A process that runs answers',
  exits: 'A process ends when told, within 10 s',
} as const;

/** The name of one of {@link INVARIANTS}. */
export type Invariant = keyof typeof INVARIANTS;

/** Something that must not be, and when it was found. */
export interface Violation {
  invariant: Invariant;
  round: number;
  text: string;
}

const MAX_TOLD_EACH = 5;

/** How often each invariant was looked at, and what was found wrong. */
export class Findings {
  readonly violations: Violation[] = [];
  /** Of which the run is in, for what is found. */
  round = 0;
  private readonly checks = new Map<Invariant, number>();

  /** Notes that an invariant was looked at, and what is wrong with it. */
  checked(invariant: Invariant, faults: string[] = [], times = 1): void {
    this.checks.set(invariant, (this.checks.get(invariant) ?? 0) + times);
    for (const text of faults) this.violations.push({ invariant, round: this.round, text });
  }

  /** All invariants as a table, then what violates them. */
  report(): string {
    const rows = Object.entries(INVARIANTS).map(([id, title]) => {
      const violations = this.violations.filter(({ invariant }) => invariant === id).length;
      return [title, String(this.checks.get(id as Invariant) ?? 0), String(violations)];
    });
    const [table, told] = [tableOf([['invariant', 'checked', 'violations'], ...rows]), this.told()];
    return told.length > 0 ? `${table}\n\n${told.join('\n')}` : table;
  }

  private told(): string[] {
    return Object.keys(INVARIANTS).flatMap((id) => {
      const found = this.violations.filter(({ invariant }) => invariant === id);
      const lines = found
        .slice(0, MAX_TOLD_EACH)
        .map(({ round, text }) => `VIOLATION in round ${round}, ${id}: ${text}`);
      const more = found.length - MAX_TOLD_EACH;
      return more > 0 ? [...lines, `VIOLATION ${id}: … and ${more} more`] : lines;
    });
  }
}

/** Which invariant a fault that an audit has found is about. */
export function invariantOf(fault: string): Invariant {
  const found = ABOUT.find(([pattern]) => pattern.test(fault));
  return found ? found[1] : 'redis';
}

const ABOUT: [RegExp, Invariant][] = [
  [/^Positions have a gap|^The head is at/, 'positions'],
  [/do not add up to their value|beside their quantity|entries that have a value|without a reason/, 'lines'],
  [/among the keys|^\d+ keys of (?!no generation)|what is noted|more is refunded|wait although|mended twice/, 'keys'],
  [/whose hash does not follow/, 'history'],
  [/^The sum of|^The failed of/, 'sums'],
  [/^The place of/, 'rankings'],
];

/** Columns of the width that they need; numbers to the right. */
function tableOf(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (row: string[]): string =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ');
  return rows.map(line).join('\n');
}
