import fc from 'fast-check';
import { addDays, addMonths, BusinessCalendar, daysBetween, isDay, isMonth, monthsBetween } from './business-time.js';

const instants = fc.date({
  min: new Date('2000-01-01T00:00:00Z'),
  max: new Date('2100-12-31T23:59:59.999Z'),
  noInvalidDate: true,
});

describe('BusinessCalendar', () => {
  it('cuts days and months of UTC at midnight', () => {
    const calendar = new BusinessCalendar('UTC');
    const midnight = Date.parse('2024-03-01T00:00:00Z');
    expect([calendar.dayOf(midnight - 1), calendar.dayOf(midnight)]).toEqual(['2024-02-29', '2024-03-01']);
    expect([calendar.monthOf(midnight - 1), calendar.monthOf(midnight)]).toEqual(['2024-02', '2024-03']);
  });

  it.each([
    ['Europe/Berlin', '2024-12-31T23:00:00Z', '2025-01-01'],
    ['Europe/Berlin', '2024-07-31T22:00:00Z', '2024-08-01'],
    ['America/New_York', '2024-03-01T05:00:00Z', '2024-03-01'],
    ['Asia/Kathmandu', '2024-02-29T18:15:00Z', '2024-03-01'],
    ['Pacific/Kiritimati', '2024-02-29T10:00:00Z', '2024-03-01'],
    ['Pacific/Pago_Pago', '2024-03-01T11:00:00Z', '2024-03-01'],
  ])('begins a day in %s at %s', (timeZone, midnight, day) => {
    const calendar = new BusinessCalendar(timeZone);
    expect(calendar.dayOf(Date.parse(midnight))).toBe(day);
    expect(calendar.dayOf(Date.parse(midnight) - 1)).toBe(addDays(day, -1));
  });

  it('follows a clock that goes back over midnight, off the quarter-hour', () => {
    const calendar = new BusinessCalendar('America/St_Johns');
    // On 29 October 2006 at 00:01 the clocks went back to 23:01 of the day before.
    expect(calendar.dayOf(Date.parse('2006-10-29T02:30:59.999Z'))).toBe('2006-10-29');
    expect(calendar.dayOf(Date.parse('2006-10-29T02:31:00.000Z'))).toBe('2006-10-28');
    expect(calendar.dayOf(Date.parse('2006-10-29T03:29:59.999Z'))).toBe('2006-10-28');
    expect(calendar.dayOf(Date.parse('2006-10-29T03:30:00.000Z'))).toBe('2006-10-29');
  });

  it('skips the day that Samoa skipped', () => {
    const calendar = new BusinessCalendar('Pacific/Apia');
    expect(calendar.dayOf(Date.parse('2011-12-30T09:59:59.999Z'))).toBe('2011-12-29');
    expect(calendar.dayOf(Date.parse('2011-12-30T10:00:00.000Z'))).toBe('2011-12-31');
  });

  it('agrees with the runtime for any instant, in any order, in zones that change their clocks', () => {
    for (const timeZone of [
      'Europe/Berlin',
      'America/St_Johns',
      'Australia/Lord_Howe',
      'Africa/Casablanca',
      'Asia/Gaza',
    ]) {
      const calendar = new BusinessCalendar(timeZone);
      const runtime = new Intl.DateTimeFormat('en-CA', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' });
      fc.assert(fc.property(instants, (date) => calendar.dayOf(date.getTime()) === runtime.format(date)));
    }
  });

  it('says when a day begins, also where the clock skips or repeats midnight', () => {
    const begins = (timeZone: string, day: string): string =>
      new Date(new BusinessCalendar(timeZone).beginOf(day)).toISOString();
    expect(begins('UTC', '2024-02-29')).toBe('2024-02-29T00:00:00.000Z');
    expect(begins('Europe/Berlin', '2024-08-01')).toBe('2024-07-31T22:00:00.000Z');
    // On 8 September 2024 the clocks of Santiago went from 00:00 to 01:00.
    expect(begins('America/Santiago', '2024-09-08')).toBe('2024-09-08T04:00:00.000Z');
    expect(begins('America/St_Johns', '2006-10-29')).toBe('2006-10-29T02:30:00.000Z');
    expect(begins('Pacific/Apia', '2011-12-30')).toBe('2011-12-30T10:00:00.000Z');
  });

  it('has another version where a rule differs', () => {
    const versions = ['Europe/Berlin', 'Europe/Paris', 'UTC'].map((timeZone) => new BusinessCalendar(timeZone).version);
    expect(new Set(versions).size).toBe(3);
    expect(new BusinessCalendar('UTC').version).toBe(versions[2]);
  });

  it('refuses a time zone that does not exist', () => {
    expect(() => new BusinessCalendar('Mars/Olympus')).toThrow(RangeError);
  });
});

describe('isDay', () => {
  it.each(['2000-01-01', '2024-02-29', '2100-12-31', '2023-02-28'])('knows the day %s', (text) => {
    expect(isDay(text)).toBe(true);
  });

  it.each([
    '2023-02-29',
    '2100-02-29',
    '2024-02-30',
    '2024-04-31',
    '2024-00-01',
    '2024-13-01',
    '2024-01-00',
    '2024-01-32',
    '1999-12-31',
    '2101-01-01',
    '2024-1-1',
    '2024-01',
    '2024-01-01T00:00',
    ' 2024-01-01',
    '2024-01-01\n',
    '',
  ])('knows no day %p', (text) => {
    expect(isDay(text)).toBe(false);
  });
});

describe('isMonth', () => {
  it.each(['2000-01', '2024-12', '2100-12'])('knows the month %s', (text) => {
    expect(isMonth(text)).toBe(true);
  });

  it.each(['2024-00', '2024-13', '1999-12', '2101-01', '2024-1', '2024', '2024-01-01', '2024-01\n', ''])(
    'knows no month %p',
    (text) => {
      expect(isMonth(text)).toBe(false);
    },
  );
});

describe('calendar arithmetic', () => {
  it('adds days across months, years and leap days', () => {
    expect(addDays('2024-02-28', 1)).toBe('2024-02-29');
    expect(addDays('2023-02-28', 1)).toBe('2023-03-01');
    expect(addDays('2024-01-01', -1)).toBe('2023-12-31');
    expect(addDays('2024-01-01', 366)).toBe('2025-01-01');
  });

  it('adds months across years', () => {
    expect(addMonths('2024-01', 1)).toBe('2024-02');
    expect(addMonths('2024-12', 1)).toBe('2025-01');
    expect(addMonths('2024-01', -1)).toBe('2023-12');
    expect(addMonths('2024-06', 25)).toBe('2026-07');
    expect(addMonths('2024-06', 0)).toBe('2024-06');
  });

  it('lists days and months with both ends', () => {
    expect(daysBetween('2024-02-28', '2024-03-01')).toEqual(['2024-02-28', '2024-02-29', '2024-03-01']);
    expect(daysBetween('2024-02-28', '2024-02-28')).toEqual(['2024-02-28']);
    expect(monthsBetween('2023-11', '2024-02')).toEqual(['2023-11', '2023-12', '2024-01', '2024-02']);
    expect(monthsBetween('2024-02', '2024-02')).toEqual(['2024-02']);
  });

  it('lists nothing where the end is before the start', () => {
    expect(daysBetween('2024-03-01', '2024-02-29')).toEqual([]);
    expect(monthsBetween('2024-03', '2024-02')).toEqual([]);
    expect(monthsBetween('2024-03', '2001-01')).toEqual([]);
  });

  it('counts every day of the contract', () => {
    expect(daysBetween('2000-01-01', '2100-12-31')).toHaveLength(36_890);
    expect(monthsBetween('2000-01', '2100-12')).toHaveLength(1212);
  });
});
