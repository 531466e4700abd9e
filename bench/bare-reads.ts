import { Redis } from 'ioredis';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RedisKeys } from '../src/platform/redis/redis-keys.js';

/**
 * Runs as a child process: the least that anybody does who serves figures from Redis over HTTP. It reads the same keys
 * as the service, checks nothing, and answers with what Redis said.
 *
 * Usage: bare-reads REDIS_URL PREFIX GENERATION
 */

const [, , redisUrl, prefix, generation] = process.argv;
const redis = new Redis(redisUrl!);
const keys = new RedisKeys(prefix!).generation(Number(generation));

function read(path: string): Promise<unknown> {
  const [, first, second, third] = path.split('/');
  if (first === 'users') return redis.hgetall(keys.user(second!));
  if (second === 'top') return redis.zrevrange(keys.usersBySpend, 0, Number(third) - 1, 'WITHSCORES');
  return Promise.all([redis.hgetall(keys.global), redis.zcard(keys.usersBySpend)]);
}

const server = createServer((request, response) => {
  void read(request.url!).then((found) => {
    response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.end(JSON.stringify(found));
  });
});

process.on('disconnect', () => process.exit());
server.listen(0, '127.0.0.1', () => {
  process.send!({ kind: 'listening', port: (server.address() as AddressInfo).port });
});
