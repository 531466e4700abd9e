import type { SampleRun } from './sample-orders.rules.js';

/** What a run id may look like. */
export const RUN_ID = /^[A-Za-z0-9_-]{1,32}$/;

/** A date, or a date and time, with or without an offset. */
const INSTANT = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$/;

/**
 * Fills in what a caller leaves open.
 * @param chance eight random bytes, for seed and run id
 * @param now ms UTC
 */
export function sampleRun(
  chosen: Partial<SampleRun> & Pick<SampleRun, 'count'>,
  chance: Buffer,
  now: number,
): SampleRun {
  return {
    count: chosen.count,
    invalidRate: chosen.invalidRate ?? 0.2,
    seed: chosen.seed ?? chance.readUInt32BE(0),
    runId: chosen.runId ?? chance.toString('hex', 4, 8).toUpperCase(),
    asOf: chosen.asOf ?? now,
  };
}

/** An ISO 8601 date, or date and time, as ms UTC; without an offset it is UTC. NaN where it is not one. */
export function instantOf(text: string): number {
  const [, date, time, , , offset] = INSTANT.exec(text) ?? [];
  const midnight = Date.parse(`${date}T00:00Z`);
  // Date.parse takes the 30th of February for the 1st of March.
  if (Number.isNaN(midnight) || !new Date(midnight).toISOString().startsWith(date!)) return NaN;
  return time === undefined ? midnight : Date.parse(offset ? text : `${text}Z`);
}
