// One tree of a log as it lies in a folder, hashed anew: every entry has the hash its tile has, every tile the
// one above it, and all the checkpoint's root. Where two do not agree, what the tree above bears out is true, so
// each problem names the record it is about, or the file where no single record is.

import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import type { Checkpoint } from "../core/checkpoint.ts";
import type { LeafRules } from "../core/custody-rules.ts";
import { decodeLeaf, type Leaf, LeafError } from "../core/leaf.ts";
import { isShardName } from "../core/log-shard.ts";
import {
  createTreeBuilder,
  EMPTY_EDGE,
  equalBytes,
  leafHash,
  rootOf,
  TILE_WIDTH,
  type TreeBuilder,
} from "../core/merkle.ts";
import {
  type Bundle,
  decodeBundle,
  parseTilePath,
  TileError,
  tileHashes,
  tilePath,
} from "../core/tile.ts";
import { nodeSha256 } from "./node-sha256.ts";
import type { Findings } from "./verify-findings.ts";

/** With each record that is intact, in order. */
export type OnLeaf = (leaf: Leaf, index: number) => void;

/** Signed heads, and what a crash leaves of a new one. */
const HEADS = new Set(["checkpoint", "checkpoint.new", "cosigned", "cosigned.new"]);

/** Of 256 entries of 64 KiB. */
const MAX_FILE_BYTES = 32 << 20;

export interface Tree {
  readonly root: Uint8Array;
  /** Hashes of level 0, and of the levels above once built. */
  readonly levels: readonly (readonly Uint8Array[])[];
}

export interface TreeChecks {
  readonly found: Findings;
  /** Between all records of the log; a tree may be one of several. */
  readonly rules: LeafRules;
  readonly onLeaf: OnLeaf;
}

/** Reads all bundles and tiles, and decides for each which of the two was altered. */
export async function readTree(
  directory: string,
  checkpoint: Checkpoint,
  checks: TreeChecks,
): Promise<Tree> {
  const { found, rules } = checks;
  const levels: Uint8Array[][] = [];
  const builder = createTreeBuilder(nodeSha256, EMPTY_EDGE, (level, _index, hashes) => {
    levels[level + 1] ??= [];
    levels[level + 1]!.push(rootOf(nodeSha256, hashes));
  });
  levels[0] = [];
  for (let index = 0; index * TILE_WIDTH < checkpoint.size; index++) {
    const width = Math.min(TILE_WIDTH, checkpoint.size - index * TILE_WIDTH);
    const bundle = await readBundle(directory, index, width, found);
    const tile = await readHashes(directory, 0, index, width, found);
    const computed = bundle.entries.map((entry) => leafHash(nodeSha256, entry));
    const isTrue = (hashes: readonly Uint8Array[]): Promise<boolean> =>
      matchesAbove(directory, checkpoint, builder, index, hashes);
    const chosen = await choose(computed, tile, width, isTrue);
    nameDifferences({ index, width, bundle, computed, tile, chosen, found });
    for (let at = 0; at < width; at++) {
      const isTrue =
        chosen[at] !== undefined && sameHashes(computed.slice(at, at + 1), [chosen[at]!]);
      if (!isTrue) rules.skip(1);
      else checkLeaf(bundle.entries[at]!, index * TILE_WIDTH + at, bundle.file, checks);
    }
    for (const hash of chosen) {
      levels[0].push(hash);
      builder.push(hash);
    }
    if (chosen.length < width) break;
  }
  await compareUpperTiles(directory, checkpoint, levels, found);
  return { root: builder.root(), levels };
}

/** Of what entries hash to and what the tile says, the one that the tree above bears out. */
async function choose(
  computed: readonly Uint8Array[],
  tile: readonly Uint8Array[] | undefined,
  width: number,
  isTrue: (hashes: readonly Uint8Array[]) => Promise<boolean>,
): Promise<readonly Uint8Array[]> {
  if (computed.length === width && (tile === undefined || sameHashes(computed, tile)))
    return computed;
  if (tile === undefined) return computed;
  if (computed.length < width) return tile;
  if (await isTrue(computed)) return computed;
  return tile;
}

interface BundleFindings {
  readonly index: number;
  readonly width: number;
  readonly bundle: ReadBundle;
  readonly computed: readonly Uint8Array[];
  readonly tile: readonly Uint8Array[] | undefined;
  readonly chosen: readonly Uint8Array[];
  readonly found: Findings;
}

function nameDifferences(b: BundleFindings): void {
  const first = b.index * TILE_WIDTH;
  const { entries, problem, file } = b.bundle;
  let named = -1;
  for (let at = 0; at < entries.length; at++) {
    const isTrue = b.chosen[at] !== undefined && equalBytes(b.computed[at]!, b.chosen[at]!);
    if (!isTrue) {
      const what = "it was altered: it does not hash to what the tree has for it";
      b.found.add({ index: first + at, entry: entries[at], file, what });
      b.found.hasTreeProblem = true;
      named = at;
      // Once lengths are wrong, all that follow are.
      if (problem !== undefined) return;
    } else if (b.tile?.[at] !== undefined && !equalBytes(b.tile[at]!, b.computed[at]!)) {
      const what = "its hash in the tile was altered; the record itself is intact";
      const tileFile = tilePath({ level: 0, index: b.index, width: b.width });
      b.found.add({ index: first + at, entry: entries[at], file: tileFile, what });
    }
  }
  if (problem === undefined) return;
  b.found.hasTreeProblem = true;
  if (entries.length === b.width) {
    const last = b.width - 1;
    b.found.add({ index: first + last, entry: entries[last], file, what: problem });
  } else if (named < 0) {
    const entry = b.bundle.rest.length > 2 ? b.bundle.rest.subarray(2) : undefined;
    b.found.add({ index: first + entries.length, entry, file, what: problem });
  }
}

function checkLeaf(
  entry: Uint8Array,
  index: number,
  file: string,
  { found, rules, onLeaf }: TreeChecks,
): void {
  let leaf: Leaf;
  try {
    leaf = decodeLeaf(entry);
  } catch (error) {
    if (!(error instanceof LeafError)) throw error;
    rules.skip(1);
    found.add({ index, entry, file, what: `not a leaf this verifier knows: ${error.message}` });
    return;
  }
  for (const what of rules.check(leaf)) found.add({ index, entry, file, what });
  onLeaf(leaf, index);
}

/** Does the tree above have the root of these hashes: the tile of level 1, or for the last the root? */
async function matchesAbove(
  directory: string,
  checkpoint: Checkpoint,
  builder: TreeBuilder,
  index: number,
  hashes: readonly Uint8Array[],
): Promise<boolean> {
  if (hashes.length < TILE_WIDTH) {
    const trial = createTreeBuilder(nodeSha256, builder.edge(), () => undefined);
    for (const hash of hashes) trial.push(hash);
    return equalBytes(trial.root(), checkpoint.root);
  }
  const above = Math.floor(index / TILE_WIDTH);
  const width = Math.min(TILE_WIDTH, Math.floor(checkpoint.size / TILE_WIDTH) - above * TILE_WIDTH);
  const bytes = await readOrNone(join(directory, tilePath({ level: 1, index: above, width })));
  const at = (index % TILE_WIDTH) * 32;
  const expected = bytes?.subarray(at, at + 32);
  return expected !== undefined && equalBytes(rootOf(nodeSha256, hashes), expected);
}

async function compareUpperTiles(
  directory: string,
  checkpoint: Checkpoint,
  levels: readonly (readonly Uint8Array[])[],
  found: Findings,
): Promise<void> {
  // By what was built, not by the size: a checkpoint that does not verify may claim any.
  for (let level = 1; level < levels.length; level++) {
    const row = levels[level]!;
    const span = TILE_WIDTH ** level;
    for (let first = 0; first < row.length; first += TILE_WIDTH) {
      const width = Math.min(TILE_WIDTH, Math.floor(checkpoint.size / span) - first);
      const index = first / TILE_WIDTH;
      const hashes = await readHashes(directory, level, index, width, found);
      hashes?.forEach((hash, at) => {
        const computed = row[first + at];
        if (computed === undefined || equalBytes(hash, computed)) return;
        const start = (first + at) * span;
        const what = `the hash of records ${start} to ${start + span - 1} was altered`;
        found.add({ file: tilePath({ level, index, width }), what });
        found.hasTreeProblem = true;
      });
    }
  }
}

/** Files besides those the checkpoint needs: older forms must agree, others are listed. */
export async function checkOtherFiles(
  directory: string,
  checkpoint: Checkpoint,
  tree: Tree,
  found: Findings,
): Promise<string[]> {
  const unpublished: string[] = [];
  for (const file of await listFiles(directory)) {
    if (HEADS.has(file) || isShardName(file.split("/", 1)[0]!)) continue;
    const name = parseTilePath(file);
    if (name === undefined) {
      found.add({ file, what: "does not belong to a log" });
      continue;
    }
    const level = name.level === "entries" ? 0 : name.level;
    const hashes = Math.floor(checkpoint.size / TILE_WIDTH ** level);
    const due = Math.min(TILE_WIDTH, hashes - name.index * TILE_WIDTH);
    if (name.width > due) unpublished.push(found.pathOf(file));
    if (name.width >= due) continue;
    const first = name.index * TILE_WIDTH;
    const expected = tree.levels[level]?.slice(first, first + name.width) ?? [];
    const actual = await readNarrow(directory, file, name.level, name.width);
    if (!sameHashes(actual, expected)) {
      const at = expected.findIndex(
        (hash, place) => !equalBytes(actual[place] ?? new Uint8Array(0), hash),
      );
      const what = "an earlier form of this record in the log was altered";
      found.add(
        level === 0
          ? { index: first + Math.max(0, at), file, what: `${file}: ${what}` }
          : { file, what },
      );
    }
  }
  return unpublished;
}

async function readNarrow(
  directory: string,
  file: string,
  level: number | "entries",
  width: number,
): Promise<readonly Uint8Array[]> {
  const bytes = await readFile(join(directory, file));
  if (level === "entries") {
    const bundle = decodeBundle(bytes, width);
    return bundle.problem === undefined
      ? bundle.entries.map((entry) => leafHash(nodeSha256, entry))
      : bundle.entries.slice(0, -1).map((entry) => leafHash(nodeSha256, entry));
  }
  return bytes.length === width * 32 ? tileHashes(bytes, width) : [];
}

interface ReadBundle extends Bundle {
  readonly file: string;
}

async function readBundle(
  directory: string,
  index: number,
  width: number,
  found: Findings,
): Promise<ReadBundle> {
  const file = tilePath({ level: "entries", index, width });
  const bytes = await readOrNone(join(directory, file));
  if (bytes !== undefined) return { file, ...decodeBundle(bytes, width) };
  const first = index * TILE_WIDTH;
  found.add({ file, what: `is missing, with records ${first} to ${first + width - 1}` });
  found.hasTreeProblem = true;
  return { file, entries: [], problem: undefined, rest: new Uint8Array(0) };
}

async function readHashes(
  directory: string,
  level: number,
  index: number,
  width: number,
  found: Findings,
): Promise<Uint8Array[] | undefined> {
  const file = tilePath({ level, index, width });
  const bytes = await readOrNone(join(directory, file));
  try {
    if (bytes !== undefined) return tileHashes(bytes, width);
    found.add({ file, what: "is missing" });
  } catch (error) {
    if (!(error instanceof TileError)) throw error;
    found.add({ file, what: error.message });
  }
  return undefined;
}

export async function listFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}

/** undefined too for what no file of a log is: a folder, a pipe, a device, more than the largest bundle. */
export async function readOrNone(path: string): Promise<Buffer | undefined> {
  try {
    const about = await stat(path);
    return about.isFile() && about.size <= MAX_FILE_BYTES ? await readFile(path) : undefined;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

function sameHashes(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return a.length === b.length && a.every((hash, at) => equalBytes(hash, b[at]!));
}
