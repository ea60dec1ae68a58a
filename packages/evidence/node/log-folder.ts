// A log as it lies in a folder (C2SP tlog-tiles): its entries, and the hashes that proofs are made of. Reads
// only what it is asked for. What it gives is not verified; a proof made of altered tiles does not verify.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeLeaf, type Leaf } from "../core/leaf.ts";
import { largestPowerBelow, nodeHash, rootOf, TILE_WIDTH } from "../core/merkle.ts";
import type { SubtreeHash } from "../core/proof.ts";
import { decodeBundle, TileError, tileHashes, tilePath } from "../core/tile.ts";
import { nodeSha256 } from "./node-sha256.ts";

/** Tiles in memory; a proof needs a few of each level. */
const MAX_KEPT_TILES = 64;

/** MTH of ranges of the tree of `size` records. Throws TileError when a tile is missing. */
export function folderHashes(directory: string, size: number): SubtreeHash {
  const kept = new Map<string, readonly Uint8Array[]>();
  const tile = (level: number, index: number): readonly Uint8Array[] => {
    const width = widthAt(size, level, index);
    const path = tilePath({ level, index, width });
    let hashes = kept.get(path);
    if (hashes === undefined) {
      const bytes = readWide(directory, level, index, width);
      hashes = tileHashes(bytes.subarray(0, width * 32), width);
      if (kept.size >= MAX_KEPT_TILES) kept.delete(kept.keys().next().value!);
      kept.set(path, hashes);
    }
    return hashes;
  };
  const subtree: SubtreeHash = (start, end) => {
    const count = end - start;
    if (!Number.isInteger(Math.log2(count))) {
      const middle = start + largestPowerBelow(count);
      return nodeHash(nodeSha256, subtree(start, middle), subtree(middle, end));
    }
    const level = Math.floor(Math.log2(count) / 8);
    const first = start / TILE_WIDTH ** level;
    const at = first % TILE_WIDTH;
    const hashes = tile(level, Math.floor(first / TILE_WIDTH));
    return rootOf(nodeSha256, hashes.slice(at, at + count / TILE_WIDTH ** level));
  };
  return subtree;
}

/** The entries of one bundle of the tree of `size` records, 256 of them but for the last. */
export function folderEntries(directory: string, size: number, index: number): Uint8Array[] {
  const width = widthAt(size, 0, index);
  const { entries, problem } = decodeBundle(readWide(directory, "entries", index, width), width);
  // A bundle that is full by now has more than the tree of this size; that is no problem of these.
  if (problem !== undefined && entries.length < width) throw new TileError(problem);
  return [...entries];
}

/** Throws TileError, or LeafError for what is none. */
export function leafAt(directory: string, size: number, index: number): Leaf {
  const bundle = Math.floor(index / TILE_WIDTH);
  const entry = folderEntries(directory, size, bundle)[index - bundle * TILE_WIDTH];
  if (entry === undefined) throw new TileError(`there is no record ${index}`);
  return decodeLeaf(entry);
}

function widthAt(size: number, level: number, index: number): number {
  return Math.min(TILE_WIDTH, Math.floor(size / TILE_WIDTH ** level) - index * TILE_WIDTH);
}

/** The tile, or the full one that took its place: partial ones go when it is there. */
function readWide(
  directory: string,
  level: number | "entries",
  index: number,
  width: number,
): Buffer {
  const path = tilePath({ level, index, width });
  try {
    return readFileSync(join(directory, path));
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    if (!isMissing || width === TILE_WIDTH)
      throw new TileError(`${path} cannot be read`, { cause });
    return readWide(directory, level, index, TILE_WIDTH);
  }
}
