/** The part of an OpenAPI document that requests are made from. */
export interface ApiDocument {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

interface Operation {
  parameters?: { name: string; in: 'path' | 'query' | 'header'; schema?: Schema; required?: boolean }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
}

interface Schema {
  $ref?: string;
  properties?: Record<string, Schema>;
  example?: unknown;
  allOf?: Schema[];
}

/** A request that no well-meaning client makes. */
export interface HostileRequest {
  method: string;
  /** With its query, encoded. */
  path: string;
  headers?: Record<string, string>;
  /** As it goes over the wire; not always JSON. */
  body?: string;
}

const DEEP = 20_000;

/** As text, for a path or a query. */
const TEXTS = [
  '',
  ' ',
  '0',
  '-1',
  '1.5',
  '1e3',
  '1e309',
  '0x10',
  '٣',
  '99999999999999999999',
  '9007199254740993',
  '-9223372036854775809',
  'NaN',
  'Infinity',
  'null',
  'undefined',
  'true',
  '[]',
  '{}',
  '[object Object]',
  '2026-13-45',
  '2026-02-30T25:61:61Z',
  '+275760-09-13',
  '0000-00',
  "' OR '1'='1' --",
  "'; drop table ledger; --",
  '$1) returning body --',
  "\\'); select pg_sleep(10); --",
  '"]; redis.call("FLUSHALL") --',
  "return redis.call('del', KEYS[1])",
  '*\r\n$8\r\nFLUSHALL\r\n',
  '../../../../etc/passwd',
  '..%2f..%2fetc%2fpasswd',
  '%',
  '\u0000',
  'a\u0000b',
  '\u0001\u0008\u001b[2J\u007f',
  '\r\nSet-Cookie: a=b',
  '\u202e\ufeff\u200b',
  '\ud83d\ude00',
  'ﬀ'.repeat(20),
  'x'.repeat(129),
  'x'.repeat(6_000),
  '__proto__',
  'constructor',
  'toString',
  'eyJ0IjoxfQ',
  'eyJfX3Byb3RvX18iOnsicCI6MX19',
  'bnVsbA',
  '${jndi:ldap://127.0.0.1/a}',
  '{{7*7}}',
  '<script>alert(1)</script>',
];

/** As it stands in JSON: numbers no double holds, names twice, halves of pairs. */
const JSON_TEXTS = [
  'null',
  'true',
  '0',
  '-0',
  '-1',
  '1.5',
  '1e309',
  '-1e309',
  '1e-400',
  '123456789012345678901234567890',
  '9007199254740993',
  '""',
  '" "',
  '"\\u0000"',
  '"\\ud800"',
  '"\\udfff\\ud800"',
  '"1"',
  '"NaN"',
  '"true"',
  '"2026-02-30"',
  `"${'x'.repeat(10_000)}"`,
  `"'; drop table ledger; --"`,
  `"]]); redis.call('FLUSHALL') --"`,
  '[]',
  '[null]',
  '[[[[[]]]]]',
  `[${'0,'.repeat(5_000)}0]`,
  '{}',
  '{"__proto__":{"polluted":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  '{"toString":1,"valueOf":2}',
  '{"toJSON":1}',
  '{"length":-1}',
  '{"then":1}',
  `${'['.repeat(120)}${']'.repeat(120)}`,
  `${'['.repeat(DEEP)}${']'.repeat(DEEP)}`,
  `${'{"a":'.repeat(DEEP)}1${'}'.repeat(DEEP)}`,
];

/** Whole bodies that are wrong whatever the route wants. */
const BODIES = [
  '[]',
  'null',
  '1',
  '"text"',
  'true',
  '{',
  '{"a":}',
  "{'a':1}",
  '\u0000',
  '{"unexpected":1}',
  '{"__proto__":{"unexpected":1},"unexpected":1}',
  `{"unexpected":"${'x'.repeat(60_000)}"}`,
  `{${Array.from({ length: 3_000 }, (_, i) => `"unexpected${i}":${i}`).join(',')}}`,
  // A megabyte of names, and as many one level below.
  `{${Array.from({ length: 70_000 }, (_, i) => `"u${i}":1`).join(',')}}`,
  `{"unexpected":{${Array.from({ length: 70_000 }, (_, i) => `"u${i}":1`).join(',')}}}`,
  `${'['.repeat(DEEP)}${']'.repeat(DEEP)}`,
  `${'{"unexpected":'.repeat(DEEP)}1${'}'.repeat(DEEP)}`,
];

const HEADERS: Record<string, string>[] = [
  { accept: 'x' },
  { accept: 'text/csv;q=2,,;' },
  { accept: '*/*;q=nonsense' },
  { accept: 'a/'.repeat(1_000) },
  { 'accept-language': '*'.repeat(2_000) },
  { 'last-event-id': "'; --" },
  { 'if-none-match': '*' },
  { range: 'bytes=9-1' },
  { 'x-forwarded-for': "127.0.0.1, '; --" },
  { 'x-request-id': '{}'.repeat(500) },
  { authorization: 'Bearer null' },
  { cookie: '__proto__=1; a' },
];

/**
 * What a document's routes are to be asked that must do nothing: every parameter and every field of every body with every
 * hostile value. A body always has a field that nobody knows besides, so that no route may take it.
 * @param known a valid value of each path parameter, by its name
 */
export function* hostileRequests(document: ApiDocument, known: Record<string, string>): Generator<HostileRequest> {
  for (const [template, operations] of Object.entries(document.paths)) {
    for (const [name, operation] of Object.entries(operations)) {
      const method = name.toUpperCase();
      const { parameters = [], requestBody } = operation;
      const inPath = parameters.filter((parameter) => parameter.in === 'path').map((parameter) => parameter.name);
      const inQuery = parameters.filter((parameter) => parameter.in === 'query').map((parameter) => parameter.name);
      const path = pathOf(template, known);
      for (const parameter of inPath) {
        for (const text of TEXTS) yield { method, path: pathOf(template, { ...known, [parameter]: text }) };
      }
      if (method === 'GET') {
        for (const parameter of [...inQuery, 'unexpected', '__proto__', 'a[b]']) {
          for (const text of TEXTS) yield { method, path: `${path}?${queryOf([parameter, text])}` };
          yield { method, path: `${path}?${queryOf([parameter, '1'], [parameter, '2'])}` };
          yield { method, path: `${path}?${encodeURIComponent(parameter)}` };
          yield { method, path: `${path}?${encodeURIComponent(parameter)}=%E0%A4%A` };
        }
        for (const headers of HEADERS) yield { method, path, headers };
        for (const body of BODIES) yield { method: 'POST', path, body };
      }
      const schema = requestBody?.content['application/json']?.schema;
      if (!schema) continue;
      for (const body of BODIES) yield { method, path, body };
      yield { method, path, body: '{"unexpected":1}', headers: { 'content-type': 'text/plain' } };
      yield {
        method,
        path,
        body: '{"unexpected":1}',
        headers: { 'content-type': 'application/json; charset=klingon' },
      };
      yield { method, path, body: '{"unexpected":1}', headers: { 'content-encoding': 'gzip' } };
      for (const field of fieldsOf(schema, document)) {
        for (const text of JSON_TEXTS) {
          yield { method, path, body: `{${field.replace('#', text)},"unexpected":1}` };
        }
      }
    }
  }
}

function pathOf(template: string, values: Record<string, string>): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name]!));
}

function queryOf(...pairs: [string, string][]): string {
  return pairs.map((pair) => pair.map(encodeURIComponent).join('=')).join('&');
}

/** Each field of a body, those inside others too, as JSON with `#` in the value's place. */
function fieldsOf(schema: Schema, document: ApiDocument, depth = 0): string[] {
  const { properties = {}, allOf = [], $ref } = schema;
  if (depth > 4) return [];
  if ($ref) return fieldsOf(document.components.schemas[$ref.split('/').at(-1)!]!, document, depth + 1);
  const inherited = allOf.flatMap((part) => fieldsOf(part, document, depth + 1));
  const own = Object.entries(properties).flatMap(([name, inner]) => [
    `${JSON.stringify(name)}:#`,
    ...fieldsOf(inner, document, depth + 1).map((field) => `${JSON.stringify(name)}:{${field}}`),
  ]);
  return [...inherited, ...own];
}

/** Every field of every body with every hostile value, and no more than that: what of it a route takes is up to the route. */
export function* oddRequests(document: ApiDocument, known: Record<string, string>): Generator<HostileRequest> {
  for (const [template, operations] of Object.entries(document.paths)) {
    for (const [name, { requestBody }] of Object.entries(operations)) {
      const schema = requestBody?.content['application/json']?.schema;
      if (!schema) continue;
      for (const field of fieldsOf(schema, document)) {
        for (const text of JSON_TEXTS) {
          yield { method: name.toUpperCase(), path: pathOf(template, known), body: `{${field.replace('#', text)}}` };
        }
      }
    }
  }
}
