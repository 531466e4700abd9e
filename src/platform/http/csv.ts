import {
  applyDecorators,
  type CanActivate,
  type ExecutionContext,
  NotAcceptableException,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { ApiExtraModels, ApiResponse, getSchemaPath } from '@nestjs/swagger';
import { stringify } from 'csv-stringify/sync';
import type { Request, Response } from 'express';
import { layOut } from './answer-adapter.js';
import { ApiProblem } from './api-problem.js';

const CSV_TYPE = 'text/csv; charset=utf-8';

/** With all parameters that an Accept header may well name, RFC 4180's own among them; the first is what anybody gets. */
const OFFERED = [
  'application/json',
  'application/json; charset=utf-8',
  'text/csv',
  CSV_TYPE,
  'text/csv; header=present',
  `${CSV_TYPE}; header=present`,
];

const NOT_ACCEPTABLE = 'This is there as application/json and as text/csv.';

type Cell = string | number | null | undefined;
type CsvRow<Row> = { [Column in keyof Row]: Cell };

/** How the answer of a route is laid out as a table. */
export interface CsvTable<Answer, Row extends CsvRow<Row>> {
  /** What the file is called, without its ending. @param path what the path of the request holds */
  file(answer: Answer, path: Record<string, string>): string;
  /** In their order, named as the fields of a row. Text, whole numbers and null (an empty cell), but for those of `money`. */
  columns: readonly (keyof Row & string)[];
  /** The columns that are decimal amounts, written with exactly two places. */
  money: readonly (keyof Row & string)[];
  rows(answer: Answer): Row[];
  /** For the documentation of both forms. */
  example: Answer;
}

/** Goes onto a handler that answers with what the table is made of. */
type OnHandlerOf<Answer> = <Handler extends (...given: never[]) => Promise<Answer>>(
  target: object,
  name: string,
  descriptor: TypedPropertyDescriptor<Handler>,
) => void;

/**
 * Lets a route answer with JSON, or with a table for who prefers `text/csv`, and documents both. What accepts neither gets
 * 406. Where the answer has a `next_cursor`, a Link header names the next page in either form. Errors are no table.
 * @param type class of the answer, in a list where the answer is one
 */
export function JsonOrCsv<Answer extends object, Row extends CsvRow<Row>>(
  type: Type<unknown> | [Type<unknown>],
  table: CsvTable<Answer, Row>,
): OnHandlerOf<Answer> {
  const model = Array.isArray(type) ? type[0] : type;
  const one = { $ref: getSchemaPath(model) };
  const isPaged = 'next_cursor' in table.example;
  return applyDecorators(
    UseGuards(new ContentNegotiation(table, isPaged)),
    ApiExtraModels(model),
    ApiResponse({
      status: 200,
      description:
        'As JSON, or as a table for `Accept: text/csv`: UTF-8, a header row, CRLF, amounts with two places. Text that a ' +
        'spreadsheet would take for a formula has an apostrophe before it.',
      headers: isPaged
        ? { Link: { description: 'Address of the next page, `rel="next"`', schema: { type: 'string' } } }
        : undefined,
      content: {
        'application/json': {
          schema: Array.isArray(type) ? { type: 'array', items: one } : one,
          example: table.example,
        },
        'text/csv': { schema: { type: 'string' }, example: csvOf(table, table.example) },
      },
    }),
    ApiProblem(406, { not_acceptable: NOT_ACCEPTABLE }),
  );
}

/**
 * A table as RFC 4180 lays it out, with a header row. A text that a spreadsheet would take for a formula gets an apostrophe
 * before it; negative numbers stay numbers.
 */
function csvOf<Answer, Row extends CsvRow<Row>>(table: CsvTable<Answer, Row>, answer: Answer): string {
  const { columns, money } = table;
  return stringify(table.rows(answer), {
    header: true,
    columns: [...columns],
    record_delimiter: 'windows',
    quoted_match: /[\r\n]/,
    escape_formulas: true,
    cast: {
      number: (value, { column }) => (money.some((name) => name === column) ? value.toFixed(2) : String(value)),
      // A number that a double can't hold, see decimalOfSum.
      object: (value) => ({ value: (value as { rawJSON: string }).rawJSON, escape_formulas: false }),
    },
  });
}

/** Settles in which form a route answers before it does anything; a guard, since an interceptor costs far more. */
class ContentNegotiation<Answer extends object, Row extends CsvRow<Row>> implements CanActivate {
  constructor(
    private readonly table: CsvTable<Answer, Row>,
    private readonly isPaged: boolean,
  ) {}

  /** @throws NotAcceptableException */
  canActivate(context: ExecutionContext): true {
    const request = context.switchToHttp().getRequest<Request<Record<string, string>>>();
    const response = context.switchToHttp().getResponse<Response>();
    response.vary('Accept');
    const chosen = request.accepts(OFFERED);
    if (!chosen) throw new NotAcceptableException(NOT_ACCEPTABLE);
    const asTable = chosen.startsWith('text/csv');
    if (asTable || this.isPaged) {
      layOut(response, (answer) => {
        const cursor = nextCursorOf(answer);
        if (cursor !== null) response.setHeader('Link', `<${pageAt(cursor, request.originalUrl)}>; rel="next"`);
        return asTable ? this.tableOf(answer as Answer, request, response) : answer;
      });
    }
    return true;
  }

  private tableOf(answer: Answer, request: Request<Record<string, string>>, response: Response): string {
    const file = asFileName(this.table.file(answer, request.params));
    response.setHeader('Content-Type', CSV_TYPE);
    response.setHeader('Content-Disposition', `inline; filename="${file}.csv"`);
    return csvOf(this.table, answer);
  }
}

function nextCursorOf(answer: object): string | null {
  return 'next_cursor' in answer && typeof answer.next_cursor === 'string' ? answer.next_cursor : null;
}

/** The address of a request with another cursor; what may not stand in an address is encoded. */
function pageAt(cursor: string, url: string): string {
  const path = url.split('?', 1)[0]!;
  const query = new URLSearchParams(url.slice(path.length));
  query.set('cursor', cursor);
  return `${path.replace(/[^\w\-.~!$&'()*+,;=:@%/]/g, encodeURIComponent)}?${query.toString()}`;
}

/** Ids of users may have any printable character. */
function asFileName(text: string): string {
  return text.replace(/[^\w.-]+/g, '-');
}
