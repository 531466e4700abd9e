import { Module } from '@nestjs/common';
import { QueueModule } from '../platform/queue/queue.module.js';
import { ProducerController } from './producer.controller.js';

/** `POST /produce`: sample orders on the queue. */
@Module({ imports: [QueueModule], controllers: [ProducerController] })
export class ProducerModule {}
