import type { Request } from 'express';
import { pause } from '../back-off.js';

const CHECK_EVERY_MS = 500;

/**
 * Waits until the guard would refuse a request that it let in: after a log-out, with another role, a revoked key or an
 * expired token. An answer that stays open needs it, since the guard checks a request only once. A change by another process
 * shows as soon as it does for new requests.
 * @param signal ends the wait
 * @returns what the request would be refused with; null where the signal came first
 */
export async function untilRefused(request: Request, signal: AbortSignal): Promise<Error | null> {
  while (!signal.aborted) {
    await pause(CHECK_EVERY_MS, signal);
    try {
      await request.readmit!();
    } catch (error) {
      return signal.aborted ? null : (error as Error);
    }
  }
  return null;
}
