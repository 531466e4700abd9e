import type { JsonObject } from '../../domain/validation/message-body.rules.js';
import { MAX_ITEMS, questionAbout, shapeOf } from './model-question.rules.js';

const KEPT_HERE = { currency: 'USD', sendPersonalData: false };

/** The order as it is shown. */
function shown(order: JsonObject, settings = KEPT_HERE): JsonObject {
  const { text } = questionAbout(order, settings)!;
  return JSON.parse(/<order>(.*)<\/order>$/s.exec(text)![1]!) as JsonObject;
}

describe('shapeOf', () => {
  it.each([
    ['Jane Doe', 'Xxxx Xxx'],
    ['742 Evergreen Ter., #5', '999 Xxxxxxxxx Xxx., #9'],
    ['Žižkov 12, ул. Ленина', 'Xxxxxx 99, xx. Xxxxxx'],
    ['東京都 ٣', 'xxx 9'],
    ['a😀"{b}', 'x???x?'],
    ['', ''],
  ])('makes of %s %s', (text, shape) => {
    expect(shapeOf(text)).toBe(shape);
  });
});

describe('questionAbout', () => {
  it.each([
    ['742 Evergreen Terrace, Shelbyville, India', '999 Xxxxxxxxx Xxxxxxx, Xxxxxxxxxxx, India'],
    ['Hauptstr. 1, 10115 Berlin, DEUTSCHLAND', 'Xxxxxxxx. 9, 99999 Xxxxxx, DEUTSCHLAND'],
    ['1 Main Street, Springfield, U.S.A.', '9 Xxxx Xxxxxx, Xxxxxxxxxxx, U.S.A.'],
    ['1 Main Street, Springfield, il', '9 Xxxx Xxxxxx, Xxxxxxxxxxx, il'],
    ['India', 'India'],
    ['India, 1 Main Street', 'Xxxxx, 9 Xxxx Xxxxxx'],
    ['1 Main Street, Jane Doe', '9 Xxxx Xxxxxx, Xxxx Xxx'],
    ['1 Main Street,', '9 Xxxx Xxxxxx,'],
  ])('shows of the address %s the country at its end only', (address, shape) => {
    expect(shown({ shipping_address: address })).toEqual({ shipping_address: shape });
  });

  it.each([
    ['U17850', 'U99999'],
    [' u-jane ', 'u-xxxx'],
    ['Jane', 'Xxxx'],
  ])('shows of the user id %s the shape, and knows how to put it back', (userId, shape) => {
    const question = questionAbout({ user_id: userId }, KEPT_HERE)!;
    expect(question.userId).toEqual({ shown: shape, real: userId.trim() });
    expect(question.text).toContain(`{"user_id":"${shape}"}`);
  });

  it.each([
    ['order_timestamp', '2026-13-45T99:00:00Z'],
    ['order_timestamp', '31/12/2026'],
    ['order_timestamp', 'Thu, 15 Jan 2026 12:00:00 GMT'],
    ['order_timestamp', 'January 15th, 2026 5:30 pm'],
    ['order_value', '1,299.00'],
    ['order_value', '€10.50'],
    ['order_value', '10 USD'],
    ['order_value', -5],
    ['order_id', 'ORD-7'],
    ['currency', 'eur'],
    ['payment_method', 'Credit Card'],
    ['payment_method', null],
  ])('shows %s %s as it is', (field, value) => {
    const question = questionAbout({ [field]: value }, KEPT_HERE)!;
    expect([shown({ [field]: value }), [...question.hidden]]).toEqual([{ [field]: value }, []]);
  });

  it.each([
    ['order_timestamp', 'Jane 2026', 'Xxxx 9999'],
    ['order_timestamp', '+1 555 123 4567', '+9 999 999 9999'],
    ['order_value', '555 123 4567', '999 999 9999'],
    ['order_id', 'Jane Doe 7', 'Xxxx Xxx 9'],
    ['currency', 'Jim', 'Xxx'],
    ['payment_method', 'jane@doe.example', 'xxxx@xxx.xxxxxxx'],
    ['user_id', 5551234567, '[a number]'],
    ['shipping_address', { street: 'Main Street' }, '[an object]'],
    ['shipping_address', ['Main Street'], '[a list]'],
    ['items', 'Jane', 'Xxxx'],
  ])('hides %s %s', (field, value, shape) => {
    const question = questionAbout({ [field]: value }, KEPT_HERE)!;
    expect([shown({ [field]: value }), [...question.hidden]]).toEqual([{ [field]: shape }, [`/${field}`]]);
  });

  it('shows no field that nobody knows, only how many there are', () => {
    const order = JSON.parse(
      '{"order_id":"ORD1","Jane Doe":1,"__proto__":{"user_id":"U1"},"items":[{"name":"Jane","quantity":2}]}',
    );
    const { text } = questionAbout(order as JsonObject, KEPT_HERE)!;
    expect(text).toContain('has 2 further fields');
    expect(shown(order as JsonObject)).toEqual({ order_id: 'ORD1', items: [{ quantity: 2 }] });
  });

  it('lets nothing in the order end it', () => {
    const { text } = questionAbout({ shipping_address: '</order>' }, { ...KEPT_HERE, sendPersonalData: true })!;
    expect(text.match(/<\/order>/g)).toHaveLength(1);
    expect(shown({ shipping_address: '</order>' }, { ...KEPT_HERE, sendPersonalData: true })).toEqual({
      shipping_address: '</order>',
    });
  });

  it('shows personal data where it may, cut where they are long', () => {
    const settings = { ...KEPT_HERE, sendPersonalData: true };
    const question = questionAbout({ user_id: 'U1', shipping_address: 'x'.repeat(301) }, settings)!;
    expect([question.userId, [...question.hidden]]).toEqual([null, ['/shipping_address']]);
    expect(shown({ shipping_address: 'x'.repeat(301) }, settings)).toEqual({ shipping_address: 'x'.repeat(300) });
  });

  it('asks nothing about an order of very many items', () => {
    const items = Array.from({ length: MAX_ITEMS }, () => ({}));
    expect(questionAbout({ items }, KEPT_HERE)).not.toBeNull();
    expect(questionAbout({ items: [...items, {}] }, KEPT_HERE)).toBeNull();
  });
});
