import fc from 'fast-check';
import { ERASED } from '../../shared/erased.js';
import { changesWithoutPersonalData, keptFields, withoutPersonalData } from './personal-data.rules.js';

const MARK = JSON.stringify(ERASED);
const KEPT = keptFields([]);

/** A body with one field. */
function bodyWith(name: string, value: string): string {
  return `{"user_id":"U1",${JSON.stringify(name)}:${value},"order_value":1.50}`;
}

/** As SNS delivers to SQS without raw delivery. */
function inEnvelope(message: string): string {
  return JSON.stringify({
    Type: 'Notification',
    MessageId: '1f2e',
    TopicArn: 'arn:aws:sns:eu-central-1:1:orders',
    Message: message,
    Timestamp: '2026-01-31T12:00:00.000Z',
  });
}

describe('withoutPersonalData', () => {
  const withoutOwn = (body: string): string | null => withoutPersonalData(body, KEPT);

  it.each([
    ...['shipping_address', 'payment_method', 'iban', 'ssn', 'card_number', 'passport_no', 'emergency_contact'],
    ...['location', 'name', 'email', 'customer_id', 'national_id', 'product_name', 'country', 'note', 'anything', ''],
    ...['nombre', 'Straße', 'nazwisko', 'телефон', '氏名', 'العنوان', '__proto__', 'constructor'],
  ])('erases the text and the number of %s', (name) => {
    for (const value of ['"Ada Street 5"', '4179123456', '-1.5e+10', String.raw`"\"}\\"`, '"Ада улица 5"']) {
      expect(withoutOwn(bodyWith(name, value))).toBe(bodyWith(name, MARK));
    }
  });

  it.each([
    ...['type', 'order_id', 'user_id', 'order_timestamp', 'order_value', 'currency', 'product_id', 'sku', 'quantity'],
    ...['price_per_unit', 'refund_id', 'refund_timestamp', 'amount', 'Order-Id', 'orderId', 'ORDER ID'],
  ])('keeps %s', (name) => {
    for (const value of ['"P-1"', '1.50', '["P-1",{}]']) expect(withoutOwn(bodyWith(name, value))).toBeNull();
  });

  it('keeps what an operator names, however it is written', () => {
    const kept = keptFields(['product_name', 'Größe']);
    const given = '{"items":[{"productName":"Globe","größe":5,"gift_for":"Ada"}]}';
    expect(withoutPersonalData(given, kept)).toBe(given.replace('"Ada"', MARK));
    expect(withoutOwn(given)).toBe(`{"items":[{"productName":${MARK},"größe":${MARK},"gift_for":${MARK}}]}`);
  });

  it.each(['null', 'true', 'false', '""', MARK])('leaves %s as it is', (value) => {
    expect(withoutOwn(bodyWith('shipping_address', value))).toBeNull();
  });

  it.each(['{"line": "Ada }{ Street", "more": [{"x": "]"}]}', '[ "Ada", ["Street \\" ] 5"] ]', '{}', '[true]'])(
    'replaces %s as a whole, as nothing in it is kept',
    (value) => {
      expect(withoutOwn(bodyWith('shipping_address', value))).toBe(bodyWith('shipping_address', MARK));
    },
  );

  it('keeps what is to be kept within what is unknown', () => {
    expect(withoutOwn('{"a":[{"b":{"email":"ada@example.org","order_id":"ORD1"}},[{"phone":1}]],"c":{"d":[1]}}')).toBe(
      `{"a":[{"b":{"email":${MARK},"order_id":"ORD1"}},${MARK}],"c":${MARK}}`,
    );
  });

  it('keeps the lines of an order, be there nothing to keep in them', () => {
    expect(withoutOwn('{"items":[]}')).toBeNull();
    expect(withoutOwn('{"items":[{"name":"Ada"},{}]}')).toBe(`{"items":[{"name":${MARK}},{}]}`);
  });

  it('erases every value of a name that is there more than once', () => {
    expect(withoutOwn('{"email":"first@example.org","email":null,"email":"last@example.org"}')).toBe(
      `{"email":${MARK},"email":null,"email":${MARK}}`,
    );
  });

  it('reads names that are written with escapes', () => {
    const given = String.raw`{"\u006frder_id":"ORD1","\u0065mail":"ada@example.org"}`;
    expect(withoutOwn(given)).toBe(given.replace('"ada@example.org"', MARK));
  });

  it('keeps white space, numbers and escapes as they were written', () => {
    const given =
      '\ufeff {\n "order_value" : 1.10e2 ,\t"amount":123456789012345678901234567890,"sku":"\\u00fc\\/","zip":1 }\n';
    expect(withoutOwn(given)).toBe(given.replace('"zip":1 ', `"zip":${MARK} `));
  });

  it('opens a body that is a string, and an SNS envelope, in either order', () => {
    const given = bodyWith('email', '"ada@example.org"');
    const erased = bodyWith('email', MARK);
    expect(withoutOwn(JSON.stringify(given))).toBe(JSON.stringify(erased));
    expect(withoutOwn(` ${JSON.stringify(` ${given}\n`)} `)).toBe(` ${JSON.stringify(` ${erased}\n`)} `);
    expect(withoutOwn(inEnvelope(given))).toBe(inEnvelope(erased));
    expect(withoutOwn(inEnvelope(JSON.stringify(given)))).toBe(inEnvelope(JSON.stringify(erased)));
    expect(withoutOwn(JSON.stringify(inEnvelope(given)))).toBe(JSON.stringify(inEnvelope(erased)));
  });

  it('opens JSON in a field, kept or not', () => {
    const inner = (name: string): string => JSON.stringify(`[{"sku":"P1","recipient":${name}}]`);
    for (const field of ['items', 'anything']) {
      expect(withoutOwn(`{"${field}":${inner('"Ada"')}}`)).toBe(`{"${field}":${inner(MARK)}}`);
    }
    expect(withoutOwn('{"text":"{not JSON: ada","list":"[1]"}')).toBe(`{"text":${MARK},"list":${MARK}}`);
  });

  it('replaces a body that is not JSON as a whole', () => {
    expect(withoutOwn('{"shipping_address":"Ada Street')).toBe(ERASED);
    expect(withoutOwn('Ada, Street 5')).toBe(ERASED);
  });

  it.each(['5', '"Ada"', '"{\\"name\\":\\"Ada\\"}"'])('erases a body that is nothing but %s', (body) => {
    expect(withoutOwn(body)).toBe(MARK);
  });

  it.each([ERASED, '', '{}', '[]', 'null'])('has nothing to erase in the body %j', (body) => {
    expect(withoutOwn(body)).toBeNull();
  });

  it('reads nesting that is deeper than any stack', () => {
    const deep = (value: string): string => `${'{"a":['.repeat(100_000)}${value}${']}'.repeat(100_000)}`;
    expect(withoutOwn(deep('{"email":"x","sku":"P1"}'))).toBe(deep(`{"email":${MARK},"sku":"P1"}`));
    expect(withoutOwn(deep('1'))).toBe(`{"a":${MARK}}`);
  });

  it('opens text within text a few times, and erases what is deeper', () => {
    let body = bodyWith('email', '"ada@example.org"');
    for (let i = 0; i < 12; i++) body = JSON.stringify(body);
    expect(withoutOwn(body)).toBe(MARK);
  });

  it('erases whatever is not kept, and changes nothing else by a byte', () => {
    const name = fc.constantFrom('order_id', 'items', 'Sku', 'name', '__proto__', 'constructor', '住所', '');
    const leaf = fc.oneof(
      fc.constantFrom<Json>(null, true, false, '', ERASED),
      fc.integer(),
      fc.string({ unit: fc.constantFrom('a', '"', '\\', '}', ']', ',', 'ü', '\n') }).map((text) => `x${text}`),
    );
    const { value } = fc.letrec<{ value: Json }>((tie) => ({
      value: fc.oneof(
        { depthSize: 'medium' },
        leaf,
        fc.array(tie('value'), { maxLength: 4 }),
        fc.array(fc.tuple(name, tie('value')), { maxLength: 4 }).map((members) => Object.fromEntries(members)),
      ),
    }));
    fc.assert(
      fc.property(fc.dictionary(name, value), fc.constantFrom(0, 1), (order, indent) => {
        const given = JSON.stringify(order, null, indent);
        const erased = JSON.stringify(erasedByModel(order, false, true).value, null, indent);
        const expected = given === erased ? null : erased;
        expect(withoutOwn(given)).toBe(expected);
        expect(withoutOwn(erased)).toBeNull();
      }),
      { numRuns: 500 },
    );
  });
});

describe('changesWithoutPersonalData', () => {
  it('erases both sides of a field that is not kept, and within others', () => {
    const changes = [
      { field: 'shipping_address', before: 'Ada Street 5', after: null },
      { field: 'ssn', after: 123456789 },
      { field: 'buyer_data', before: { name: 'Ada', sku: 'P1' }, after: { name: 'Ada' } },
      { field: 'order_value', before: 0, after: 10 },
      { field: 'items', before: [], after: [{ name: 'Globe', product_id: 'P1' }] },
      { field: '__proto__', after: { phone: 1 } },
    ];
    expect(changesWithoutPersonalData(changes, KEPT)).toEqual([
      { field: 'shipping_address', before: ERASED, after: null },
      { field: 'ssn', after: ERASED },
      { field: 'buyer_data', before: { name: ERASED, sku: 'P1' }, after: ERASED },
      { field: 'order_value', before: 0, after: 10 },
      { field: 'items', before: [], after: [{ name: ERASED, product_id: 'P1' }] },
      { field: '__proto__', after: ERASED },
    ]);
    expect(changesWithoutPersonalData(changes, keptFields(['ssn']))?.[1]).toEqual(changes[1]);
  });

  it('has nothing to do where all is kept', () => {
    expect(changesWithoutPersonalData([], KEPT)).toBeNull();
    expect(changesWithoutPersonalData([{ field: 'order_value', before: 0, after: 10 }], KEPT)).toBeNull();
  });
});

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** The same by a walk over the parsed value. */
function erasedByModel(value: Json, isKept: boolean, isRoot = false): { value: Json; keeps: boolean } {
  if (value === null || typeof value === 'boolean' || value === '' || value === ERASED) return { value, keeps: false };
  if (typeof value !== 'object') return isKept ? { value, keeps: true } : { value: ERASED, keeps: false };
  const members = Object.entries(value).map(([name, inner]) => {
    const isInnerKept = Array.isArray(value) ? isKept : ['order_id', 'items', 'Sku'].includes(name);
    return [name, erasedByModel(inner, isInnerKept)] as const;
  });
  const keeps = members.some(([, inner]) => inner.keeps);
  if (!keeps && !isKept && !isRoot) return { value: ERASED, keeps };
  const erased = members.map(([name, inner]) => [name, inner.value] as const);
  return { value: Array.isArray(value) ? erased.map(([, inner]) => inner) : Object.fromEntries(erased), keeps };
}
