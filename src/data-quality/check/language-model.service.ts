import { hash } from 'node:crypto';
import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import type { ValidateFunction } from 'ajv';
import { LRUCache } from 'lru-cache';
import type { OpenAI } from 'openai' with { 'resolution-mode': 'import' };
import { RateLimiterMemory, RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible';
import { Metrics } from '../../platform/observability/metrics.js';
import { Redis } from '../../platform/redis/redis.js';
import { CONFIG, type Config, type LanguageModelConfig } from '../../shared/config.js';
import { messageOf } from '../../shared/errors.js';
import { ANSWER_SCHEMA, type ModelAnswer } from './model-answer.rules.js';
import { INSTRUCTIONS } from './model-question.rules.js';

const WINDOW_SECONDS = 60;
/** Besides the first try. The client tries again on 408, 409, 429, 5xx and failed connections, after some 0.5 and 1 s. */
const MAX_RETRIES = 2;
/** Of an answer, and of what some models think before it; several times what an answer needs. */
const MAX_TOKENS = 8_000;
/** Several times what so many tokens take; what is longer is no answer. */
const MAX_ANSWER_BYTES = 262_144;
const MAX_KEPT = 500;
const MAX_KEPT_CHARACTERS = 8_388_608;
/** What a model quotes of a person is not to outlive that person's erasure by much. */
const KEPT_MS = 3_600_000;

/** Why there is no verdict of a model. */
export type ModelReasonCode =
  | 'not_configured'
  | 'unreadable'
  | 'too_large'
  | 'out_of_budget'
  | 'timed_out'
  | 'unavailable'
  | 'refused'
  | 'truncated'
  | 'malformed_answer';

/** Why there is no verdict of a model, for a program and for a person. */
export interface ModelReason {
  code: ModelReasonCode;
  detail: string;
}

/** What came of asking the model. */
export type ModelReply = { answer: ModelAnswer; fromCache: boolean } | { reason: ModelReason };

class NoAnswer extends Error {
  constructor(readonly reason: ModelReason) {
    super(reason.detail);
  }
}

/**
 * The configured language model, asked by the official client. What it answers is checked by the schema that it was sent, and
 * kept by content for an hour; who asks the same at the same time shares a call. Its faults are answers, too: nothing throws.
 */
@Injectable()
export class LanguageModel implements OnModuleDestroy {
  private readonly logger = new Logger(LanguageModel.name);
  private readonly settings: LanguageModelConfig | null;
  private readonly budget: RateLimiterRedis | null = null;
  private readonly ending = new AbortController();
  private readonly answers = new LRUCache<string, ModelAnswer, string>({
    max: MAX_KEPT,
    maxSize: MAX_KEPT_CHARACTERS,
    sizeCalculation: (answer) => JSON.stringify(answer).length,
    ttl: KEPT_MS,
    // One that is dropped while it is on its way was paid for.
    ignoreFetchAbort: true,
    fetchMethod: (_key, _stale, { context: question }) => this.call(question),
  });

  constructor(
    @Inject(CONFIG) { languageModel }: Config,
    redis: Redis,
    private readonly metrics: Metrics,
  ) {
    this.settings = languageModel;
    if (!languageModel) return;
    const size = { points: languageModel.callsPerMinute, duration: WINDOW_SECONDS };
    this.budget = new RateLimiterRedis({
      ...size,
      storeClient: redis.client,
      keyPrefix: redis.keys.attempts('language-model'),
      insuranceLimiter: new RateLimiterMemory({ ...size, keyPrefix: 'language-model' }),
    });
  }

  /** A call that is under way holds nothing up. */
  onModuleDestroy(): void {
    this.ending.abort();
  }

  /** Forgets all answers: what they quote of a person may have been erased since. */
  forget(): void {
    this.answers.clear();
  }

  /** Asks, unless the answer is known. @param question as the user's message of a chat */
  async ask(question: string): Promise<ModelReply> {
    if (!this.settings) {
      return { reason: { code: 'not_configured', detail: 'LLM_BASE_URL, LLM_API_KEY and LLM_MODEL are not set.' } };
    }
    const status: LRUCache.Status<string, ModelAnswer, string> = {};
    const key = hash('sha256', JSON.stringify([this.settings.name, INSTRUCTIONS, ANSWER_SCHEMA, question]), 'hex');
    try {
      const answer = await this.answers.forceFetch(key, { context: question, status });
      return { answer, fromCache: status.fetch !== 'miss' };
    } catch (error) {
      if (error instanceof NoAnswer) return { reason: error.reason };
      throw error;
    }
  }

  /** @throws NoAnswer */
  private async call(question: string): Promise<ModelAnswer> {
    try {
      await this.spend();
      const answer = await this.complete(question);
      this.metrics.modelCalls.inc({ outcome: 'answered' });
      return answer;
    } catch (error) {
      if (!(error instanceof NoAnswer)) this.logger.error(`The language model can't be asked: ${messageOf(error)}`);
      const failed = error instanceof NoAnswer ? error : unavailable('The model could not be asked.');
      const { code, detail } = failed.reason;
      this.metrics.modelCalls.inc({ outcome: code });
      this.logger.warn(`The language model gave no verdict (${code}): ${detail}`);
      throw failed;
    }
  }

  /** Takes one call from the budget. @throws NoAnswer where nothing is left of it */
  private async spend(): Promise<void> {
    try {
      await this.budget!.consume('calls');
    } catch (refused) {
      if (refused instanceof Error) throw refused;
      const seconds = Math.max(1, Math.ceil((refused as RateLimiterRes).msBeforeNext / 1000));
      throw new NoAnswer({
        code: 'out_of_budget',
        detail: `The ${this.settings!.callsPerMinute} calls of this minute are used up; try again in ${seconds} s.`,
      });
    }
  }

  /** @throws NoAnswer */
  private async complete(question: string): Promise<ModelAnswer> {
    const { name, timeoutSeconds } = this.settings!;
    const { validate, isTimeout, isAbort, connect } = await parts();
    const signal = AbortSignal.any([this.ending.signal, AbortSignal.timeout(timeoutSeconds * 1000)]);
    let lastStatus = 200;
    let isTooLong = false;
    const client = connect(this.settings!, async (url, init) => {
      const response = await fetch(url, init);
      lastStatus = response.status;
      return bounded(response, () => (isTooLong = true));
    });
    // Whatever the client promises: it is what some endpoint sent.
    let completion: Partial<OpenAI.ChatCompletion> | null;
    try {
      completion = await client.chat.completions.create(
        {
          model: name,
          messages: [
            { role: 'system', content: INSTRUCTIONS },
            { role: 'user', content: question },
          ],
          response_format: {
            type: 'json_schema',
            json_schema: { name: 'order_check', strict: true, schema: ANSWER_SCHEMA as Record<string, unknown> },
          },
          max_completion_tokens: MAX_TOKENS,
        },
        { signal },
      );
    } catch (error) {
      if (this.ending.signal.aborted) throw unavailable('The service is shutting down.');
      if (lastStatus >= 300) throw unavailable(meaningOf(lastStatus));
      if (isTimeout(error) || isAbort(error)) {
        throw new NoAnswer({ code: 'timed_out', detail: `The model did not answer within ${timeoutSeconds} s.` });
      }
      if (isTooLong) throw malformed(`The answer is longer than ${MAX_ANSWER_BYTES} bytes.`);
      if (error instanceof SyntaxError) throw malformed('What the endpoint answered is not JSON.');
      throw unavailable(`The endpoint can't be reached${causeOf(error)}.`);
    }
    this.countTokens(completion?.usage);
    return read(completion, validate);
  }

  private countTokens(usage: OpenAI.CompletionUsage | undefined): void {
    const counts = { prompt: usage?.prompt_tokens, completion: usage?.completion_tokens };
    for (const [kind, count] of Object.entries(counts)) {
      if (Number.isSafeInteger(count) && count! > 0) this.metrics.modelTokens.inc({ kind }, count);
    }
  }
}

/** The client and the validator, which only who has a model pays for. */
interface Parts {
  validate: ValidateFunction<ModelAnswer>;
  connect: (settings: LanguageModelConfig, fetching: typeof fetch) => OpenAI;
  isTimeout: (error: unknown) => boolean;
  isAbort: (error: unknown) => boolean;
}

let loaded: Promise<Parts> | null = null;

function parts(): Promise<Parts> {
  loaded ??= Promise.all([import('openai'), import('ajv')]).then(
    ([{ OpenAI, APIConnectionTimeoutError, APIUserAbortError }, { Ajv }]) => ({
      validate: new Ajv({ allowUnionTypes: true }).compile<ModelAnswer>(ANSWER_SCHEMA),
      connect: ({ baseUrl, apiKey, timeoutSeconds }, fetching) =>
        new OpenAI({
          baseURL: baseUrl,
          apiKey,
          // What is left out here the client would look up in the environment.
          adminAPIKey: null,
          organization: null,
          project: null,
          webhookSecret: null,
          logLevel: 'off',
          maxRetries: MAX_RETRIES,
          timeout: timeoutSeconds * 1000,
          fetch: fetching,
          // Neither the key nor an order goes where nobody sent it.
          fetchOptions: { redirect: 'manual' },
        }),
      isTimeout: (error) => error instanceof APIConnectionTimeoutError,
      isAbort: (error) => error instanceof APIUserAbortError,
    }),
  );
  return loaded;
}

/** Breaks off a body that is too long, which may have no end. */
function bounded(response: Response, tooLong: () => void): Response {
  let bytes = 0;
  const counted = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      bytes += chunk.byteLength;
      if (bytes <= MAX_ANSWER_BYTES) return controller.enqueue(chunk);
      tooLong();
      controller.error(new Error('The body is too long'));
    },
  });
  return new Response(response.body?.pipeThrough(counted) ?? null, response);
}

/** @throws NoAnswer */
function read(completion: Partial<OpenAI.ChatCompletion> | null, validate: ValidateFunction<ModelAnswer>): ModelAnswer {
  const [choice] = Array.isArray(completion?.choices) ? completion.choices : [];
  if (!choice?.message) throw malformed('The answer has no message.');
  const { message, finish_reason } = choice;
  if (message.refusal || finish_reason === 'content_filter') {
    throw new NoAnswer({ code: 'refused', detail: 'The model refused to answer.' });
  }
  if (finish_reason === 'length') {
    throw new NoAnswer({ code: 'truncated', detail: 'The answer was cut off for its length.' });
  }
  const answer = jsonIn(message.content);
  if (!validate(answer)) {
    const [{ instancePath = '', message: why = '' } = {}] = validate.errors ?? [];
    throw malformed(`The answer is not of the form asked for: ${instancePath || 'it'} ${why}.`);
  }
  return answer;
}

function jsonIn(content: unknown): unknown {
  try {
    return JSON.parse(String(content));
  } catch {
    throw malformed('The answer is not JSON.');
  }
}

/** Not in the endpoint's own words, which may repeat the key. */
function meaningOf(status: number): string {
  if (status < 400) return `The endpoint redirects elsewhere (${status}); set LLM_BASE_URL to where it is.`;
  switch (status) {
    case 401:
    case 403:
      return `The endpoint does not accept the API key (${status}).`;
    case 404:
      return 'The endpoint does not know the model, or LLM_BASE_URL is not its address (404).';
    case 429:
      return 'The endpoint takes no more calls for now (429).';
    default:
      return status < 500
        ? `The endpoint does not accept what it is asked (${status}); it may know no structured output.`
        : `The endpoint fails (${status}).`;
  }
}

function causeOf(error: unknown): string {
  const code: unknown = error instanceof Error && error.cause instanceof Error && (error.cause.cause ?? error.cause);
  const name = code instanceof Error && 'code' in code ? String(code.code) : '';
  return /^[A-Z_]{1,40}$/.test(name) ? ` (${name})` : '';
}

function unavailable(detail: string): NoAnswer {
  return new NoAnswer({ code: 'unavailable', detail });
}

function malformed(detail: string): NoAnswer {
  return new NoAnswer({ code: 'malformed_answer', detail });
}
