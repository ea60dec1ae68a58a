// Ends of sessions on their way into the store. A store that is locked or full for a while must not
// leave a session listed as live, so what could not be written is written later; after a crash the next
// start does it. No more wait than there are sessions, since none opens while the store is away.
//
// Owns the rows that wait, and the timer.

import type { SessionStore } from "./store.ts";

export interface RowCloser extends Disposable {
  close(id: string, atMs: number, reason: string): void;
}

const AGAIN_MS = 1000;

export function createRowCloser(store: Pick<SessionStore, "close">): RowCloser {
  const waiting = new Map<string, { readonly atMs: number; readonly reason: string }>();
  let timer: NodeJS.Timeout | undefined;
  const write = (): void => {
    timer = undefined;
    for (const [id, { atMs, reason }] of waiting) {
      try {
        store.close(id, atMs, reason);
      } catch {
        timer = setTimeout(write, AGAIN_MS).unref();
        return;
      }
      waiting.delete(id);
    }
  };
  return {
    close(id, atMs, reason) {
      waiting.set(id, { atMs, reason });
      if (timer === undefined) write();
    },
    [Symbol.dispose]() {
      clearTimeout(timer);
      // The last chance of this run.
      write();
      clearTimeout(timer);
    },
  };
}
