import type { Response } from 'express';

/** What of a limit is left. */
export interface Quota {
  /** Letters, digits and -. */
  name: string;
  limit: number;
  windowSeconds: number;
  remaining: number;
  /** Until all of it is there again. */
  resetSeconds: number;
}

/** Tells a client what it may still ask for, as draft-ietf-httpapi-ratelimit-headers lays it out. */
export function tellQuota(response: Response, { name, limit, windowSeconds, remaining, resetSeconds }: Quota): void {
  response.setHeader('RateLimit-Policy', `"${name}";q=${limit};w=${windowSeconds}`);
  response.setHeader('RateLimit', `"${name}";r=${remaining};t=${resetSeconds}`);
}
