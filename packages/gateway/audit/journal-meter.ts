// What the journal counts of itself, for metrics: leaves by their event, and how long flushes took.
// Numbers only, so that nothing of a person or a command can reach a metric.

import type { LeafEvent } from "@custody/evidence/core/leaf.ts";

/** An event as it is counted. */
export type CountedEvent = LeafEvent;

/** Upper bounds in seconds; one more bucket takes the rest. */
export const FLUSH_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5] as const;

export interface JournalMeter {
  readonly events: Map<CountedEvent, number>;
  /** One count more than FLUSH_BUCKETS, each of its own bucket alone. */
  readonly flushes: number[];
  flushSeconds: number;
}

export function createJournalMeter(): JournalMeter {
  return { events: new Map(), flushes: [...FLUSH_BUCKETS.map(() => 0), 0], flushSeconds: 0 };
}

export function countLeaf(meter: JournalMeter, event: CountedEvent): void {
  meter.events.set(event, (meter.events.get(event) ?? 0) + 1);
}

export function countFlush(meter: JournalMeter, seconds: number): void {
  const found = FLUSH_BUCKETS.findIndex((bound) => seconds <= bound);
  const bucket = found === -1 ? FLUSH_BUCKETS.length : found;
  meter.flushes[bucket] = (meter.flushes[bucket] ?? 0) + 1;
  meter.flushSeconds += seconds;
}

/** What several journals counted, together. */
export function sumOfMeters(meters: readonly JournalMeter[]): JournalMeter {
  const sum = createJournalMeter();
  for (const { events, flushes, flushSeconds } of meters) {
    for (const [event, count] of events)
      sum.events.set(event, (sum.events.get(event) ?? 0) + count);
    for (const [bucket, count] of flushes.entries())
      sum.flushes[bucket] = (sum.flushes[bucket] ?? 0) + count;
    sum.flushSeconds += flushSeconds;
  }
  return sum;
}
