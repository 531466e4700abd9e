import { FilledService } from './filled-service.js';
import { load } from './http-load.js';
import type { LedgerShape } from './ledger-fill.js';
import type { Measurement, Reading } from './measurement.js';

const CONNECTIONS = 64;
const SECONDS = 2;
const WARM_UP_SECONDS = 1;

/** What is asked of two services whose ledgers differ. */
interface SameReads {
  id: string;
  what: string;
  paths: string[];
  against: string;
  /** At a scale. */
  ours: (scale: number) => LedgerShape;
  limit: (scale: number) => LedgerShape;
  /** Of the two median times. */
  withTimeout: number;
}

/** The same reads of two services, once one after the other and once on 64 connections. */
export function sameReads({ id, what, paths, against, ours, limit, withTimeout }: SameReads): Measurement[] {
  return [1, CONNECTIONS].map((connections) => {
    let ofOurs: FilledService;
    let ofLimit: FilledService;
    const asked = async ({ service }: FilledService, scale: number): Promise<Reading> => {
      const answered = await load(service.url, paths, { connections, seconds: Math.max(1, SECONDS * scale) });
      return { value: answered.medianMs, facts: { ...answered } };
    };
    return {
      id: connections === 1 ? id : `${id}-loaded`,
      what: `GET ${what}, ${connections === 1 ? 'one after the other' : `${connections} connections`}`,
      against,
      unit: 'ms',
      toReach: { withTimeout },
      async prepare(scale) {
        [ofOurs, ofLimit] = (await FilledService.with(ours(scale), limit(scale))) as [FilledService, FilledService];
        for (const { service } of [ofOurs, ofLimit]) {
          await load(service.url, paths, { connections: CONNECTIONS, seconds: WARM_UP_SECONDS });
        }
      },
      ours: (scale) => asked(ofOurs, scale),
      limit: (scale) => asked(ofLimit, scale),
    };
  });
}
