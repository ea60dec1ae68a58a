// A token bucket for each client address, so that one client cannot keep the control side busy.
// Bounded: the address not seen for longest is forgotten first.

import type { Clock } from "../base/clock.ts";

export interface RateLimit {
  /** false: over the limit now. */
  allow(address: string): boolean;
}

const MAX_ADDRESSES = 10_000;
const MINUTE_MS = 60_000;

/** A minute's requests may come at once; they come back evenly over a minute. */
export function createRateLimit(perMinute: number, clock: Clock): RateLimit {
  const most = Math.max(1, perMinute);
  const buckets = new Map<string, { tokens: number; atMs: number }>();
  return {
    allow(address) {
      const nowMs = clock.monotonicMs();
      const known = buckets.get(address) ?? { tokens: most, atMs: nowMs };
      const refilled = known.tokens + ((nowMs - known.atMs) / MINUTE_MS) * perMinute;
      const tokens = Math.min(most, refilled);
      const allowed = tokens >= 1;
      // Deleted and set again: a Map keeps the order of insertion, so the first is the oldest.
      buckets.delete(address);
      buckets.set(address, { tokens: allowed ? tokens - 1 : tokens, atMs: nowMs });
      const oldest = buckets.keys().next().value;
      if (buckets.size > MAX_ADDRESSES && oldest !== undefined) buckets.delete(oldest);
      return allowed;
    },
  };
}
