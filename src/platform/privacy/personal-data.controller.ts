import { Controller, Delete, Param } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import type { Actor } from '../../shared/access.js';
import { NotFound } from '../../shared/errors.js';
import { cleanId } from '../../domain/ids.js';
import { CurrentActor, RequireScope } from '../http/access.js';
import { ApiProblem } from '../http/api-problem.js';
import { ErasureJson } from './personal-data.dto.js';
import { PersonalData } from './personal-data.js';

/** What is kept of a person. */
@ApiTags('personal data')
@Controller('api/v1/users/:user_id/personal-data')
export class PersonalDataController {
  constructor(private readonly personalData: PersonalData) {}

  /** Erases it. @throws NotFound @throws RepairUnderWay @throws ErasureInterrupted @throws DatabaseUnavailable */
  @Delete()
  @RequireScope('personal-data:erase')
  @ApiOperation({
    summary: "Erase a person's names and addresses, and keep the figures",
    description:
      'An account of that user id is closed: its name and address are gone, and nobody can use it. In the stored bodies of the ' +
      'user’s orders and of their repairs, values of fields that name, locate or reach a person ' +
      'are replaced by `[erased]`; findings of checks of them are deleted. Ids, amounts, times, hashes and figures stay as they were, and the same message sent ' +
      'again is still a duplicate. May be repeated at any time, and has to be after an answer other than 200. It is audited.\n\n' +
      'Out of its reach: messages on the queue and among the dead letters, earlier exports and backups, orders whose user ' +
      'id could not be read, and personal data in fields whose names do not say so.',
  })
  @ApiParam({ name: 'user_id', type: String, example: 'U042' })
  @ApiOkResponse({ type: ErasureJson })
  @ApiProblem(400, { malformed_url: "Failed to decode param '%'." })
  @ApiProblem(404, { not_found: 'No orders of user U042 are known.' })
  @ApiProblem(409, {
    last_admin: 'This is the only admin. Make another account an admin first.',
    repair_pending: 'A repair of position 7 is under way, see GET /repairs?position=7.',
  })
  @ApiProblem(503, {
    ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED',
    erasure_interrupted: 'The service is stopping. Ask again: the erasure goes on where it was.',
  })
  async erase(@Param('user_id') given: string, @CurrentActor() actor: Actor): Promise<ErasureJson> {
    const userId = cleanId(given);
    if (userId === null) throw new NotFound('No user can have this id.');
    return { user_id: userId, erased: await this.personalData.erase(userId, actor) };
  }
}
