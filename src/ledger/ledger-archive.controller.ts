import { Controller, Get, Logger, Query, Res } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { Response } from 'express';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EmbeddedParts } from '../platform/embedded/embedded-parts.js';
import { Needs } from '../platform/http/access.js';
import { ApiInvalidInput, ApiProblem } from '../platform/http/api-problem.js';
import { EMBEDDED_LEDGER_OWNER, LEDGER_POSITION, NDJSON } from './archive-transfer.js';
import { LedgerArchive } from './ledger-archive.js';
import { LedgerExportQuery } from './ledger-archive.dto.js';

/** Hands the ledger out as a whole, for moving it to another database. */
@ApiTags('ledger')
@Needs('ledger:export')
@Controller('ledger')
export class LedgerArchiveController {
  private readonly logger = new Logger('LedgerArchive');

  constructor(
    private readonly archive: LedgerArchive,
    private readonly parts: EmbeddedParts,
  ) {}

  /** The ledger as it is now, as lines. @throws InvalidInput @throws LedgerGap @throws DatabaseUnavailable */
  @Get('export')
  @ApiOperation({
    summary: 'The whole ledger, or the rest of it, as JSON Lines',
    description:
      'A header, every entry up to where the ledger ends now, every repair, every refund that waits for its order, and an `end` that says that nothing is ' +
      'missing: what `npm run ledger:import` takes. Entries that come meanwhile are not among them; ask for them with ' +
      '`after`. An answer that breaks off has no `end`. `npm run ledger:export` asks here while the service runs.',
  })
  @ApiProduces(NDJSON)
  @ApiOkResponse({
    description: 'One object a line.',
    schema: {
      type: 'string',
      example:
        '{"type":"ledger","version":1,"ledger_id":"5f3c6f0e-2a4f-4a53-9d0e-8f1f5a2f6c11","after":0,"entry_hash":"e3b0…",' +
        '"check":"6ad0b4a3f62f1a70"}\n{"type":"entry","position":1,"kind":"order","outcome":"accepted",…}\n' +
        '{"type":"end","position":1,"entry_hash":"77c1…","base":0,"repairs":0,"waiting_refunds":0,"check":"90f1d7e2c5a8b3d4"}\n',
    },
  })
  @ApiInvalidInput('after: must be at most 150, where the ledger ends')
  @ApiProblem(503, { ledger_unavailable: 'the embedded ledger: starting' })
  async export(@Query() { after }: LedgerExportQuery, @Res() response: Response): Promise<void> {
    const extent = await this.archive.extent(after);
    response.type(NDJSON).set(LEDGER_POSITION, String(extent.end.position));
    if (this.parts.ledgerStore) response.set(EMBEDDED_LEDGER_OWNER, String(process.pid));
    const pages = this.archive.pages(extent);
    try {
      await pipeline(Readable.from(text(pages), { highWaterMark: 1 }), response);
    } catch (error) {
      // The client has gone, or sees by the missing end that something broke off.
      this.logger.debug(`An export broke off: ${String(error)}`);
      if (!isGoneClient(error)) throw error;
    }
  }
}

async function* text(pages: AsyncIterable<string[]>): AsyncGenerator<string> {
  for await (const lines of pages) yield `${lines.join('\n')}\n`;
}

function isGoneClient(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'ERR_STREAM_PREMATURE_CLOSE';
}
