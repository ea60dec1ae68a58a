// How often values of a class may be compared with a constant (the action `match`): whoever may guess without
// end knows the value. A budget a person or workload at the head of a chain, and class; every chain of theirs
// draws on the same one, and what is drawn comes back evenly over an hour.
//
// Who owns the state: one a process, in memory. With several workers each has its own, and a restart fills it.

import type { Clock } from "../base/clock.ts";

export interface Guesses {
  /** Takes one of each class; false, and nothing is taken, where one of them has none left. */
  spend(classes: readonly string[]): boolean;
}

/** For the stable subject of a chain's root. */
export type MatchBudget = (root: string) => Guesses;

interface Bucket {
  left: number;
  atMs: number;
}

const HOUR_MS = 3_600_000;
/** Of whom the budget is remembered; beyond it who drew longest ago has a full one again. */
const MAX_ROOTS = 10_000;

export function createMatchBudget(
  clock: Pick<Clock, "monotonicMs">,
  perHour: number,
  maxRoots: number = MAX_ROOTS,
): MatchBudget {
  const roots = new Map<string, Map<string, Bucket>>();

  function bucketOf(buckets: Map<string, Bucket>, name: string): Bucket {
    const nowMs = clock.monotonicMs();
    const bucket = buckets.get(name) ?? { left: perHour, atMs: nowMs };
    buckets.set(name, bucket);
    const back = ((nowMs - bucket.atMs) / HOUR_MS) * perHour;
    bucket.left = Math.min(perHour, bucket.left + back);
    bucket.atMs = nowMs;
    return bucket;
  }

  return (root) => ({
    spend(classes) {
      const buckets = roots.get(root) ?? new Map<string, Bucket>();
      // Re-inserted: a Map is in order of insertion, who drew longest ago first.
      roots.delete(root);
      roots.set(root, buckets);
      for (const oldest of roots.keys()) {
        if (roots.size <= maxRoots) break;
        roots.delete(oldest);
      }
      const wanted = classes.map((name) => bucketOf(buckets, name));
      if (wanted.some(({ left }) => left < 1)) return false;
      for (const bucket of wanted) bucket.left -= 1;
      return true;
    },
  });
}
