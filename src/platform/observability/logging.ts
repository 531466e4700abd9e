import { Logger as PinoLogger, type Params } from 'nestjs-pino';
import type { Config } from '../../shared/config.js';
import { requestInHand } from './request-log.js';

/**
 * One JSON line an event; readable lines on a terminal. Requests are logged where they failed on our side, without
 * their headers and query: those may hold secrets or name a person.
 */
export function loggerOptions({ logLevel }: Config): Params {
  return {
    pinoHttp: {
      level: logLevel,
      ...(process.stdout.isTTY && {
        transport: { target: 'pino-pretty', options: { singleLine: true, ignore: 'pid,hostname' } },
      }),
      mixin: requestInHand,
      serializers: {
        req: ({ id, method, url }: { id: unknown; method: string; url: string }) => ({
          id,
          method,
          path: url.split('?')[0],
        }),
        res: ({ statusCode }: { statusCode: number }) => ({ statusCode }),
      },
    },
    forRoutes: [], // requests are RequestLog's
  };
}

/** What Nest says of its own wiring interests nobody who starts the service; it goes to the debug level. */
const FRAMEWORK = ['NestFactory', 'InstanceLoader', 'RoutesResolver', 'RouterExplorer', 'NestApplication'];

/** The logger of the whole service. */
export class ServiceLogger extends PinoLogger {
  override log(message: unknown, ...rest: unknown[]): void {
    if (FRAMEWORK.includes(String(rest.at(-1)))) this.debug(message, ...rest);
    else super.log(message, ...rest);
  }
}
