import { Global, Module } from '@nestjs/common';
import { CONFIG, type Config } from '../../shared/config.js';
import { EmbeddedParts } from '../embedded/embedded-parts.js';
import { Redis } from './redis.js';

/** The one Redis service, connected to in the background. */
@Global()
@Module({
  providers: [
    {
      provide: Redis,
      useFactory: ({ redisKeyPrefix }: Config, parts: EmbeddedParts) => {
        const redis = new Redis(parts.redis, redisKeyPrefix);
        void redis.availability.start();
        return redis;
      },
      inject: [CONFIG, EmbeddedParts],
    },
  ],
  exports: [Redis],
})
export class RedisModule {}
