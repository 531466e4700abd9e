import { type ArgumentMetadata, ValidationPipe } from '@nestjs/common';
import { ApiProperty, type ApiPropertyOptions } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsOptional, MaxLength, registerDecorator, type ValidationError } from 'class-validator';
import { Decimal } from 'decimal.js';
import { isDay, isMonth } from '../../domain/business-time.js';
import { type FieldError, InvalidInput } from '../../shared/errors.js';
import { isWider } from '../../shared/nesting.js';

/** More than any request needs; what makes a DTO of a body compares each name of an object with those before it. */
const MAX_FIELDS = 1_000;
/** How many queries and paths of a DTO are remembered, and how long, as JSON, they may be. */
const MAX_REMEMBERED = 1_000;
const MAX_REMEMBERED_CHARACTERS = 200;
/** Cursors of ours are much shorter. */
const MAX_CURSOR_CHARACTERS = 1_000;
const PRINTABLE_ASCII = /^[\x20-\x7e]{1,300}$/;

/**
 * The global pipe. Checks requests against their DTO classes, refuses what these don't know, and names every wrong field
 * at once ({@link InvalidInput}). Values are never converted silently: `"5"` in a JSON body is not a number.
 */
export class RequestValidation extends ValidationPipe {
  private readonly passed = new PassedParameters();

  constructor() {
    super({
      whitelist: true,
      forbidNonWhitelisted: true,
      transform: true,
      transformOptions: { enableImplicitConversion: false },
      validationError: { target: false, value: false },
      exceptionFactory: (errors) => new InvalidInput(fieldErrors(errors)),
    });
  }

  /** @throws InvalidInput */
  override async transform(value: unknown, metadata: ArgumentMetadata): Promise<unknown> {
    const { type, metatype } = metadata;
    if ((type === 'query' || type === 'param') && metatype && this.toValidate(metadata)) {
      return this.passed.of(metatype, String(JSON.stringify(value)), () => super.transform(value, metadata));
    }
    if (metadata.type === 'body') {
      if (isWider(value, MAX_FIELDS)) {
        throw new InvalidInput([{ field: 'body', message: `must have no object with more than ${MAX_FIELDS} fields` }]);
      }
      // A list of what should be one would pass as a list of the DTO.
      if (Array.isArray(value) && this.toValidate(metadata)) {
        throw new InvalidInput([{ field: 'body', message: 'must be an object, not a list' }]);
      }
    }
    return super.transform(value, metadata);
  }
}

/**
 * Queries and paths that passed lately. They are mostly the same few, and to check one costs more than to read the
 * figures. So their checks must depend on nothing but the value; requests share what was made of it, hence it is frozen.
 */
class PassedParameters {
  private readonly byDto = new Map<object, Map<string, unknown>>();

  /** @param check makes the DTO, or throws */
  of(dto: object, given: string, check: () => Promise<unknown>): unknown {
    return this.byDto.get(dto)?.get(given) ?? this.checked(dto, given, check);
  }

  private async checked(dto: object, given: string, check: () => Promise<unknown>): Promise<unknown> {
    const made = Object.freeze(await check());
    if (given.length > MAX_REMEMBERED_CHARACTERS) return made;
    const passed = this.byDto.get(dto) ?? new Map<string, unknown>();
    if (passed.size >= MAX_REMEMBERED) passed.clear();
    this.byDto.set(dto, passed.set(given, made));
    return made;
  }
}

/** A query parameter that is a whole number, written in digits only. */
export function QueryInteger(least: number, most: number, api: ApiPropertyOptions = {}): PropertyDecorator {
  return optional(integer(least, most), { type: 'integer', minimum: least, maximum: most, ...api });
}

/** A part of the path that is a whole number, written in digits only. */
export function PathInteger(least: number, most: number, api: ApiPropertyOptions = {}): PropertyDecorator {
  return required(integer(least, most), { type: 'integer', minimum: least, maximum: most, ...api });
}

/** A query parameter that is a day, `YYYY-MM-DD`, of the years 2000 to 2100. */
export function QueryDay(api: ApiPropertyOptions = {}): PropertyDecorator {
  const check = text(isDay, 'must be a day such as 2026-01-31, of the years 2000 to 2100');
  return optional(check, { type: 'string', format: 'date', ...api });
}

/** A query parameter that is 1 to 300 characters of printable ASCII. */
export function QueryText(api: ApiPropertyOptions = {}): PropertyDecorator {
  const check = text((given) => PRINTABLE_ASCII.test(given), 'must be 1 to 300 characters of printable ASCII');
  return optional(check, { type: 'string', ...api });
}

/** A query parameter that is a month, `YYYY-MM`, of the years 2000 to 2100. */
export function QueryMonth(api: ApiPropertyOptions = {}): PropertyDecorator {
  return optional(month, { type: 'string', pattern: MONTH_PATTERN, ...api });
}

/** A part of the path that is a month, `YYYY-MM`, of the years 2000 to 2100. */
export function PathMonth(api: ApiPropertyOptions = {}): PropertyDecorator {
  return required(month, { type: 'string', pattern: MONTH_PATTERN, ...api });
}

/** A field of the body that is an amount of money in currency units, from 0.01. */
export function BodyMoney(most: number): PropertyDecorator {
  return satisfies(
    (given) => typeof given === 'number' && given >= 0.01 && given <= most && new Decimal(given).decimalPlaces() <= 2,
    `must be an amount from 0.01 to ${most} with at most two places`,
  );
}

/** The query parameter `cursor`: where the page before ended. What is in it, decodeCursor checks. */
export function QueryCursor(): PropertyDecorator {
  const check = text(() => true, 'must be given once');
  const short = MaxLength(MAX_CURSOR_CHARACTERS, { message: 'must be a next_cursor of this list' });
  return optional(both(short, check), { type: 'string', description: 'The `next_cursor` of the page before' });
}

const MONTH_PATTERN = '^\\d{4}-(0[1-9]|1[0-2])$';
const month = text(isMonth, 'must be a month such as 2026-01, of the years 2000 to 2100');

function integer(least: number, most: number): PropertyDecorator {
  const read = Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value,
  );
  const check = satisfies(
    (value) => typeof value === 'number' && value >= least && value <= most,
    `must be a whole number from ${least} to ${most}`,
  );
  return both(read, check);
}

/** A parameter that is repeated arrives as a list, and a list is no text. */
function text(accepts: (given: string) => boolean, message: string): PropertyDecorator {
  return satisfies((value) => typeof value === 'string' && accepts(value), message);
}

function satisfies(accepts: (value: unknown) => boolean, message: string): PropertyDecorator {
  return (target, property) =>
    registerDecorator({
      name: 'satisfies',
      target: target.constructor,
      propertyName: String(property),
      validator: { validate: accepts, defaultMessage: () => message },
    });
}

function optional(check: PropertyDecorator, api: ApiPropertyOptions): PropertyDecorator {
  return both(both(IsOptional(), check), ApiProperty({ required: false, ...api } as ApiPropertyOptions));
}

function required(check: PropertyDecorator, api: ApiPropertyOptions): PropertyDecorator {
  return both(check, ApiProperty({ required: true, ...api } as ApiPropertyOptions));
}

function both(first: PropertyDecorator, second: PropertyDecorator): PropertyDecorator {
  return (target, property) => {
    first(target, property);
    second(target, property);
  };
}

function fieldErrors(errors: ValidationError[], path = ''): FieldError[] {
  return errors.flatMap(({ property, constraints, children }) => {
    const field = path + property;
    const own = constraints ? [{ field, message: messageFor(property, constraints) }] : [];
    return [...own, ...fieldErrors(children ?? [], `${field}.`)];
  });
}

/** Of several complaints the one of the topmost decorator, which stands for the most basic expectation. */
function messageFor(property: string, constraints: Record<string, string>): string {
  if (constraints.whitelistValidation) return 'is not known here';
  const message = Object.values(constraints).at(-1)!;
  return message.startsWith(`${property} `) ? message.slice(property.length + 1) : message;
}
