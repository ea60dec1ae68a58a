// A token bucket for each client address, so that one client cannot keep the control side busy.
// Bounded: the address not seen for longest is forgotten first.

import type { Clock } from "../base/clock.ts";

export interface RateLimit {
  /** false: over the limit now. */
  allow(address: string): boolean;
}

export interface Rate {
  /** Requests at once. */
  readonly burst: number;
  readonly perSecond: number;
}

const MAX_ADDRESSES = 10_000;

export function createRateLimit(rate: Rate, clock: Clock): RateLimit {
  const buckets = new Map<string, { tokens: number; atMs: number }>();
  return {
    allow(address) {
      const nowMs = clock.monotonicMs();
      const known = buckets.get(address) ?? { tokens: rate.burst, atMs: nowMs };
      const refilled = known.tokens + ((nowMs - known.atMs) / 1000) * rate.perSecond;
      const tokens = Math.min(rate.burst, refilled);
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
