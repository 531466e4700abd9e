/** How many keys a Redis has evicted since it started, as its INFO says. */
export function evictedKeysIn(info: string): number {
  return Number(/evicted_keys:(\d+)/.exec(info)?.[1] ?? 0);
}
