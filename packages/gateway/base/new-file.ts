// Files that are made once, at a first start: keys, names. Whoever is killed or finds no room while making one
// leaves none, so that the next start makes it; what is there is never written over.

import { closeSync, fsyncSync, linkSync, openSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Puts it there whole, and on disk, name and all, when it returns. Throws EEXIST where something is. */
export function writeNewFile(path: string, content: string | Uint8Array, mode: number): void {
  // What a run that was killed has left is written over.
  const staged = `${path}.new`;
  try {
    flushed(openSync(staged, "w", mode), (file) => writeFileSync(file, content));
    // A link, not a rename: it fails where something is.
    linkSync(staged, path);
  } finally {
    removeStaged(staged);
  }
  flushed(openSync(dirname(path), "r"), () => undefined);
}

/** Where it stays it harms nobody. */
function removeStaged(staged: string): void {
  try {
    unlinkSync(staged);
  } catch {}
}

function flushed(descriptor: number, work: (descriptor: number) => void): void {
  try {
    work(descriptor);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
