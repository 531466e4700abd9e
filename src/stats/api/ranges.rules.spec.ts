import { InvalidInput } from '../../shared/errors.js';
import { rangeOfDays, rangeOfMonths } from './ranges.rules.js';

const DAYS = { most: 366, default: 30 };
const MONTHS = { most: 120, default: 12 };

function fieldsOf(work: () => unknown): string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof InvalidInput) return error.fields.map(({ field }) => field);
    throw error;
  }
  return [];
}

describe('rangeOfDays', () => {
  it('is the last 30 days up to today where nothing is given', () => {
    expect(rangeOfDays({}, DAYS, '2026-03-01')).toEqual({ start: '2026-01-31', end: '2026-03-01' });
  });

  it('puts a missing bound 30 days from the other', () => {
    expect(rangeOfDays({ start: '2026-01-31' }, DAYS, '2020-01-01')).toEqual({
      start: '2026-01-31',
      end: '2026-03-01',
    });
    expect(rangeOfDays({ end: '2026-03-01' }, DAYS, '2020-01-01')).toEqual({ start: '2026-01-31', end: '2026-03-01' });
  });

  it('takes the bounds as they are where both are given', () => {
    expect(rangeOfDays({ start: '2024-02-29', end: '2024-02-29' }, DAYS, '2026-03-01')).toEqual({
      start: '2024-02-29',
      end: '2024-02-29',
    });
  });

  it('stays within the years that an order event may have', () => {
    expect(rangeOfDays({ end: '2000-01-05' }, DAYS, '2026-03-01').start).toBe('2000-01-01');
    expect(rangeOfDays({ start: '2100-12-30' }, DAYS, '2026-03-01').end).toBe('2100-12-31');
  });

  it('has at most 366 days', () => {
    expect(fieldsOf(() => rangeOfDays({ start: '2023-01-01', end: '2024-01-01' }, DAYS, '2026-03-01'))).toEqual([]);
    expect(fieldsOf(() => rangeOfDays({ start: '2023-01-01', end: '2024-01-02' }, DAYS, '2026-03-01'))).toEqual([
      'end',
    ]);
    expect(fieldsOf(() => rangeOfDays({ start: '2000-01-01', end: '2100-12-31' }, DAYS, '2026-03-01'))).toEqual([
      'end',
    ]);
  });

  it('does not end before it starts', () => {
    expect(fieldsOf(() => rangeOfDays({ start: '2024-01-02', end: '2024-01-01' }, DAYS, '2026-03-01'))).toEqual([
      'start',
    ]);
  });
});

describe('rangeOfMonths', () => {
  it('is the last 12 months up to the current one where nothing is given', () => {
    expect(rangeOfMonths({}, MONTHS, '2026-03')).toEqual({ start: '2025-04', end: '2026-03' });
  });

  it('puts a missing bound 12 months from the other', () => {
    expect(rangeOfMonths({ start: '2025-04' }, MONTHS, '2020-01')).toEqual({ start: '2025-04', end: '2026-03' });
    expect(rangeOfMonths({ end: '2026-03' }, MONTHS, '2020-01')).toEqual({ start: '2025-04', end: '2026-03' });
  });

  it('has at most 120 months', () => {
    expect(fieldsOf(() => rangeOfMonths({ start: '2016-01', end: '2025-12' }, MONTHS, '2026-03'))).toEqual([]);
    expect(fieldsOf(() => rangeOfMonths({ start: '2016-01', end: '2026-01' }, MONTHS, '2026-03'))).toEqual(['end']);
    expect(fieldsOf(() => rangeOfMonths({ start: '2016-02', end: '2016-01' }, MONTHS, '2026-03'))).toEqual(['start']);
  });
});
