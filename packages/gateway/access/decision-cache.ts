// Two caches. Decisions: per session, by the operation object; a hit is a map look-up. Pairs: by
// everything a (hop, effect) evaluation depends on, so that a new statement on known tables asks Cedar
// nothing. An answer that read the clock holds until the clock could change it, and not before the
// moment it was made either, should the clock be set back.
//
// Who owns the state: the Access object that made them. Both are bounded; the oldest go first. A command's
// own text, of any length and another each time, is kept by neither: of a long question its digest is the
// key, and a long operation is known here for as long as somebody else has it.

import { hash } from "node:crypto";
import type { ClockReading } from "../policy/conditions.ts";
import type { Operation } from "./operation.ts";

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

const LONG_KEY = 256;
const LONG_OPERATION = 2048;

/** The same for the same text only, and short. */
export function shortKey(text: string): string {
  return text.length <= LONG_KEY ? text : hash("sha256", text, "base64");
}

/** What was made of each operation object of one session. */
export class ByOperation<Value> {
  readonly #short: BoundedMap<Operation, Value>;
  readonly #long = new WeakMap<Operation, Value>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
    this.#short = new BoundedMap(limit);
  }

  get(operation: Operation): Value | undefined {
    return this.#short.get(operation) ?? this.#long.get(operation);
  }

  set(operation: Operation, value: Value): void {
    if (!isLong(operation)) this.#short.set(operation, value);
    else if (this.#limit > 0) this.#long.set(operation, value);
  }
}

function isLong({ effects, summary }: Operation): boolean {
  let length = summary.length;
  for (const { resource } of effects) {
    length += resource.path.length;
    if (resource.attributes !== undefined) length += JSON.stringify(resource.attributes).length;
    if (length > LONG_OPERATION) return true;
  }
  return length > LONG_OPERATION;
}
