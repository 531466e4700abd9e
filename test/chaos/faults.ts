import type { SeededRandom } from '../support/seeded-random.js';

/** How many processes of the service there are; they are numbered from 1. */
export const PROCESSES = 3;

/** Longer than a message in hand belongs to a process (SQS_VISIBILITY_TIMEOUT is 5 s here), in ms. */
const BEYOND_A_LEASE_MS = 6_500;

/** What a fault is in; two that come in the same round are in different parts. */
export type Part = 'process' | 'Redis' | 'PostgreSQL' | 'queue';

/** What is drawn for a fault. Which of them it has, its kind decides. */
interface Parameters {
  /** Whose process, from 1. */
  process?: number;
  /** How long it lasts. */
  ms?: number;
  /** How often. */
  times?: number;
}

interface Kind {
  part: Part;
  draw: (random: SeededRandom) => Parameters;
  /** What is done, in words. */
  says: (fault: Required<Parameters>) => string;
}

const aProcess = (random: SeededRandom): number => random.between(1, PROCESSES);
const ms = (random: SeededRandom, ...choices: number[]): number => random.oneOf(choices);

const often = (times: number): string => (times === 1 ? 'once' : `${times} times`);

/** Every kind of fault there is. */
export const FAULTS = {
  kill: {
    part: 'process',
    draw: (random) => ({ process: aProcess(random), ms: ms(random, 0, 300) }),
    says: ({ process, ms }) => `kill -9 of process ${process}, started again after ${ms} ms`,
  },
  'kill-all': {
    part: 'process',
    draw: (random) => ({ ms: ms(random, 0, 500) }),
    says: ({ ms }) => `kill -9 of all processes, started again after ${ms} ms`,
  },
  terminate: {
    part: 'process',
    draw: (random) => ({ process: aProcess(random) }),
    says: ({ process }) => `SIGTERM of process ${process}, started again when it has ended`,
  },
  replace: {
    part: 'process',
    draw: (random) => ({ process: aProcess(random) }),
    says: ({ process }) => `another process beside process ${process}, which gets SIGTERM when that one answers`,
  },
  pause: {
    part: 'process',
    draw: (random) => ({ process: aProcess(random), ms: BEYOND_A_LEASE_MS }),
    says: ({ process, ms }) => `SIGSTOP of process ${process} for ${ms} ms`,
  },
  'redis-kill': {
    part: 'Redis',
    draw: (random) => ({ ms: ms(random, 0, 400, 1_500) }),
    says: ({ ms }) => `Redis killed for ${ms} ms, with what it last saved`,
  },
  'redis-flush': {
    part: 'Redis',
    draw: () => ({}),
    says: () => 'Redis flushed',
  },
  'redis-older': {
    part: 'Redis',
    draw: () => ({}),
    says: () => 'Redis put back to what it held when the round began',
  },
  'redis-stall': {
    part: 'Redis',
    draw: (random) => ({ ms: ms(random, 500, 2_500) }),
    says: ({ ms }) => `Redis stalled for ${ms} ms`,
  },
  'redis-full': {
    part: 'Redis',
    draw: (random) => ({ ms: ms(random, 300, 1_000) }),
    says: ({ ms }) => `Redis out of memory for ${ms} ms`,
  },
  'redis-read-only': {
    part: 'Redis',
    draw: (random) => ({ ms: ms(random, 300, 1_000) }),
    says: ({ ms }) => `Redis takes no writes for ${ms} ms`,
  },
  'redis-cut': {
    part: 'Redis',
    draw: (random) => ({ times: random.between(1, 8) }),
    says: ({ times }) => `connections to Redis cut ${often(times)}`,
  },
  'redis-away': {
    part: 'Redis',
    draw: (random) => ({ process: aProcess(random), ms: ms(random, 500, 2_000) }),
    says: ({ process, ms }) => `Redis out of reach of process ${process} for ${ms} ms`,
  },
  'postgres-kill': {
    part: 'PostgreSQL',
    draw: (random) => ({ ms: ms(random, 0, 400, 1_500) }),
    says: ({ ms }) => `PostgreSQL killed for ${ms} ms`,
  },
  'postgres-stall': {
    part: 'PostgreSQL',
    draw: (random) => ({ ms: ms(random, 500, 3_000) }),
    says: ({ ms }) => `PostgreSQL stalled for ${ms} ms`,
  },
  'postgres-cut': {
    part: 'PostgreSQL',
    draw: (random) => ({ times: random.between(1, 8) }),
    says: ({ times }) => `connections to PostgreSQL cut ${often(times)}`,
  },
  'postgres-disconnect': {
    part: 'PostgreSQL',
    draw: (random) => ({ times: random.between(1, 4) }),
    says: ({ times }) => `all sessions ended by PostgreSQL ${often(times)}`,
  },
  'postgres-away': {
    part: 'PostgreSQL',
    draw: (random) => ({ process: aProcess(random), ms: ms(random, 500, 2_000) }),
    says: ({ process, ms }) => `PostgreSQL out of reach of process ${process} for ${ms} ms`,
  },
  'queue-cut': {
    part: 'queue',
    draw: (random) => ({ times: random.between(1, 8) }),
    says: ({ times }) => `connections to the queue cut ${often(times)}`,
  },
  'queue-stall': {
    part: 'queue',
    draw: (random) => ({ ms: ms(random, 500, 2_000) }),
    says: ({ ms }) => `the queue stalled for ${ms} ms`,
  },
  'queue-away': {
    part: 'queue',
    draw: (random) => ({ ms: ms(random, 500, 2_000) }),
    says: ({ ms }) => `the queue out of reach for ${ms} ms`,
  },
} as const satisfies Record<string, Kind>;

/** The name of a kind of fault. */
export type FaultKind = keyof typeof FAULTS;

/** A fault as it is planned, its parameters and its moment. */
export interface Fault extends Parameters {
  kind: FaultKind;
  /** It comes when the service has acknowledged so many messages since the round began. */
  after: number;
}

/** All kinds. */
export const FAULT_KINDS = Object.keys(FAULTS) as FaultKind[];

/** A fault of a kind; what it is like is drawn. @param messages of the round */
export function drawFault(kind: FaultKind, messages: number, random: SeededRandom): Fault {
  return { kind, after: random.below(Math.ceil(messages * 0.8)), ...FAULTS[kind].draw(random) };
}

/** A fault in words, always the same for the same fault. */
export function faultText(fault: Fault): string {
  return (FAULTS[fault.kind] as Kind).says(fault as Required<Fault>);
}
