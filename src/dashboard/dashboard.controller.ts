import { Controller, Get, Header, Param, Res } from '@nestjs/common';
import { ApiExcludeEndpoint, ApiOkResponse, ApiOperation, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { Response } from 'express';
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { OpenToAll } from '../platform/http/access.js';
import { NotFound } from '../shared/errors.js';

const FOLDER = join(__dirname, 'page');
const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The live page. It is for everybody and holds no data: what it shows it asks the API for, as whoever has logged in. */
@ApiTags('service')
@OpenToAll()
@Controller('dashboard')
export class DashboardController {
  private readonly files = new Map(
    readdirSync(FOLDER).flatMap((name) => {
      const type = TYPES[extname(name)];
      return type ? [[name, { type, text: readFileSync(join(FOLDER, name), 'utf8') }]] : [];
    }),
  );

  /** The page itself. */
  @Get()
  @Header('Content-Type', TYPES['.html']!)
  @Header('Cache-Control', 'no-cache')
  @ApiOperation({ summary: 'The live page: figures, health and data quality, to be opened in a browser' })
  @ApiProduces('text/html')
  @ApiOkResponse({ schema: { type: 'string' } })
  page(): string {
    return this.files.get('index.html')!.text;
  }

  /** What the page loads. @throws NotFound */
  @Get(':file')
  @Header('Cache-Control', 'no-cache')
  @ApiExcludeEndpoint()
  part(@Param('file') name: string, @Res({ passthrough: true }) response: Response): string {
    const file = this.files.get(name);
    if (!file) throw new NotFound('The dashboard has no such file.');
    response.setHeader('Content-Type', file.type);
    return file.text;
  }
}
