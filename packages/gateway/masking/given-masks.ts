// What masks gave out, so that it is not stored over what it stood for. An agent that reads a row, changes a
// field and writes the row back would otherwise destroy every value it could not see.
//
// Masks have shapes of their own (masks.ts), by which they are found wherever a statement carries them, inside
// longer text too. `[masked pii.email]` is never anything else; of the shapes that keep a part of the value,
// those count that were given to somebody of the same chain's root. Memory is bounded: beyond it every text
// of such a shape counts.
//
// Who owns the state: one a process; the shapes given to a root are forgotten with the least used of them.

import { createHash } from "node:crypto";

export interface GivenMasks {
  /** A mask that keeps a part of the value came out as `value`. */
  gave(value: Buffer): void;
  /** Values of the class came out as NULL. */
  gaveNull(className: string): void;
  readonly nulled: ReadonlySet<string>;
  /** The first mask in a text that is about to be stored; undefined when there is none. */
  findIn(text: Buffer | string, classes: ReadonlySet<string>): string | undefined;
}

/** For every root of a chain, by its delegation. */
export type MaskMemory = (root: string) => GivenMasks;

export interface MaskMemoryLimits {
  readonly roots: number;
  readonly valuesPerRoot: number;
}

export const MASK_MEMORY_LIMITS: MaskMemoryLimits = { roots: 1_000, valuesPerRoot: 4_096 };

/** The longest text `findIn` may find: what is scanned in pieces has to overlap by it. */
export const MAX_MASK_LENGTH = 260;

export function createMaskMemory(limits: MaskMemoryLimits = MASK_MEMORY_LIMITS): MaskMemory {
  const roots = new Map<string, GivenMasks>();
  return (root) => {
    const known = roots.get(root) ?? createGivenMasks(limits.valuesPerRoot);
    // Re-inserted: a Map is in order of insertion, the least used first.
    roots.delete(root);
    roots.set(root, known);
    if (roots.size > limits.roots)
      for (const oldest of roots.keys()) {
        roots.delete(oldest);
        break;
      }
    return known;
  };
}

function createGivenMasks(maxValues: number): GivenMasks {
  const values = new Set<number>();
  const nulled = new Set<string>();
  let isFull = false;
  return {
    gave(value) {
      if (isFull) return;
      values.add(digest(value.toString("latin1")));
      isFull = values.size >= maxValues;
    },
    gaveNull: (className) => void nulled.add(className),
    nulled,
    findIn(text, classes) {
      if (!mayHoldMask(text)) return undefined;
      const latin1 = typeof text === "string" ? text : text.toString("latin1");
      for (const [found, className] of latin1.matchAll(REDACTED))
        if (className !== undefined && classes.has(className)) return found;
      for (const [found] of latin1.matchAll(PARTIAL))
        if (isFull || values.has(digest(found))) return found;
      return undefined;
    },
  };
}

const REDACTED = /\[masked ([^\]\r\n]{1,200})\]/g;
/** `***@example.com`, `****1234` */
const PARTIAL = /\*\*\*@[A-Za-z0-9.-]{1,255}|\*\*\*\*[A-Za-z0-9]{4}/g;

/** Most texts end here: a search for bytes costs next to nothing. */
function mayHoldMask(text: Buffer | string): boolean {
  return text.includes("[masked ") || text.includes("***");
}

function digest(text: string): number {
  return createHash("sha256").update(text, "latin1").digest().readUIntBE(0, 6);
}
