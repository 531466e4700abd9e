import { median, type Measurement, type Reading } from './measurement.js';

/** All runs of one side, in their order. */
interface Side {
  median: number;
  runs: number[];
  facts: Record<string, number>[];
}

/** What a measurement came to. */
export interface Result extends Pick<Measurement, 'id' | 'what' | 'against' | 'unit' | 'toReach'> {
  ours: Side;
  /** Null where the target is a figure of its own. */
  limit: Side | null;
  /** Ours divided by the limit: of the medians, and the least and the most of the runs one by one. */
  ratio: { median: number; least: number; most: number } | null;
  reached: boolean;
}

/** Holds what was found against the target. */
export function resultOf(measurement: Measurement, ours: Reading[], limit: Reading[]): Result {
  const { id, what, against, unit, toReach } = measurement;
  const ratios = limit.map(({ value }, run) => ours[run]!.value / value);
  const [ourSide, limitSide] = [sideOf(ours), limit.length > 0 ? sideOf(limit) : null];
  const ratio = limitSide && {
    median: ourSide.median / limitSide.median,
    least: Math.min(...ratios),
    most: Math.max(...ratios),
  };
  const value = ratio?.median ?? ourSide.median;
  const reached = 'atLeast' in toReach ? value >= toReach.atLeast : value <= toReach.withTimeout;
  return { id, what, against, unit, toReach, ours: ourSide, limit: limitSide, ratio, reached };
}

function sideOf(readings: Reading[]): Side {
  const runs = readings.map(({ value }) => value);
  return { median: median(runs), runs, facts: readings.map(({ facts = {} }) => facts) };
}

const HEADINGS = ['measured', 'what', 'against', 'to reach', 'ours', 'limit', 'ratio', 'reached'];

/** As a Markdown table, ready for docs/benchmarks.md. */
export function tableOf(results: Result[]): string {
  const rows = [HEADINGS, ...results.map(cellsOf)];
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const [headings, ...rest] = rows.map(
    (row) => `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`,
  );
  return [headings, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rest].join('\n');
}

/** In short, for whoever watches. */
export function lineOf(result: Result): string {
  const [, , , toReach, ours, limit, ratio, reached] = cellsOf(result);
  return `${ours}${limit && ` against ${limit}`}, ${ratio}, to reach ${toReach}: ${reached}`;
}

function cellsOf({ id, what, against, unit, toReach, ours, limit, ratio, reached }: Result): string[] {
  const bound = 'atLeast' in toReach ? `≥ ${shown(toReach.atLeast)}` : `≤ ${shown(toReach.withTimeout)}`;
  return [
    id,
    what,
    against,
    limit ? bound : `${bound} ${unit}`,
    `${shown(ours.median)} ${unit}`,
    limit ? `${shown(limit.median)} ${unit}` : '',
    ratio
      ? `${ratio.median.toFixed(2)} (${ratio.least.toFixed(2)}–${ratio.most.toFixed(2)})`
      : `(${shown(Math.min(...ours.runs))}–${shown(Math.max(...ours.runs))})`,
    reached ? 'yes' : 'no',
  ];
}

/** Three digits that matter. */
function shown(value: number): string {
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3)));
}
