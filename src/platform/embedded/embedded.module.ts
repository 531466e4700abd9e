import { Global, Module } from '@nestjs/common';
import { CONFIG, type Config } from '../../shared/config.js';
import { EmbeddedParts } from './embedded-parts.js';

/** The parts that run inside or under this process. They are ready when this module is. */
@Global()
@Module({
  providers: [
    { provide: EmbeddedParts, useFactory: (config: Config) => EmbeddedParts.start(config), inject: [CONFIG] },
  ],
  exports: [EmbeddedParts],
})
export class EmbeddedModule {}
