import { once } from 'node:events';
import { type IncomingMessage, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import {
  Body,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Header,
  type INestApplication,
  Logger,
  Param,
  Post,
  Query,
  Res,
  ServiceUnavailableException,
} from '@nestjs/common';
import { ApiProperty, DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { Test } from '@nestjs/testing';
import { Type } from 'class-transformer';
import { IsArray, IsInt, IsOptional, IsString, Max, Min, ValidateNested } from 'class-validator';
import type { Request, Response } from 'express';
import fc from 'fast-check';
import { ApiProblem } from '../../src/platform/http/api-problem.js';
import { decodeCursor, encodeCursor } from '../../src/platform/http/cursor.js';
import { ProblemFilter } from '../../src/platform/http/problem.filter.js';
import type { Caller } from '../../src/shared/access.js';
import { RequestBodyGuard } from '../../src/platform/http/request-body.guard.js';
import { sameMachineOnly } from '../../src/platform/http/same-machine.middleware.js';
import {
  PathInteger,
  PathMonth,
  QueryCursor,
  QueryDay,
  QueryInteger,
  QueryMonth,
  RequestValidation,
} from '../../src/platform/http/validation.js';
import { ClientError, InvalidInput, type ErrorKind, NotFound, UnavailableError } from '../../src/shared/errors.js';

class Mistake extends ClientError {
  readonly code = 'a_mistake';
  constructor(readonly kind: ErrorKind) {
    super(`This is ${kind}.`);
  }
}

class Rebuilding extends UnavailableError {
  readonly code = 'rebuilding';
  override readonly details = { progress: { done: 1, total: 2 }, status: 'not the status', code: 'not the code' };
}

class Item {
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  quantity!: number;
}

class OrderBody {
  @IsInt({ message: 'must be a whole number' })
  @Min(1, { message: 'must be at least 1' })
  @Max(10, { message: 'must be at most 10' })
  count = 3;

  @IsOptional()
  @IsString()
  name?: string;

  @IsOptional()
  @IsArray({ message: 'must be a list' })
  @ValidateNested({ each: true })
  @Type(() => Item)
  items?: Item[];
}

class ListQuery {
  @QueryInteger(1, 1_000)
  limit = 10;

  @QueryDay()
  day?: string;

  @QueryMonth()
  month?: string;

  @QueryCursor()
  cursor?: string;
}

class PathParts {
  @PathInteger(1, 100)
  n!: number;

  @PathMonth()
  month!: string;
}

class Answer {
  @ApiProperty()
  done!: boolean;
}

/** Bodies that reached a handler. */
let handled = 0;

/** Refuses requests with a header that asks for it, and keeps others until their client has left. */
class Doorman implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<true> {
    const request = context.switchToHttp().getRequest<Request>();
    const { headers, socket } = request;
    if (!headers['x-stranger']) request.caller = { name: 'somebody' } as Caller;
    if (headers['x-refuse']) throw new Mistake('too_many');
    if (headers['x-outwait']) await new Promise((closed) => socket.once('close', closed));
    return true;
  }
}

@Controller()
class EdgeController {
  @Get('mistake/:kind')
  mistake(@Param('kind') kind: ErrorKind): never {
    throw new Mistake(kind);
  }

  @Get('invalid')
  invalid(): never {
    throw new InvalidInput([
      { field: 'start', message: 'must not be after end' },
      { field: 'end', message: 'must be a day' },
    ]);
  }

  @Get('missing')
  missing(): never {
    throw new NotFound('There is no such thing.');
  }

  @Get('rebuilding')
  rebuilding(): never {
    throw new Rebuilding('The figures are being rebuilt.');
  }

  @Get('unready')
  unready(): never {
    const down = { redis: { status: 'down', message: 'connection refused' } };
    const up = { ledger: { status: 'up' } };
    throw new ServiceUnavailableException({ status: 'error', info: up, error: down, details: { ...up, ...down } });
  }

  @Get('fault')
  fault(): never {
    throw Object.assign(new Error('password=hunter2'), { status: 404, statusCode: 404 });
  }

  @Get('thrown-text')
  thrownText(): never {
    throw 'password=hunter2'; // eslint-disable-line @typescript-eslint/only-throw-error
  }

  @Get('broken-stream')
  @Header('Content-Type', 'text/event-stream')
  async brokenStream(@Res() response: Response): Promise<never> {
    await new Promise((written) => response.write('data: 1\n\n', written));
    throw new Error('broke off');
  }

  @Get('answered-twice')
  answeredTwice(@Res() response: Response): never {
    response.json({ fine: true });
    throw new Error('afterwards');
  }

  @Post('body')
  @ApiProblem(400, { invalid_input: 'count: must be a whole number' })
  @ApiProblem(503, { rebuilding: 'The figures are being rebuilt.', redis_unavailable: 'Redis: connection refused' })
  body(@Body() body: OrderBody): OrderBody {
    handled += 1;
    return body;
  }

  @Post('raw')
  raw(@Body() body: unknown): Answer {
    handled += 1;
    return { done: JSON.stringify(body) !== '' };
  }

  @Get('list')
  list(@Query() query: ListQuery): ListQuery {
    return query;
  }

  @Get('path/:n/:month')
  path(@Param() parts: PathParts): PathParts {
    return parts;
  }
}

interface Reply {
  status: number;
  headers: Headers;
  json: any; // eslint-disable-line @typescript-eslint/no-explicit-any
}

let app: INestApplication;
let url: string;
const logged: string[] = [];

beforeAll(async () => {
  jest.spyOn(Logger.prototype, 'error').mockImplementation((...parts: unknown[]) => void logged.push(parts.join(' ')));
  const module = await Test.createTestingModule({ controllers: [EdgeController] }).compile();
  app = module.createNestApplication({ logger: false, bodyParser: false });
  app.use(sameMachineOnly(['https://shop.example']));
  app.enableCors({ origin: ['https://shop.example'] });
  app.useGlobalGuards(new Doorman(), new RequestBodyGuard(({ headers }) => headers['x-raw'] !== undefined));
  app.useGlobalPipes(new RequestValidation());
  app.useGlobalFilters(new ProblemFilter());
  await app.listen(0, '127.0.0.1');
  url = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`;
});

afterAll(() => app.close());

beforeEach(() => {
  handled = 0;
  logged.length = 0;
});

async function get(path: string): Promise<Reply> {
  return replyOf(await fetch(url + path));
}

async function post(
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<Reply> {
  return replyOf(
    await fetch(url + path, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } }),
  );
}

async function posted(path: string, body: string): Promise<{ status: number; text: string }> {
  const response = await fetch(url + path, { method: 'POST', body });
  return { status: response.status, text: await response.text() };
}

/** JSON of lists within lists. */
function listsIn(levels: number): string {
  return '['.repeat(levels) + ']'.repeat(levels);
}

async function replyOf(response: globalThis.Response): Promise<Reply> {
  const text = await response.text();
  return { status: response.status, headers: response.headers, json: text ? JSON.parse(text) : undefined };
}

/** Sends headers that fetch would not let pass. */
function withHeaders(path: string, headers: Record<string, string>, method = 'GET'): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url + path, { method, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode!,
          headers: new Headers(response.headers as Record<string, string>),
          json: text ? JSON.parse(text) : undefined,
        }),
      );
    });
    request.on('error', reject).end();
  });
}

function expectProblem(reply: Reply, status: number, code: string): void {
  expect(reply.json).toMatchObject({ type: 'about:blank', status, code });
  expect(reply.status).toBe(status);
  expect(reply.headers.get('content-type')).toBe('application/problem+json');
  expect(typeof reply.json.title).toBe('string');
  expect(typeof reply.json.detail).toBe('string');
}

describe('an error of a handler', () => {
  it.each([
    ['invalid', 400, 'Bad Request'],
    ['forbidden', 403, 'Forbidden'],
    ['not_found', 404, 'Not Found'],
    ['conflict', 409, 'Conflict'],
    ['too_large', 413, 'Payload Too Large'],
  ])('is answered by its kind: %s with %i', async (kind, status, title) => {
    const reply = await get(`/mistake/${kind}?with=a-query`);
    expectProblem(reply, status, 'a_mistake');
    expect(reply.json).toEqual({
      type: 'about:blank',
      title,
      status,
      detail: `This is ${kind}.`,
      code: 'a_mistake',
      instance: `/mistake/${kind}`,
    });
  });

  it('names every wrong field', async () => {
    const reply = await get('/invalid');
    expectProblem(reply, 400, 'invalid_input');
    expect(reply.json.errors).toEqual([
      { field: 'start', message: 'must not be after end' },
      { field: 'end', message: 'must be a day' },
    ]);
  });

  it('says that something does not exist', async () => {
    expectProblem(await get('/missing'), 404, 'not_found');
  });

  it('tells when to come back, and the facts, where something is unavailable', async () => {
    const reply = await get('/rebuilding');
    expectProblem(reply, 503, 'rebuilding');
    expect(reply.headers.get('retry-after')).toBe('1');
    expect(reply.json.progress).toEqual({ done: 1, total: 2 });
  });

  it('names the reason of a failed readiness check', async () => {
    const reply = await get('/unready');
    expectProblem(reply, 503, 'not_ready');
    expect(reply.json.detail).toBe('Not ready: redis.');
    expect(reply.json.error).toEqual({ redis: { status: 'down', message: 'connection refused' } });
    expect(Object.keys(reply.json.details)).toEqual(['ledger', 'redis']);
  });

  it.each(['/fault', '/thrown-text'])('shows nothing of a fault of ours, and logs it: %s', async (path) => {
    const reply = await get(path);
    expectProblem(reply, 500, 'internal_error');
    expect(JSON.stringify(reply.json)).not.toContain('hunter2');
    expect(logged.join()).toContain('hunter2');
  });

  it('writes nothing into a stream that has begun, and breaks it off', async () => {
    const response = await fetch(`${url}/broken-stream`);
    expect(response.status).toBe(200);
    await expect(response.text()).rejects.toThrow();
    expect(logged.join()).toContain('broke off');
  });

  it('leaves an answer alone that was complete', async () => {
    const reply = await get('/answered-twice');
    expect(reply).toMatchObject({ status: 200, json: { fine: true } });
  });
});

describe('a request that reaches no handler', () => {
  it.each([
    ['GET', '/nowhere'],
    ['DELETE', '/list'],
    ['POST', '/body/'.repeat(2)],
  ])('gets 404 route_not_found: %s %s', async (method, path) => {
    expectProblem(await replyOf(await fetch(url + path, { method })), 404, 'route_not_found');
  });

  it.each(['/mistake/%E0%A4%A', '/%E0%A4%A', '/path/%/2026-01', '/mistake/%FF'])(
    'never gets 500 for an URL that is malformed: %s',
    async (path) => {
      const reply = await get(path);
      expect([400, 404]).toContain(reply.status);
      if (reply.status === 400) expectProblem(reply, 400, 'malformed_url');
      else expectProblem(reply, 404, 'route_not_found');
    },
  );

  it('gets 400 malformed_url where a parameter of the path can’t be decoded', async () => {
    expectProblem(await get('/mistake/%E0%A4%A'), 400, 'malformed_url');
  });

  it.each(['{"count":', '{count:1}', '"text"', 'null', '\u0000', '{"a":1}}', '\ufeff{'])(
    'gets 400 malformed_body for a body that is no JSON object: %j',
    async (body) => {
      expectProblem(await post('/body', body), 400, 'malformed_body');
      expect(handled).toBe(0);
    },
  );

  it('gets 413 for a body of more than 1 MiB', async () => {
    const bodyOf = (bytes: number): string => JSON.stringify({ name: 'x'.repeat(bytes - 11) });
    expect((await post('/body', bodyOf(1_048_576))).status).toBe(201);
    const tooLarge = await post('/body', bodyOf(1_048_577));
    expectProblem(tooLarge, 413, 'body_too_large');
    expect(tooLarge.json.detail).toBe('The body is larger than 1048576 bytes.');
  });

  it('gets 413 for a body of more than 64 KiB where nobody shows who sends it', async () => {
    const bodyOf = (bytes: number): string => JSON.stringify({ name: 'x'.repeat(bytes - 11) });
    const stranger = { 'x-stranger': 'yes' };
    expect((await post('/body', bodyOf(65_536), stranger)).status).toBe(201);
    expectProblem(await post('/body', bodyOf(65_537), stranger), 413, 'body_too_large');
  });

  it.each([
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
    ['gzip, gzip', (body: string) => gzipSync(gzipSync(body))],
    ['zip', (body: string) => Buffer.from(body)],
  ])('gets 415 for a body that is compressed: %s', async (encoding, compress) => {
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/csv', 'multipart/form-data']) {
      const headers = { 'content-type': type, 'content-encoding': encoding };
      const reply = await post('/body', new Uint8Array(compress('{}')), headers);
      expectProblem(reply, 415, 'unsupported_encoding');
      expect(reply.headers.get('accept-encoding')).toBe('identity');
    }
    expect(handled).toBe(0);
  });

  it.each(['klingon', 'latin1', 'utf-16', 'utf-16le', 'utf-32', 'utf-7'])(
    'gets 415 for a body in another charset than UTF-8: %s',
    async (charset) => {
      const headers = { 'content-type': `application/json; charset=${charset}` };
      expectProblem(await post('/body', '{}', headers), 415, 'unsupported_charset');
      expect(handled).toBe(0);
    },
  );

  it.each(['utf-8', 'UTF-8', '"utf-8"'])('may say that its body is in %s', async (charset) => {
    const headers = { 'content-type': `application/json; charset=${charset}`, 'content-encoding': 'identity' };
    expect((await post('/body', '{}', headers)).status).toBe(201);
  });

  it.each(['application/x-www-form-urlencoded', 'text/csv', 'multipart/form-data; boundary=x', 'text/plain'])(
    'gets 400 malformed_body for a body that is no JSON, whatever it is: %s',
    async (type) => {
      expectProblem(await post('/body', 'count=3', { 'content-type': type }), 400, 'malformed_body');
    },
  );

  it('is refused by a guard before its body has come', async () => {
    const headers = { host: 'localhost', 'x-refuse': '1', 'content-length': '1000' };
    const request = httpRequest(`${url}/body`, { method: 'POST', headers });
    request.flushHeaders();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(429);
    request.destroy();
  });

  it('is not handled without its body, where the client left before that was read', async () => {
    const headers = { host: 'localhost', 'x-outwait': '1', 'content-length': '1000' };
    const request = httpRequest(`${url}/body`, { method: 'POST', headers }).on('error', () => undefined);
    const received = once(app.getHttpServer() as Server, 'request') as Promise<[Request, Response]>;
    request.flushHeaders();
    const [, response] = await received;
    const ended = once(response, 'close');
    request.destroy();
    await ended;
    await get('/list');
    expect(handled).toBe(0);
  });

  it.each(['application/json; charset', 'application/json; =', 'application/json;;;', 'application/json; charset="'])(
    'never gets 500 for a content type that is malformed: %s',
    async (type) => {
      expect((await post('/body', '{}', { 'content-type': type })).status).toBeLessThan(500);
    },
  );
});

describe('a body', () => {
  it('is handed over as its class, with its defaults', async () => {
    expect((await post('/body', '{}')).json).toEqual({ count: 3 });
    expect((await post('/body', '{"count":5,"items":[{"quantity":2}]}')).json).toEqual({
      count: 5,
      items: [{ quantity: 2 }],
    });
  });

  it('may be left out where every field may', async () => {
    expect(await replyOf(await fetch(`${url}/body`, { method: 'POST' }))).toMatchObject({ json: { count: 3 } });
  });

  it('is refused with every wrong field named once, nested and unknown ones too', async () => {
    const reply = await post(
      '/body',
      JSON.stringify({ count: '5', name: 7, colour: 'red', items: [{ quantity: 1 }, { quantity: 0, size: 1 }, 'x'] }),
    );
    expectProblem(reply, 400, 'invalid_input');
    const errors = reply.json.errors as { field: string; message: string }[];
    expect(errors.map(({ field }) => field).sort()).toEqual([
      'colour',
      'count',
      'items.1.quantity',
      'items.1.size',
      'items.2',
      'name',
    ]);
    const messageOn = (field: string): string => errors.find((error) => error.field === field)!.message;
    expect(messageOn('count')).toBe('must be a whole number');
    expect(messageOn('name')).toBe('must be a string');
    expect(messageOn('colour')).toBe('is not known here');
    expect(messageOn('items.1.quantity')).toBe('must be at least 1');
    expect(handled).toBe(0);
  });

  it.each(['[]', '[{"count":1}]'])('is refused where it is a list: %s', async (body) => {
    const reply = await post('/body', body);
    expectProblem(reply, 400, 'invalid_input');
    expect(reply.json.errors[0].field).toBe('body');
    expect(handled).toBe(0);
  });

  it.each(['/body', '/raw'])('is refused where it is nested too deep, and nothing is made of it: %s', async (path) => {
    const parse = jest.spyOn(JSON, 'parse');
    const [lists, objects] = [`{"items":${listsIn(200)}}`, `${'{"a":'.repeat(201)}1${'}'.repeat(201)}`];
    for (const body of [lists, objects, listsIn(500_000), '['.repeat(1_000_000), `"[",${lists}`]) {
      const { status, text } = await posted(path, body);
      expect(parse).not.toHaveBeenCalled();
      expect(status).toBe(400);
      expect(text).toContain('"errors":[{"field":"body","message":"must not be nested deeper than 200 levels"}]');
    }
    parse.mockRestore();
    expect(handled).toBe(0);
  });

  it('is taken with 200 levels, and with as many brackets as there may be in text', async () => {
    expect((await post('/raw', listsIn(200))).status).toBe(201);
    expect((await post('/raw', JSON.stringify({ text: '"[{\\'.repeat(10_000) }))).status).toBe(201);
  });

  it.each([
    '{"__proto__":{"count":1}}',
    '{"constructor":1}',
    '{"constructor":{"prototype":{"x":1}}}',
    '{"hasOwnProperty":1,"toString":2,"valueOf":3}',
    '{"then":1,"get":2,"length":-1}',
    '{"items":{"length":4294967295}}',
    '{"items":{"__proto__":[]}}',
    '{"items":[null,[],[[]],{"__proto__":1},{"constructor":null}]}',
    '{"items":[{"quantity":{"constructor":0}}]}',
    '{"count":1e999}',
    '{"count":{"$gt":0}}',
    '{"":1}',
  ])('never gets 500, however hostile: %s', async (body) => {
    const reply = await post('/body', body);
    expect(reply.status).toBeLessThan(500);
    expect(({} as Record<string, unknown>).count).toBeUndefined();
  });

  it('never gets 500, whatever JSON it is', async () => {
    const value = fc.object({
      key: fc.constantFrom('count', 'name', 'items', 'quantity', 'constructor', '__proto__', 'x'),
    });
    await fc.assert(
      fc.asyncProperty(value, async (body) => (await post('/body', JSON.stringify(body))).status < 500),
      { numRuns: 100 },
    );
  });
});

describe('query and path', () => {
  it('are handed over read', async () => {
    expect((await get('/list')).json).toEqual({ limit: 10 });
    expect((await get('/list?limit=1000&day=2024-02-29&month=2024-02&cursor=abc')).json).toEqual({
      limit: 1000,
      day: '2024-02-29',
      month: '2024-02',
      cursor: 'abc',
    });
    expect((await get('/path/7/2026-01')).json).toEqual({ n: 7, month: '2026-01' });
  });

  it.each([
    ...['0', '1001', '-1', '1.5', '1e3', '0x10', '%205', '5%20', '+5', '', 'ten', 'NaN', '9'.repeat(400), '٣'].map(
      (value) => ['limit', `limit=${value}`],
    ),
    ['limit', 'limit=1&limit=2'],
    ...['2023-02-29', '2024-1-1', '', '1999-12-31', '2024-01-01T00:00', 'today'].map((value) => [
      'day',
      `day=${value}`,
    ]),
    ['day', 'day=2024-01-01&day=2024-01-01'],
    ...['2024-13', '2024', '', '2024-01-01'].map((value) => ['month', `month=${value}`]),
    ['cursor', 'cursor=a&cursor=b'],
    ['cursor', `cursor=${'a'.repeat(1_001)}`],
    ['colour', 'colour=red'],
    ['limit[]', 'limit[]=3'],
  ])('are refused with the parameter named: %s by %s', async (field, query) => {
    const reply = await get(`/list?${query}`);
    expectProblem(reply, 400, 'invalid_input');
    expect(reply.json.errors.map((error: { field: string }) => error.field)).toEqual([field]);
  });

  it('are handed over frozen, since requests with the same ones share them', async () => {
    const validation = new RequestValidation();
    const checked = (limit: string): Promise<unknown> =>
      validation.transform({ limit }, { type: 'query', metatype: ListQuery });
    const query = await checked('5');
    expect(query).toBeInstanceOf(ListQuery);
    expect(Object.isFrozen(query)).toBe(true);
    expect(await checked('5')).toBe(query);
    expect(await checked('6')).toEqual({ limit: 6 });
    await expect(checked('0')).rejects.toThrow(InvalidInput);
    expect(await validation.transform({ n: '5', month: '2026-01' }, { type: 'param', metatype: PathParts })).toEqual({
      n: 5,
      month: '2026-01',
    });
  });

  it('are refused again where the same wrong ones come again, and taken for what they are where they look alike', async () => {
    for (const query of ['limit=0', 'limit=0', 'limit=1&limit=1', 'limit=[1]', 'limit=1,1']) {
      expectProblem(await get(`/list?${query}`), 400, 'invalid_input');
      expect((await get('/list?limit=1')).json).toEqual({ limit: 1 });
    }
  });

  it('are right however many others came before', async () => {
    const validation = new RequestValidation();
    for (let limit = 1; limit <= 1_000; limit++) {
      for (const cursor of ['a', 'b', 'c'.repeat(500)]) {
        const given = { limit: String(limit), cursor };
        expect(await validation.transform(given, { type: 'query', metatype: ListQuery })).toEqual({ limit, cursor });
      }
    }
  });

  it('are refused with all that is wrong', async () => {
    const reply = await get('/list?limit=x&day=y&month=z&colour=red');
    expect(reply.json.errors.map((error: { field: string }) => error.field).sort()).toEqual([
      'colour',
      'day',
      'limit',
      'month',
    ]);
    expect((await get('/path/0/2026-99')).json.errors).toHaveLength(2);
  });

  it.each([
    '__proto__=1',
    'constructor=1',
    'toString=1',
    'hasOwnProperty=1',
    'limit=%E0%A4%A',
    '%00=%00',
    '&&&=',
    'a[b][c]=1',
  ])('never get 500, however hostile: %s', async (query) => {
    expect((await get(`/list?${query}`)).status).toBeLessThan(500);
  });
});

describe('a cursor', () => {
  const isPlace = (value: Record<string, unknown>): value is { before: number } => Number.isSafeInteger(value.before);

  it('gives back the place it was made of', () => {
    expect(decodeCursor(encodeCursor({ before: 42 }), isPlace)).toEqual({ before: 42 });
    expect(encodeCursor({ id: '~?>ü' })).toMatch(/^[\w-]+$/);
  });

  it.each([
    '',
    'x',
    '!!!!',
    'null',
    ...['null', '1', '"a"', '[]', '{}', '{"before":"1"}', '{"before":1e300}', '{"before":1'].map((json) =>
      Buffer.from(json).toString('base64url'),
    ),
    '\u0000',
    encodeCursor({ after: 1 }),
  ])('is refused where it is not one of ours: %j', (cursor) => {
    expect(() => decodeCursor(cursor, isPlace)).toThrow(
      expect.objectContaining({ fields: [{ field: 'cursor', message: expect.any(String) }] }),
    );
  });

  it('is refused, whatever text it is', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json().map((json) => Buffer.from(json).toString('base64url')),
        ),
        (cursor) => {
          expect(() => decodeCursor(cursor, isPlace)).toThrow(InvalidInput);
        },
      ),
    );
  });
});

describe('a request from elsewhere', () => {
  it.each([
    'evil.example',
    'evil.example:80',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    '192.168.0.7',
    '0.0.0.0',
  ])('is refused for its Host: %j', async (host) => {
    expectProblem(await withHeaders('/list', { host }), 403, 'foreign_host');
  });

  it.each(['localhost:1234', '127.0.0.1', '[::1]:9000', 'LOCALHOST'])(
    'is served where its Host is this machine: %s',
    async (host) => {
      expect((await withHeaders('/list', { host })).status).toBe(200);
    },
  );

  it.each(['null', 'https://evil.example', 'http://localhost', 'http://localhost:9001', 'file://', ''])(
    'is refused for its Origin: %j',
    async (origin) => {
      const reply = await withHeaders('/list', { host: 'localhost:9000', origin });
      expectProblem(reply, 403, 'foreign_origin');
      expect(reply.headers.get('access-control-allow-origin')).toBeNull();
    },
  );

  it.each(['http://localhost:9000', 'https://localhost:9000'])('is served from its own pages: %s', async (origin) => {
    expect((await withHeaders('/list', { host: 'localhost:9000', origin })).status).toBe(200);
  });

  it('is served from an origin that is allowed, with the headers that a browser wants', async () => {
    const headers = { host: 'localhost', origin: 'https://shop.example', 'access-control-request-method': 'DELETE' };
    const asked = await withHeaders('/list', headers, 'OPTIONS');
    expect(asked.status).toBe(204);
    expect(asked.headers.get('access-control-allow-origin')).toBe('https://shop.example');
    expect((await withHeaders('/list', headers)).headers.get('access-control-allow-origin')).toBe(
      'https://shop.example',
    );
  });

  it('is refused to a picture or a script of another page, not to whoever follows a link', async () => {
    const from = (site: string, mode: string) =>
      withHeaders('/list', { host: 'localhost', 'sec-fetch-site': site, 'sec-fetch-mode': mode });
    expectProblem(await from('cross-site', 'no-cors'), 403, 'foreign_origin');
    expect((await from('cross-site', 'navigate')).status).toBe(200);
    expect((await from('same-origin', 'no-cors')).status).toBe(200);
  });

  it('is refused before its body is read', async () => {
    const reply = await post('/body', '{"count":', { origin: 'https://evil.example' });
    expectProblem(reply, 403, 'foreign_origin');
    expect(handled).toBe(0);
  });

  it('is refused in answer to a preflight', async () => {
    const headers = { host: 'localhost', origin: 'https://evil.example', 'access-control-request-method': 'DELETE' };
    expectProblem(await withHeaders('/list', headers, 'OPTIONS'), 403, 'foreign_origin');
  });
});

describe('the documentation', () => {
  it('shows problems with their codes', () => {
    const { paths, components } = SwaggerModule.createDocument(app, new DocumentBuilder().build());
    const { responses } = paths['/body']!.post!;
    expect(responses['503']).toMatchObject({
      description: 'Service Unavailable: `rebuilding` or `redis_unavailable`',
      content: {
        'application/problem+json': {
          schema: { $ref: '#/components/schemas/Problem' },
          examples: { rebuilding: { value: { status: 503, code: 'rebuilding' } } },
        },
      },
    });
    expect(components!.schemas!.Problem).toBeDefined();
  });

  it('shows the bounds of parameters', () => {
    const { paths } = SwaggerModule.createDocument(app, new DocumentBuilder().build());
    expect(paths['/list']!.get!.parameters).toContainEqual(
      expect.objectContaining({
        name: 'limit',
        in: 'query',
        required: false,
        schema: expect.objectContaining({ maximum: 1000 }),
      }),
    );
    expect(paths['/path/{n}/{month}']!.get!.parameters).toContainEqual(
      expect.objectContaining({ name: 'n', in: 'path', required: true }),
    );
  });
});
