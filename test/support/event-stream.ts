/** A server-sent event: its name, where it has one, its id and what its data says. */
export interface StreamedEvent {
  event?: string;
  id: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look at whatever came
  data: any;
}

/** A client of a stream of server-sent events that reads along in the background. */
export class EventStream {
  private text = '';
  /** Resolves when the server ended the stream as one that is complete, or rejects where it broke off. */
  readonly ended: Promise<void>;

  private constructor(
    readonly response: Response,
    private readonly leaving: AbortController,
  ) {
    this.ended = this.read();
    this.ended.catch(() => undefined); // looked at by who wants to know
  }

  /** Connects; when the promise resolves the stream is open. */
  static async open(url: string, headers: Record<string, string> = {}): Promise<EventStream> {
    const leaving = new AbortController();
    return new EventStream(await fetch(url, { headers, signal: leaving.signal }), leaving);
  }

  /** The events that have come so far. Comments are not among them. */
  get events(): StreamedEvent[] {
    const blocks = this.text.split('\n\n').slice(0, -1);
    return blocks.filter((block) => !block.startsWith(':')).map(eventOf);
  }

  /** Leaves, as a browser that closes the page. */
  close(): void {
    this.leaving.abort();
  }

  private async read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.response.body!) this.text += decoder.decode(chunk as Uint8Array, { stream: true });
  }
}

function eventOf(block: string): StreamedEvent {
  const fields = new Map(
    block.split('\n').map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]),
  );
  return {
    ...(fields.has('event') && { event: fields.get('event') }),
    id: fields.get('id') ?? '',
    data: JSON.parse(fields.get('data') ?? 'null'),
  };
}
