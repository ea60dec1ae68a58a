// A journal's disk whose flushes wait when a test says so; what is written and flushed is real.

import { type JournalDisk, kernelDisk } from "../audit/journal-files.ts";

export interface StallingDisk {
  readonly disk: JournalDisk;
  /** From now on flushes wait. */
  stall(): void;
  /** Settles when a flush waits. */
  readonly waits: Promise<void>;
  /** Those that wait go on, and later ones do not wait. */
  release(): void;
}

export function stallingDisk(): StallingDisk {
  const stalled = Promise.withResolvers<void>();
  const held: (() => void)[] = [];
  let isStalled = false;
  return {
    disk: {
      ...kernelDisk,
      datasync(fd, done) {
        if (!isStalled) {
          kernelDisk.datasync(fd, done);
          return;
        }
        held.push(() => kernelDisk.datasync(fd, done));
        stalled.resolve();
      },
    },
    stall() {
      isStalled = true;
    },
    waits: stalled.promise,
    release() {
      isStalled = false;
      for (const flush of held.splice(0)) flush();
    },
  };
}
