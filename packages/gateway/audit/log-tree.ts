// The log's tree as the sequencer grows it: the same tree as evidence/core/merkle.ts, which verifies it, over
// flat buffers. What a leaf costs is what the gateway pays for evidence beside every command, and most of that
// was not hashing but the objects around it: an entry is hashed where it lies in its bundle, digests go from
// the hash into their tile as text, and nothing is allocated for one leaf but its digest.

import { hash } from "node:crypto";
import { type Edge, HASH_BYTES, TILE_WIDTH } from "@custody/evidence/core/merkle.ts";

/** A tile or bundle as it is to be written. The bytes are valid until the call returns. */
export type OnLogTile = (level: number | "entries", index: number, bytes: Buffer) => void;

export interface LogTree {
  readonly size: number;
  /** Appends the entry at `start` to `end` of `source`, at most 65,535 bytes; they are copied. */
  push(source: Buffer, start: number, end: number): void;
  root(): Uint8Array;
  /** Gives the tiles, and the bundle, that are not full and have grown since the tree had `before` leaves. */
  partials(
    before: number,
    onTile: (...tile: [...Parameters<OnLogTile>, width: number]) => void,
  ): void;
}

interface Row {
  readonly bytes: Buffer;
  /** Hashes in it, 0 to 255. */
  count: number;
}

const FIRST_BUNDLE_BYTES = 256 << 10;

/** `lastEntries`: of the bundle that is not full. `onTile` is called with each full tile and bundle. */
export function createLogTree(
  from: Edge,
  lastEntries: readonly Uint8Array[],
  onTile: OnLogTile,
): LogTree {
  const rows = from.levels.map(rowOf);
  let size = from.size;
  let bundle: Buffer = Buffer.allocUnsafeSlow(FIRST_BUNDLE_BYTES);
  let length = 0;

  /** Where the entry now is, with two bytes of room before it. */
  const place = (source: Uint8Array, start: number, end: number): number => {
    const after = length + 2 + end - start;
    if (after > bundle.length) bundle = grown(bundle, length, after);
    bundle.set(
      start === 0 && end === source.length ? source : source.subarray(start, end),
      length + 2,
    );
    const at = length;
    length = after;
    return at;
  };
  const add = (level: number, digest: string): void => {
    rows[level] ??= rowOf([]);
    const row = rows[level];
    row.bytes.write(digest, row.count * HASH_BYTES, "latin1");
    row.count++;
    if (row.count < TILE_WIDTH) return;
    onTile(level, Math.floor((size - 1) / TILE_WIDTH ** (level + 1)), row.bytes);
    row.count = 0;
    add(level + 1, subtreeRoot(row.bytes, 0, TILE_WIDTH));
  };
  for (const entry of lastEntries)
    bundle.writeUInt16BE(entry.length, place(entry, 0, entry.length));
  return {
    get size() {
      return size;
    },
    push(source, start, end) {
      const at = place(source, start, end);
      // RFC 6962, section 2.1: a zero byte before the entry. It stands where the length will.
      bundle[at + 1] = 0;
      const digest = hash("sha256", bundle.subarray(at + 1, length), "binary");
      bundle.writeUInt16BE(end - start, at);
      size++;
      if (size % TILE_WIDTH === 0) {
        onTile("entries", size / TILE_WIDTH - 1, bundle.subarray(0, length));
        length = 0;
      }
      add(0, digest);
    },
    root: () => rootOfRows(rows),
    partials(before, onPartial) {
      rows.forEach((row, level) => {
        const isNew = hashesAt(level, size) !== hashesAt(level, before);
        if (row.count === 0 || !isNew) return;
        const index = Math.floor(size / TILE_WIDTH ** (level + 1));
        onPartial(level, index, row.bytes.subarray(0, row.count * HASH_BYTES), row.count);
        if (level === 0) onPartial("entries", index, bundle.subarray(0, length), row.count);
      });
    },
  };
}

/** Of a tree of `size` leaves, at this level of tiles. */
function hashesAt(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level);
}

function rowOf(hashes: readonly Uint8Array[]): Row {
  const bytes = Buffer.alloc(TILE_WIDTH * HASH_BYTES);
  hashes.forEach((value, at) => {
    bytes.set(value, at * HASH_BYTES);
  });
  return { bytes, count: hashes.length };
}

function grown(bundle: Buffer, length: number, atLeast: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(Math.max(2 * bundle.length, atLeast));
  bundle.copy(larger, 0, 0, length);
  return larger;
}

/** SHA-256(0x01 || left || right), "binary" being latin1; one after the other, so one buffer serves all. */
const node = Buffer.alloc(1 + 2 * HASH_BYTES, 1);
const halves = Buffer.alloc((TILE_WIDTH / 2) * HASH_BYTES);

function nodeAt(pairs: Buffer, at: number): string {
  pairs.copy(node, 1, at, at + 2 * HASH_BYTES);
  return hash("sha256", node, "binary");
}

/** Of `count` hashes, a power of two, beginning with the `first`. */
function subtreeRoot(row: Buffer, first: number, count: number): string {
  const begin = first * HASH_BYTES;
  if (count === 1) return row.toString("latin1", begin, begin + HASH_BYTES);
  let pairs = row;
  let from = begin;
  for (let width = count / 2; ; width /= 2) {
    for (let pair = 0; pair < width; pair++) {
      const digest = nodeAt(pairs, from + pair * 2 * HASH_BYTES);
      if (width === 1) return digest;
      // A digest takes a place whose pair was read already.
      halves.write(digest, pair * HASH_BYTES, "latin1");
    }
    pairs = halves;
    from = 0;
  }
}

/** Complete subtrees joined from the right, smallest first. */
function rootOfRows(rows: readonly Row[]): Uint8Array {
  let root: string | undefined;
  const both = Buffer.alloc(2 * HASH_BYTES);
  for (const { bytes, count } of rows) {
    for (let end = count; end > 0; ) {
      // The lowest set bit is the size of the rightmost complete subtree of this row.
      const width = end & -end;
      const subtree = subtreeRoot(bytes, end - width, width);
      both.write(subtree, 0, "latin1");
      if (root !== undefined) both.write(root, HASH_BYTES, "latin1");
      root = root === undefined ? subtree : nodeAt(both, 0);
      end -= width;
    }
  }
  return root === undefined
    ? hash("sha256", Buffer.alloc(0), "buffer")
    : Buffer.from(root, "latin1");
}
