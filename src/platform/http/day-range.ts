import { QueryDay } from './validation.js';

/** A range of days that a list or figures are asked for. */
export class DayRangeQuery {
  @QueryDay({ description: 'First day, inclusive', example: '2026-01-01' })
  start?: string;

  @QueryDay({ description: 'Last day, inclusive', example: '2026-01-31' })
  end?: string;
}
