import { SeededRandom } from '../support/seeded-random.js';
import { drawFault, FAULT_KINDS, FAULTS, type Fault, type FaultKind, faultText, PROCESSES } from './faults.js';
import { Traffic, type Content, type Message, type Retry } from './traffic.js';

const MIN_MESSAGES = 60;
const MAX_MESSAGES = 260;

/** Something that is asked of the service over HTTP. */
export interface Request {
  kind: 'retry' | 'clear' | 'rebuild' | 'rebuild-from-beginning';
  /** Which process is asked, from 1. */
  process: number;
  /** As of a fault. */
  after: number;
  retry?: Retry;
}

/** Traffic, and what comes in between. */
export interface Round {
  /** From 1. */
  number: number;
  messages: Message[];
  /** One or two, in the order of their moments. */
  faults: Fault[];
  /** In the order of their moments. */
  requests: Request[];
}

/** All that a run is going to do. */
export interface Plan {
  seed: number;
  rounds: Round[];
  /** What each message is, by its mark. */
  contents: ReadonlyMap<number, Content>;
}

/** A plan of rounds, made wholly from the seed: a longer one begins with what a shorter one consists of. */
export function plan(seed: number, rounds: number): Plan {
  const random = new SeededRandom(seed);
  const traffic = new Traffic(random.branch(1));
  const faults = random.branch(2);
  const requests = random.branch(3);
  const deck = new Deck(faults);
  const made = Array.from({ length: rounds }, (_, index): Round => {
    const number = index + 1;
    const messages = traffic.round(number, faults.between(MIN_MESSAGES, MAX_MESSAGES));
    const kinds = deck.take(faults.happens(0.5) ? 2 : 1);
    return {
      number,
      messages,
      faults: inTime(kinds.map((kind) => drawFault(kind, messages.length, faults))),
      requests: inTime(requestsOf(number, messages.length, traffic, requests)),
    };
  });
  return { seed, rounds: made, contents: traffic.contents };
}

/** A round in a line. */
export function roundText({ number, messages, faults, requests }: Round): string {
  const events = inTime([
    ...faults.map((fault) => ({ after: fault.after, text: faultText(fault) })),
    ...requests.map((request) => ({ after: request.after, text: requestText(request) })),
  ]);
  const told = events.map(({ after, text }) => `after ${after}: ${text}`);
  return `round ${number}: ${messages.length} messages; ${told.join('; ')}`;
}

function requestText({ kind, process, retry }: Request): string {
  const what = retry ? `retry of ${retry.orderId}` : kind.replaceAll('-', ' ');
  return `${what} asked of process ${process}`;
}

function requestsOf(round: number, messages: number, traffic: Traffic, random: SeededRandom): Request[] {
  const asked = (kind: Request['kind']): Request => ({
    kind,
    process: random.between(1, PROCESSES),
    after: random.below(messages),
  });
  const requests: Request[] = [];
  if (random.happens(0.25)) requests.push(asked('rebuild'));
  if (random.happens(0.05)) requests.push(asked('clear'));
  if (random.happens(0.05)) requests.push(asked('rebuild-from-beginning'));
  while (random.happens(0.4)) {
    const retry = traffic.retry(round);
    if (!retry) break;
    requests.push({ ...asked('retry'), retry });
  }
  return requests;
}

/** Deals every kind of fault once before it deals one again. */
class Deck {
  private kinds: FaultKind[] = [];

  constructor(private readonly random: SeededRandom) {}

  /** So many, each in another part; fewer where the deck has no more of those. */
  take(count: number): FaultKind[] {
    const taken: FaultKind[] = [];
    while (taken.length < count) {
      if (this.kinds.length === 0) this.kinds = this.random.shuffled(FAULT_KINDS);
      const parts = taken.map((kind) => FAULTS[kind].part);
      const next = this.kinds.find((kind) => !parts.includes(FAULTS[kind].part));
      if (!next) break;
      this.kinds.splice(this.kinds.indexOf(next), 1);
      taken.push(next);
    }
    return taken;
  }
}

function inTime<Event extends { after: number }>(events: Event[]): Event[] {
  return events.sort((a, b) => a.after - b.after);
}
