import { Controller, Get } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { isoOf } from '../../shared/iso-time.js';
import { RequireScope } from '../http/access.js';
import { QueueWorkers } from './queue-workers.js';
import { queueWorkerJson, WorkersJson } from './workers.dto.js';

/** Who works on which queue. */
@ApiTags('system')
@RequireScope('metrics:read')
@Controller('api/v1/system/workers')
export class WorkersController {
  private readonly since = Date.now();

  constructor(private readonly workers: QueueWorkers) {}

  /** Every queue with what this process does on it. A queue that can't be reached is told as such. */
  @Get()
  @ApiOperation({
    summary: 'Every queue, what waits on it, and what this process has done of it',
    description:
      'Other processes on the same queues tell of themselves; `depth` and `dead_letters` are the same everywhere.',
  })
  @ApiOkResponse({ type: WorkersJson })
  async list(): Promise<WorkersJson> {
    return { since: isoOf(this.since), queues: await Promise.all(this.workers.all.map(queueWorkerJson)) };
  }
}
