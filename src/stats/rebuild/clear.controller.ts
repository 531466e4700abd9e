import { Controller, Delete } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { CurrentActor, RequireScope } from '../../platform/http/access.js';
import type { Actor } from '../../shared/access.js';
import { Projector } from '../projection/projector.worker.js';
import { ApiStatsUnavailable, Cleared } from '../api/stats.dto.js';

/** Lets the statistics begin at zero. */
@ApiTags('statistics')
@RequireScope('statistics:manage')
@Controller('clear_redis_db')
export class ClearController {
  constructor(private readonly projector: Projector) {}

  /** Clears statistics and consumer logs. @throws RedisUnavailable @throws DatabaseUnavailable */
  @Delete()
  @ApiOperation({
    summary: 'Let statistics and consumer logs begin at zero from here',
    description:
      'Also after a restart. The ledger is untouched: what was received stays received, so sending the same orders again ' +
      'gives duplicates, which are not counted. (`npm run reset` empties everything.)',
  })
  @ApiOkResponse({ type: Cleared })
  @ApiStatsUnavailable()
  async clear(@CurrentActor() actor: Actor): Promise<Cleared> {
    await this.projector.clear(actor);
    return { message: 'Redis database cleared' };
  }
}
