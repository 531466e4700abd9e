import { Controller, Get } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { OpenToAll } from './access.js';
import { ApiOverview } from './api-overview.js';

/** The way in for whoever knows only the address. */
@ApiTags('service')
@OpenToAll()
@Controller('api')
export class ApiOverviewController {
  constructor(private readonly overview: ApiOverview) {}

  /** Name, version, and every route with a line on it. */
  @Get()
  @ApiOperation({ summary: 'Name, version, and every route with a line on it' })
  @ApiOkResponse({
    example: {
      name: 'order-pipeline',
      version: '0.1.0',
      docs: '/docs',
      dashboard: '/dashboard',
      routes: [{ method: 'GET', path: '/stats/global', summary: 'Statistics over everything' }],
    },
  })
  show(): ReturnType<ApiOverview['describe']> {
    return this.overview.describe();
  }
}
