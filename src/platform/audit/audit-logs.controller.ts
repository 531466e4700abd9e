import { Controller, Get, Query } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { RequireScope } from '../http/access.js';
import { ApiInvalidInput, ApiProblem } from '../http/api-problem.js';
import { encodeCursor } from '../http/cursor.js';
import { AuditLog } from './audit-log.repository.js';
import {
  AuditLogsQuery,
  AuditPage,
  auditRowJson,
  AuditVerification,
  auditVerification,
  filterOf,
} from './audit-logs.dto.js';

/** Who changed what. */
@ApiTags('system')
@RequireScope('audit:read')
@Controller('api/v1/system/audit-logs')
export class AuditLogsController {
  constructor(private readonly log: AuditLog) {}

  /** Rows, newest first; every filter given must hold. @throws InvalidInput @throws DatabaseUnavailable */
  @Get()
  @ApiOperation({ summary: 'Who changed what and by which request, newest first' })
  @ApiOkResponse({ type: AuditPage })
  @ApiInvalidInput('start: must be a day such as 2026-01-31, of the years 2000 to 2100')
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async list(@Query() query: AuditLogsQuery): Promise<AuditPage> {
    const { rows, more } = await this.log.page(filterOf(query), query.limit);
    const last = more ? rows.at(-1) : undefined;
    return { items: rows.map(auditRowJson), next_cursor: last ? encodeCursor({ before: last.id }) : null };
  }

  /** Goes along the chain. @throws DatabaseUnavailable */
  @Get('verify')
  @ApiOperation({
    summary: 'Check that no row of the audit log was changed or is missing',
    description:
      'Computes the hash of every sealed row anew. It ends at the first mismatch. A chain that was shortened together with ' +
      'its head looks whole; compare `sequence` and `hash` with those of an earlier check.',
  })
  @ApiOkResponse({ type: AuditVerification })
  @ApiProblem(503, { ledger_unavailable: 'PostgreSQL: connect ECONNREFUSED' })
  async verify(): Promise<AuditVerification> {
    return auditVerification(await this.log.verify());
  }
}
