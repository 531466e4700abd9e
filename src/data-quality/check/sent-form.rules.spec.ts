import { comparableAddress, maskedAddress, sentForm } from './sent-form.rules.js';
import { DAY, formOf, MIDNIGHT, MINUTE, SECOND, timesADay, UNKNOWN_FORM } from '../detectors/timestamp-form.rules.js';

describe('What a body says', () => {
  it('is read as it was judged: trimmed, unwrapped', () => {
    const body = { order_timestamp: ' 2026-01-15T12:00Z ', shipping_address: '1 Main Street' };
    const form = { timestamp: '2026-01-15T12:00Z', address: '1 main street' };
    expect(sentForm(JSON.stringify(body))).toEqual(form);
    expect(sentForm(JSON.stringify(JSON.stringify(body)))).toEqual(form);
  });

  it.each(['[erased]', '[]', '{}', '{"order_timestamp": 5, "shipping_address": ["1 Main Street"]}'])(
    'may be nothing: %s',
    (body) => expect(sentForm(body)).toEqual({ timestamp: null, address: null }),
  );
});

describe('An address', () => {
  it('is the same with other signs, blanks and case', () => {
    expect(comparableAddress('12, Harbour Road;  BRISTOL')).toBe('12 harbour road bristol');
    expect(comparableAddress('12 harbour road bristol')).toBe('12 harbour road bristol');
    expect(comparableAddress('Straße 5-7 Köln')).toBe('straße 5 7 köln');
  });

  it.each(['United Kingdom', 'Bristol', '12345', 'Area51', '[erased]', '', `1 ${'x'.repeat(300)}`])(
    'is not where a person lives: %s',
    (address) => expect(comparableAddress(address)).toBeNull(),
  );

  it('is shown masked', () => expect(maskedAddress('12 harbour road köln')).toBe('1* h****** r*** k***'));
});

describe('The form of a timestamp', () => {
  it.each([
    ['2026-01-15', DAY],
    ['2026-01-15T12:30Z', MINUTE],
    ['2026-01-15 12:30:00+01:00', SECOND],
    ['2026-01-15T12:30:00.1Z', SECOND + 1],
    ['2026-01-15t12:30:00,123456789z', SECOND + 9],
    [`2026-01-15T12:30:00.${'1'.repeat(20)}Z`, SECOND + 12],
    ['2026-01-15T00:00Z', MIDNIGHT],
    ['2026-01-15T00:00:00.000+01:00', MIDNIGHT],
    ['2026-01-15T00:00:00.001Z', SECOND + 3],
    ['2026-01-15T00:00:01Z', SECOND],
    ['yesterday', UNKNOWN_FORM],
    [null, UNKNOWN_FORM],
  ])('of %s', (text, form) => expect(formOf(text)).toBe(form));

  it('tells so many times a day', () => {
    expect([DAY, MIDNIGHT, MINUTE, SECOND, SECOND + 3].map(timesADay)).toEqual([1, 1, 1_440, 86_400, 86_400_000]);
  });
});
