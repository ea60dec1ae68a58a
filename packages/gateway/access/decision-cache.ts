// Two caches. Decisions: per session, by the operation object; a hit is a map look-up. Pairs: by
// everything a (hop, effect) evaluation depends on, so that a new statement on known tables asks Cedar
// nothing. An answer that read the clock holds until the clock could change it, and not before the
// moment it was made either, should the clock be set back.
//
// Who owns the state: the Access object that made them. Both are bounded; the oldest go first.

import type { ClockReading } from "../policy/conditions.ts";

/** [fromMs, untilMs): when an answer may be used. */
export interface Validity {
  readonly fromMs: number;
  readonly untilMs: number;
}

export const ALWAYS: Validity = {
  fromMs: Number.NEGATIVE_INFINITY,
  untilMs: Number.POSITIVE_INFINITY,
};

const PERIOD_MS = { hour: 3_600_000, minute: 60_000 } as const;

export function validityOf(clock: ClockReading, nowMs: number): Validity {
  if (clock === "none") return ALWAYS;
  const period = PERIOD_MS[clock];
  const fromMs = Math.floor(nowMs / period) * period;
  return { fromMs, untilMs: fromMs + period };
}

export function shorter(one: Validity, other: Validity): Validity {
  return {
    fromMs: Math.max(one.fromMs, other.fromMs),
    untilMs: Math.min(one.untilMs, other.untilMs),
  };
}

export function holdsAt(validity: Validity, nowMs: number): boolean {
  return validity.fromMs <= nowMs && nowMs < validity.untilMs;
}

/** A map of at most `limit` entries; the least recently set or found goes first. */
export class BoundedMap<Key, Value> {
  readonly #entries = new Map<Key, Value>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: Key): Value | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    // Nothing has to be in order before the map is full enough for something to go.
    if (this.#entries.size * 2 > this.#limit) {
      this.#entries.delete(key);
      this.#entries.set(key, value);
    }
    return value;
  }

  set(key: Key, value: Value): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#limit) return;
      this.#entries.delete(oldest);
    }
  }

  delete(key: Key): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }
}
