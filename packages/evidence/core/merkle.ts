// The Merkle tree of RFC 6962, section 2.1, kept as C2SP tlog-tiles: tiles of height 8, each level's
// hashes being the roots of full tiles of the level below.

import type { Sha256 } from "./sha256.ts";

export const HASH_BYTES = 32;
export const TILE_WIDTH = 256;

/** SHA-256(0x00 || entry) */
export function leafHash(hash: Sha256, entry: Uint8Array): Uint8Array {
  const input = new Uint8Array(1 + entry.length);
  input.set(entry, 1);
  return hash(input);
}

/** SHA-256(0x01 || left || right) */
export function nodeHash(hash: Sha256, left: Uint8Array, right: Uint8Array): Uint8Array {
  const input = new Uint8Array(1 + 2 * HASH_BYTES);
  input[0] = 1;
  input.set(left, 1);
  input.set(right, 1 + HASH_BYTES);
  return hash(input);
}

/** MTH of a row of subtree roots of equal height; of none: SHA-256 of nothing. */
export function rootOf(hash: Sha256, hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 0) return hash(new Uint8Array(0));
  if (hashes.length === 1) return hashes[0]!;
  const split = largestPowerBelow(hashes.length);
  return nodeHash(hash, rootOf(hash, hashes.slice(0, split)), rootOf(hash, hashes.slice(split)));
}

/** The largest power of two smaller than `count`; `count` > 1. */
export function largestPowerBelow(count: number): number {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}

/** The right edge of a tree: for each level the hashes of its last tile, 0 to 255 of them. */
export interface Edge {
  readonly size: number;
  readonly levels: readonly (readonly Uint8Array[])[];
}

export interface TreeBuilder {
  /** Appends the hash of one entry. */
  push(leaf: Uint8Array): void;
  readonly size: number;
  root(): Uint8Array;
  edge(): Edge;
}

/** A full tile as it comes to be; its bytes are 256 hashes. */
export type OnTile = (level: number, index: number, hashes: readonly Uint8Array[]) => void;

export const EMPTY_EDGE: Edge = { size: 0, levels: [] };

export function createTreeBuilder(hash: Sha256, from: Edge, onTile: OnTile): TreeBuilder {
  let size = from.size;
  const levels: Uint8Array[][] = from.levels.map((level) => [...level]);
  const add = (level: number, value: Uint8Array): void => {
    levels[level] ??= [];
    const row = levels[level];
    row.push(value);
    if (row.length < TILE_WIDTH) return;
    levels[level] = [];
    onTile(level, Math.floor((size - 1) / TILE_WIDTH ** (level + 1)), row);
    add(level + 1, rootOf(hash, row));
  };
  return {
    push(leaf) {
      size++;
      add(0, leaf);
    },
    get size() {
      return size;
    },
    root: () => edgeRoot(hash, { size, levels }),
    edge: () => ({ size, levels: levels.map((level) => [...level]) }),
  };
}

/** The tree's root: complete subtrees joined from the right, smallest first. */
export function edgeRoot(hash: Sha256, edge: Edge): Uint8Array {
  let root: Uint8Array | undefined;
  for (const row of edge.levels) {
    let end = row.length;
    while (end > 0) {
      // The lowest set bit is the size of the rightmost complete subtree of this row.
      const width = end & -end;
      const subtree = rootOf(hash, row.slice(end - width, end));
      root = root === undefined ? subtree : nodeHash(hash, subtree, root);
      end -= width;
    }
  }
  return root ?? rootOf(hash, []);
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}
