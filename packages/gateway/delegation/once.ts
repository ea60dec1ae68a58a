// Remembers what may be used once until it is too old to be used at all: `jti` of proofs, and any other
// single-use value with an end of its own. Bounded, and full means refused: forgetting an entry before
// its end would let it be used again.

import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";

export interface Once {
  /** true the first time; false every time after, until `untilMs`. Throws GatewayError "limit". */
  use(value: string, untilMs: number): boolean;
}

export const MAX_REMEMBERED = 100_000;

export function createOnce(clock: Clock, most: number = MAX_REMEMBERED): Once {
  const used = new Map<string, number>();
  return {
    use(value, untilMs) {
      const nowMs = clock.nowMs();
      const until = used.get(value);
      if (until !== undefined && until > nowMs) return false;
      if (used.size >= most) forgetPast(used, nowMs);
      if (used.size >= most)
        throw new GatewayError("limit", "too many single-use proofs at once; wait a minute");
      used.set(value, untilMs);
      return true;
    },
  };
}

function forgetPast(used: Map<string, number>, nowMs: number): void {
  for (const [value, untilMs] of used) if (untilMs <= nowMs) used.delete(value);
}
