// Leaves about refused sessions, kept few: whoever can reach the port can fail to sign in as often as the
// network allows, and each leaf is kept for good. Of one source (a client address, with the delegation once
// that is known) a few a second are told one by one; the rest of all sources is counted in one leaf a
// second.
//
// Owns the counts, which are of the current second only.

import type { Journal, LeafDraft } from "../audit/journal.ts";
import type { Clock } from "../base/clock.ts";

export interface RefusedSignIns extends Disposable {
  /** `source` is not written down. */
  tell(source: string, leaf: LeafDraft): void;
}

const SECOND_MS = 1000;
const EACH_A_SECOND = 5;
const MAX_SOURCES = 1000;

export function createRefusedSignIns(
  journal: Pick<Journal, "append">,
  clock: Clock,
): RefusedSignIns {
  const told = new Map<string, number>();
  let secondEndsMs = 0;
  let more = 0;
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (more > 0)
      journal.append({ event: "session.refused", outcome: "throttled", detail: { count: more } });
    more = 0;
  };
  return {
    tell(source, leaf) {
      const nowMs = clock.monotonicMs();
      if (nowMs >= secondEndsMs) {
        flush();
        told.clear();
        secondEndsMs = nowMs + SECOND_MS;
      }
      const count = told.get(source) ?? 0;
      const isRoom = told.size < MAX_SOURCES || told.has(source);
      if (isRoom && count < EACH_A_SECOND) {
        told.set(source, count + 1);
        journal.append(leaf);
        return;
      }
      more += 1;
      timer ??= setTimeout(flush, SECOND_MS).unref();
    },
    [Symbol.dispose]: flush,
  };
}
