import fc from 'fast-check';
import { ERASED } from '../shared/erased.js';
import { changesWithoutPersonalData, withoutPersonalData } from './personal-data.rules.js';

const MARK = JSON.stringify(ERASED);

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
  it.each([
    'shipping_address',
    'billing_address',
    'address',
    'Address_Line_2',
    'address2',
    'shippingAddress',
    'shipping-address',
    'SHIPPING ADDRESS',
    'ship_to',
    'street',
    'street_name',
    'streetNumber',
    'house_number',
    'city',
    'shippingCity',
    'zip',
    'zip_code',
    'billingZip',
    'postal_code',
    'postcode',
    'latitude',
    'coordinates',
    'name',
    'full_name',
    'firstName',
    'lastname',
    'surname',
    'customer_name',
    'customerFirstName',
    'user_name',
    'card_holder',
    'recipient',
    'recipientName',
    'customer',
    'contact',
    'email',
    'e-mail',
    'customer_email_address',
    'phone',
    'phone_number',
    'mobilePhone',
    'telephone',
    'fax',
    'date_of_birth',
    'client_ip',
    'note',
    'delivery_instructions',
    'gift_message',
  ])('erases %s', (name) => {
    expect(withoutPersonalData(bodyWith(name, '"Ada Street 5"'))).toBe(bodyWith(name, MARK));
  });

  it.each([
    'order_id',
    'customer_id',
    'recipient_id',
    'product_id',
    'product_name',
    'item_name',
    'category_name',
    'order_timestamp',
    'payment_method',
    'currency',
    'country',
    'state',
    'status',
    'capacity',
    'message',
    'tip',
    'platform',
    'flat_rate',
    'total',
  ])('keeps %s', (name) => {
    expect(withoutPersonalData(bodyWith(name, '"Ada Street 5"'))).toBeNull();
  });

  it.each([
    ['a number', '12345'],
    ['a negative number with an exponent', '-1.5e+10'],
    ['true', 'true'],
    ['an object', '{"line": "Ada }{ Street", "more": [{"x": "]"}]}'],
    ['a list', '[ "Ada", ["Street \\" ] 5"] ]'],
    ['an empty object', '{}'],
    ['text with escapes', String.raw`"\"}\\"`],
    ['text in another script', '"Ада улица 5"'],
  ])('erases %s as a whole', (_what, value) => {
    expect(withoutPersonalData(bodyWith('shipping_address', value))).toBe(bodyWith('shipping_address', MARK));
  });

  it.each([
    ['null', 'null'],
    ['empty text', '""'],
    ['what is erased', MARK],
  ])('leaves %s as it is', (_what, value) => {
    expect(withoutPersonalData(bodyWith('shipping_address', value))).toBeNull();
  });

  it('keeps the name of a product within items, and erases who it is for', () => {
    const given = `{"items":[{"product_id":"P1","name":"Globe","price_per_unit":2.50,"gift":{"recipient_name":"Ada","name":"Box"}}],"name":"Ada"}`;
    expect(withoutPersonalData(given)).toBe(
      `{"items":[{"product_id":"P1","name":"Globe","price_per_unit":2.50,"gift":{"recipient_name":${MARK},"name":"Box"}}],"name":${MARK}}`,
    );
  });

  it.each(['line_items', 'orderLines', 'products', 'product'])('knows products under %s', (name) => {
    expect(withoutPersonalData(`{"${name}":[{"name":"Globe"}]}`)).toBeNull();
  });

  it('erases in nested objects and lists', () => {
    expect(withoutPersonalData('{"a":[{"b":{"email":"ada@example.org","c":1}},[{"phone":1}]]}')).toBe(
      `{"a":[{"b":{"email":${MARK},"c":1}},[{"phone":${MARK}}]]}`,
    );
  });

  it('erases every value of a name that is there more than once', () => {
    expect(withoutPersonalData('{"email":"first@example.org","email":null,"email":"last@example.org"}')).toBe(
      `{"email":${MARK},"email":null,"email":${MARK}}`,
    );
  });

  it('takes __proto__ for a name like any other', () => {
    expect(withoutPersonalData('{"__proto__":{"email":"ada@example.org","n":1.0}}')).toBe(
      `{"__proto__":{"email":${MARK},"n":1.0}}`,
    );
  });

  it('reads names that are written with escapes', () => {
    expect(withoutPersonalData(String.raw`{"\u0065mail":"ada@example.org"}`)).toBe(String.raw`{"\u0065mail":${MARK}}`);
  });

  it('keeps white space, numbers and escapes as they were written', () => {
    const given =
      '\ufeff {\n "order_value" : 1.10e2 ,\t"big":123456789012345678901234567890,"x":"\\u00fc\\/","zip":1 }\n';
    expect(withoutPersonalData(given)).toBe(given.replace('"zip":1 ', `"zip":${MARK} `));
  });

  it('opens a body that is a string, and an SNS envelope, in either order', () => {
    const given = bodyWith('email', '"ada@example.org"');
    const erased = bodyWith('email', MARK);
    expect(withoutPersonalData(JSON.stringify(given))).toBe(JSON.stringify(erased));
    expect(withoutPersonalData(` ${JSON.stringify(` ${given}\n`)} `)).toBe(` ${JSON.stringify(` ${erased}\n`)} `);
    expect(withoutPersonalData(inEnvelope(given))).toBe(inEnvelope(erased));
    expect(withoutPersonalData(inEnvelope(JSON.stringify(given)))).toBe(inEnvelope(JSON.stringify(erased)));
    expect(withoutPersonalData(JSON.stringify(inEnvelope(given)))).toBe(JSON.stringify(inEnvelope(erased)));
  });

  it('opens JSON in a field, and keeps what is about products there', () => {
    const inner = (name: string): string => JSON.stringify(`[{"name":"Globe","recipient":${name}}]`);
    expect(withoutPersonalData(`{"items":${inner('"Ada"')}}`)).toBe(`{"items":${inner(MARK)}}`);
    expect(withoutPersonalData('{"text":"{not JSON: ada","list":"[1]"}')).toBeNull();
  });

  it('replaces a body that is not JSON as a whole', () => {
    expect(withoutPersonalData('{"shipping_address":"Ada Street')).toBe(ERASED);
    expect(withoutPersonalData('Ada, Street 5')).toBe(ERASED);
  });

  it.each([
    ['the mark', ERASED],
    ['the empty body of a repair', ''],
    ['a number', '5'],
    ['a text', '"Ada"'],
    ['an empty object', '{}'],
  ])('has nothing to erase in %s', (_what, body) => {
    expect(withoutPersonalData(body)).toBeNull();
  });

  it('reads nesting that is deeper than any stack', () => {
    const deep = (value: string): string => `${'{"a":['.repeat(100_000)}${value}${']}'.repeat(100_000)}`;
    expect(withoutPersonalData(deep('{"email":"x"}'))).toBe(deep(`{"email":${MARK}}`));
    expect(withoutPersonalData(`{"address":${deep('1')}}`)).toBe(`{"address":${MARK}}`);
  });

  it('opens text within text a few times only', () => {
    let hostile = '{"email":"ada@example.org"}';
    for (let i = 0; i < 12; i++) hostile = JSON.stringify(hostile);
    expect(withoutPersonalData(hostile)).toBeNull();
  });

  it('changes what is personal, and nothing else by a byte', () => {
    fc.assert(
      fc.property(order, ({ given, erased }) => {
        const expected = given === erased ? null : erased;
        expect(withoutPersonalData(given)).toBe(expected);
        expect(withoutPersonalData(erased)).toBeNull();
        expect(withoutPersonalData(JSON.stringify(given))).toBe(expected && JSON.stringify(erased));
        expect(withoutPersonalData(inEnvelope(given))).toBe(expected && inEnvelope(erased));
        expect(erased).not.toContain(SECRET);
      }),
      { numRuns: 500 },
    );
  });

  it('reads a name of a million digits as fast as any other', () => {
    const given = `{"${'1'.repeat(1_000_000)}a":1,"email1":"ada@example.org"}`;
    expect(withoutPersonalData(given)).toBe(given.replace('"ada@example.org"', MARK));
  });
});

describe('changesWithoutPersonalData', () => {
  it('erases both sides of a personal field, and within others', () => {
    expect(
      changesWithoutPersonalData([
        { field: 'shipping_address', before: 'Ada Street 5', after: null },
        { field: 'email', after: 'ada@example.org' },
        { field: 'buyer_data', before: { name: 'Ada', n: 1 } },
        { field: 'order_value', before: 0, after: 10 },
        { field: 'items', before: [], after: [{ name: 'Globe' }] },
        { field: '__proto__', after: { phone: 1 } },
      ]),
    ).toEqual([
      { field: 'shipping_address', before: ERASED, after: null },
      { field: 'email', after: ERASED },
      { field: 'buyer_data', before: { name: ERASED, n: 1 } },
      { field: 'order_value', before: 0, after: 10 },
      { field: 'items', before: [], after: [{ name: 'Globe' }] },
      { field: '__proto__', after: { phone: ERASED } },
    ]);
  });

  it('has nothing to do where nothing is personal', () => {
    expect(changesWithoutPersonalData([])).toBeNull();
    expect(changesWithoutPersonalData([{ field: 'order_value', before: 0, after: 10 }])).toBeNull();
  });
});

/** In every value that has to go, and in no other. */
const SECRET = 'Zaphod';

/** JSON text as it is given, and as it is to be. */
interface Pair {
  given: string;
  erased: string;
}

const same = (json: fc.Arbitrary<string>): fc.Arbitrary<Pair> => json.map((text) => ({ given: text, erased: text }));
const space = fc.constantFrom('', ' ', '\n\t', '\r\n');
const text = fc.string({ unit: 'binary' }).filter((value) => !/^\s*["[{]/.test(value));
const scalar = fc.oneof(
  text.map((value) => JSON.stringify(value)),
  fc.constantFrom(
    'null',
    'true',
    'false',
    '-0',
    '1.10',
    '1E400',
    '0.1e-7',
    '123456789012345678901234567890',
    '"\\u005b"',
  ),
);
const secret = fc.oneof(
  fc.constantFrom(`"${SECRET}"`, `{"a":"${SECRET} }"}`, `[1,["${SECRET}\\""],{}]`, `"{\\"a\\":\\"${SECRET}\\"}"`),
  fc.json().map((json) => `["${SECRET}",${json}]`),
);
const keptName = fc.constantFrom('a', 'order_id', '__proto__', 'country', 'constructor', 'product_name', 'Message', '');
const personalName = fc.constantFrom(
  'address',
  'Shipping_Address',
  'eMail',
  'firstName',
  'recipient',
  'phone2',
  'CITY',
);

const listOf = (values: Pair[], blank: string): Pair => joined('[', values, `${blank},`, ']');

function joined(open: string, values: Pair[], between: string, close: string): Pair {
  return {
    given: open + values.map(({ given }) => given).join(between) + close,
    erased: open + values.map(({ erased }) => erased).join(between) + close,
  };
}

function member(name: string, { given, erased }: Pair, blank: string): Pair {
  const start = `${blank}${JSON.stringify(name)}${blank}:${blank}`;
  return { given: start + given + blank, erased: start + erased + blank };
}

const { order } = fc.letrec<{ value: Pair; order: Pair; item: Pair }>((tie) => {
  const personal = fc
    .tuple(personalName, secret, space)
    .map(([name, value, blank]) => member(name, { given: value, erased: MARK }, blank));
  const kept = fc.tuple(keptName, tie('value'), space).map(([name, value, blank]) => member(name, value, blank));
  const objectOf = (...members: fc.Arbitrary<Pair>[]): fc.Arbitrary<Pair> =>
    fc.array(fc.oneof(...members), { maxLength: 5 }).map((values) => joined('{', values, ',', '}'));
  return {
    item: objectOf(
      personal,
      fc
        .tuple(fc.constantFrom('name', 'title', 'color name'), same(scalar), space)
        .map(([name, value, blank]) => member(name, value, blank)),
    ),
    order: objectOf(
      personal,
      kept,
      fc.tuple(secret, space).map(([value, blank]) => member('name', { given: value, erased: MARK }, blank)),
      fc.tuple(fc.array(tie('item')), space).map(([items, blank]) => member('items', listOf(items, blank), blank)),
    ),
    value: fc.oneof(
      { depthSize: 'small' },
      same(scalar),
      tie('order'),
      fc.tuple(fc.array(tie('value'), { maxLength: 4 }), space).map(([values, blank]) => listOf(values, blank)),
    ),
  };
});
