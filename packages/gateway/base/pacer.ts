// Work that may wait, done a few pieces at a time: when a thousand sessions end at once, closing them must
// not take the processor from what tells their clients and stops what they run.
//
// Owns what waits: no more than whoever hands it over may have at all.

export interface Pacer {
  /** Runs in a later turn, in the order given. A piece that throws stops none of the others. */
  later(work: () => void): void;
}

const AT_ONCE = 8;
const PAUSE_MS = 4;

export function createPacer(onFault: (thrown: unknown) => void): Pacer {
  let waiting: (() => void)[] = [];
  let next = 0;
  const run = (): void => {
    const until = Math.min(waiting.length, next + AT_ONCE);
    for (; next < until; next++)
      try {
        waiting[next]?.();
      } catch (thrown) {
        onFault(thrown);
      }
    if (next < waiting.length) {
      setTimeout(run, PAUSE_MS);
      return;
    }
    waiting = [];
    next = 0;
  };
  return {
    later(work) {
      waiting.push(work);
      // A piece that hands over another while it runs: `next` is behind it, and `run` goes on by itself.
      if (waiting.length === 1) setImmediate(run);
    },
  };
}
