import { applyDecorators } from '@nestjs/common';
import { ApiExtraModels, ApiProperty, ApiPropertyOptional, ApiResponse, getSchemaPath } from '@nestjs/swagger';
import { STATUS_CODES } from 'node:http';

/** A wrong field of a request. */
export class ProblemField {
  @ApiProperty({ example: 'items.0.quantity' })
  field!: string;

  @ApiProperty({ example: 'must be a whole number' })
  message!: string;
}

/** An error as RFC 9457 lays it out. */
export class Problem {
  @ApiProperty({ example: 'about:blank' })
  type!: string;

  @ApiProperty({ example: 'Bad Request' })
  title!: string;

  @ApiProperty({ example: 400 })
  status!: number;

  @ApiProperty({ example: 'limit: must be a whole number from 1 to 1000' })
  detail!: string;

  @ApiProperty({ description: 'Stable; what a program should look at', example: 'invalid_input' })
  code!: string;

  @ApiProperty({ description: 'The path that was called', example: '/users' })
  instance!: string;

  @ApiPropertyOptional({ type: [ProblemField], description: 'Every wrong field' })
  errors?: ProblemField[];
}

/**
 * Documents a status of a route that answers with a problem.
 * @param details for each code that it may have: an example of its `detail`
 */
export function ApiProblem(status: number, details: Record<string, string>): MethodDecorator & ClassDecorator {
  const examples = Object.fromEntries(
    Object.entries(details).map(([code, detail]) => [
      code,
      { value: { type: 'about:blank', title: STATUS_CODES[status], status, detail, code } },
    ]),
  );
  const codes = Object.keys(details).map((code) => `\`${code}\``);
  return applyDecorators(
    ApiExtraModels(Problem),
    ApiResponse({
      status,
      description: `${STATUS_CODES[status]}: ${codes.join(' or ')}`,
      content: { 'application/problem+json': { schema: { $ref: getSchemaPath(Problem) }, examples } },
    }),
  );
}

/** Documents that wrong parameters are answered with 400, all of them named. */
export function ApiInvalidInput(detail: string): MethodDecorator & ClassDecorator {
  return ApiProblem(400, { invalid_input: detail });
}
