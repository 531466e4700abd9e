import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the stub was asked. */
export interface AskedModel {
  path: string;
  authorization: string | undefined;
  /** As it came over the wire. */
  text: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look at whatever came
  body: any;
}

/** How the stub answers one request. */
export type ModelBehaviour = (response: ServerResponse, asked: AskedModel) => void;

/** The key that a service shows to the stub; it must not be found anywhere else. */
export const A_MODEL_KEY = 'fixture-secret-of-the-model';

/** What a model that finds nothing wrong says; say only what matters. */
export function aModelAnswer(given: object = {}): object {
  return {
    valid: true,
    fields: [],
    value_equals_sum: true,
    extracted: { user_id: 'U1', order_value: 10, order_timestamp: '2026-01-15T12:00:00Z' },
    inconsistencies: [],
    fixes: [],
    ...given,
  };
}

/** Answers with a text, or with what becomes JSON, as the model's message. */
export function says(content: unknown, choice: object = {}): ModelBehaviour {
  const text = typeof content === 'string' ? content : JSON.stringify(content);
  return (response) => {
    const message = { role: 'assistant', content: text, refusal: null };
    answer(response, 200, {
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1,
      model: 'fixture-model',
      choices: [{ index: 0, message, finish_reason: 'stop', logprobs: null, ...choice }],
      usage: { prompt_tokens: 700, completion_tokens: 90, total_tokens: 790 },
    });
  };
}

/** Fails with a status, in words that repeat the key as some endpoints do. */
export function failsWith(status: number, headers: Record<string, string> = {}): ModelBehaviour {
  return (response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    answer(response, status, {
      error: { message: `Not with ${A_MODEL_KEY}`, type: 'fixture', code: null, param: null },
    });
  };
}

/** A language model on this machine that speaks OpenAI's chat completions, and says what a test tells it to. */
export class StubModel {
  readonly asked: AskedModel[] = [];
  private readonly once: ModelBehaviour[] = [];
  private always: ModelBehaviour = says(aModelAnswer());

  private constructor(private readonly server: Server) {
    server.on('request', (request, response) => void this.take(request, response));
  }

  static async start(): Promise<StubModel> {
    const stub = new StubModel(createServer());
    await new Promise<void>((resolve) => stub.server.listen(0, '127.0.0.1', resolve));
    return stub;
  }

  /** What a service needs to ask it. */
  get environment(): Record<string, string> {
    const { port } = this.server.address() as AddressInfo;
    return {
      LLM_BASE_URL: `http://127.0.0.1:${port}/v1`,
      LLM_API_KEY: A_MODEL_KEY,
      LLM_MODEL: 'fixture-model',
      LLM_CALLS_PER_MINUTE: '1000',
    };
  }

  /** Says this from now on, after having said what is to be said once; forgets what it was asked. */
  will(always: ModelBehaviour, ...once: ModelBehaviour[]): void {
    this.always = always;
    this.once.splice(0, this.once.length, ...once);
    this.asked.length = 0;
  }

  /** All that ever arrived since {@link will}, as text. */
  get received(): string {
    return JSON.stringify(this.asked);
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    const asked = {
      path: request.url!,
      authorization: request.headers.authorization,
      text,
      body: JSON.parse(text),
    };
    this.asked.push(asked);
    (this.once.shift() ?? this.always)(response, asked);
  }
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
