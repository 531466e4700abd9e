import {
  Controller,
  Get,
  type INestApplication,
  Logger,
  ServiceUnavailableException,
  StreamableFile,
} from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { LoggerModule } from 'nestjs-pino';
import type { AddressInfo } from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { ProblemFilter } from '../../src/platform/http/problem.filter.js';
import { loggerOptions, ServiceLogger } from '../../src/platform/observability/logging.js';
import { RequestLog } from '../../src/platform/observability/request-log.js';
import { loadConfig } from '../../src/shared/config.js';
import { eventually } from '../support/eventually.js';

@Controller()
class SayingController {
  private readonly logger = new Logger('Saying');

  @Get('fine')
  fine(): { fine: true } {
    return { fine: true };
  }

  @Get('says')
  async says(): Promise<void> {
    await setImmediate();
    this.logger.warn('said');
  }

  @Get('fault')
  fault(): never {
    throw new Error('broken');
  }

  @Get(['unready', 'health/unready', 'api/v1/system/health/unready'])
  unready(): never {
    throw new ServiceUnavailableException();
  }

  @Get('endless')
  endless(): StreamableFile {
    const stream = new PassThrough();
    stream.write('begun');
    return new StreamableFile(stream);
  }
}

type Line = Record<string, unknown>;

let app: INestApplication;
let url: string;
let lines: Line[] = [];

beforeAll(async () => {
  const { pinoHttp, ...options } = loggerOptions(loadConfig({ LOG_LEVEL: 'debug' }));
  const written = new Writable({
    write(line: Buffer, _encoding, done) {
      lines.push(JSON.parse(line.toString()) as Line);
      done();
    },
  });
  const module = await Test.createTestingModule({
    imports: [LoggerModule.forRoot({ ...options, pinoHttp: [pinoHttp as object, written] })],
    controllers: [SayingController],
    providers: [RequestLog, ServiceLogger],
  }).compile();
  app = module.createNestApplication();
  app.useLogger(app.get(ServiceLogger));
  const log = app.get(RequestLog);
  app.use(log.use.bind(log));
  app.useGlobalFilters(new ProblemFilter());
  await app.listen(0, '127.0.0.1');
  url = `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}`;
});

afterAll(() => app.close());

/** What was logged of a request, up to the line that ends it. */
async function loggedOf(path: string): Promise<Line[]> {
  lines = [];
  await (await fetch(url + path, { headers: { authorization: 'secret' } })).text();
  return eventually(() => {
    expect(String(lines.at(-1)?.msg)).toMatch(/^request /);
    return lines;
  });
}

describe('a request', () => {
  it('is logged on the debug level where it is answered, without query and headers', async () => {
    const [line, ...more] = await loggedOf('/fine?name=Jo');
    expect(more).toEqual([]);
    expect(line).toMatchObject({
      level: 20,
      req: { id: expect.any(String), method: 'GET', path: '/fine' },
      res: { statusCode: 200 },
      responseTime: expect.any(Number),
      msg: 'request completed',
    });
    expect(JSON.stringify(line)).not.toMatch(/Jo|secret/);
  });

  it('is named by what is logged on its behalf, and by nothing else', async () => {
    const [said, ended] = await loggedOf('/says');
    expect(said).toMatchObject({ level: 40, context: 'Saying', req: { method: 'GET', path: '/says' }, msg: 'said' });
    expect(ended!.req).toEqual(said!.req);
    new Logger('Saying').warn('out of turn');
    expect(lines.at(-1)).toMatchObject({ msg: 'out of turn' });
    expect(lines.at(-1)).not.toHaveProperty('req');
  });

  it('is a warning where it failed on our side, beside the error itself', async () => {
    const [error, ended] = await loggedOf('/fault');
    expect(error).toMatchObject({ level: 50, context: 'Http', req: { path: '/fault' } });
    expect(ended).toMatchObject({ level: 40, res: { statusCode: 500 }, msg: 'request errored' });
    expect((await loggedOf('/unready')).at(-1)).toMatchObject({ level: 40, res: { statusCode: 503 } });
  });

  it('is none where it asks for health: a part that is down says so itself', async () => {
    for (const path of ['/health/unready', '/api/v1/system/health/unready']) {
      expect((await loggedOf(path)).at(-1)).toMatchObject({ level: 20, msg: 'request errored' });
    }
  });

  it('is told to be aborted where the client left', async () => {
    lines = [];
    const leaving = new AbortController();
    const response = await fetch(`${url}/endless`, { signal: leaving.signal });
    await response.body!.getReader().read();
    leaving.abort();
    await eventually(() => expect(lines).toMatchObject([{ level: 20, msg: 'request aborted' }]));
  });

  it('has a number of its own', async () => {
    const ids = [...(await loggedOf('/fine')), ...(await loggedOf('/fine'))].map(({ req }) => (req as Line).id);
    expect(new Set(ids).size).toBe(2);
  });
});
