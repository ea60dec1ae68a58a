// Verifies a copy of a log: needs the directory and the verifier keys, and nothing else.
//
// What must hold: the checkpoint is signed by every key asked for; every entry hashes to the hash its
// tile has, every tile to the one above it and all to the checkpoint's root; every entry is a leaf in
// its canonical form; and the rules between leaves (core/custody-rules.ts). Each problem names the
// record it is about, or the file where no single record is.

import { readdir, readFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { type Checkpoint, parseCheckpoint } from "../core/checkpoint.ts";
import { createLeafRules } from "../core/custody-rules.ts";
import { decodeLeaf, type Leaf, LeafError, summarizeLeaf } from "../core/leaf.ts";
import {
  createTreeBuilder,
  EMPTY_EDGE,
  equalBytes,
  leafHash,
  rootOf,
  TILE_WIDTH,
  type TreeBuilder,
} from "../core/merkle.ts";
import { NoteError, parseKey, parseNote, verifiedSigners, verifyNote } from "../core/note.ts";
import {
  type Bundle,
  decodeBundle,
  parseTilePath,
  TileError,
  tileHashes,
  tilePath,
} from "../core/tile.ts";
import { nodeSha256 } from "./node-sha256.ts";

export interface VerifyOptions {
  /** Verifier keys in text form; each must have signed. At least one. */
  readonly keys: readonly string[];
  /** Verifier keys of witnesses; `quorum` of them (all of them by default) must have cosigned a head. */
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
  /** Called with every record that is intact, in order. */
  readonly onLeaf?: (leaf: Leaf, index: number) => void;
}

export interface LogProblem {
  /** The record's place in the log; undefined when it is about a file as a whole. */
  readonly index: number | undefined;
  /** `command.intent r-7f3k` */
  readonly record: string | undefined;
  readonly file: string;
  readonly what: string;
  /** All of it in one line: `record 17 (command.intent r-7f3k): …` */
  readonly message: string;
}

export interface LogReport {
  readonly ok: boolean;
  readonly origin: string | undefined;
  readonly size: number;
  /** Hex. */
  readonly root: string;
  readonly problems: readonly LogProblem[];
  /** Problems beyond the first 1,000 are counted only. */
  readonly furtherProblems: number;
  /** Sessions and intents that have no end yet. */
  readonly open: { readonly sessions: readonly string[]; readonly intents: readonly string[] };
  /** The newest head that the asked for witnesses have cosigned; undefined when none was asked for. */
  readonly cosigned: CosignedHead | undefined;
  /** Files of the log that no checkpoint speaks of: a copy made while it grew has some. */
  readonly unpublished: readonly string[];
}

export interface CosignedHead {
  readonly size: number;
  readonly witnesses: readonly { readonly name: string; readonly seconds: number }[];
}

const MAX_PROBLEMS = 1000;

/** Never throws for what it finds in the directory; throws NoteError for a malformed key. */
export async function verifyLog(directory: string, options: VerifyOptions): Promise<LogReport> {
  const found = new Findings();
  // Before the checkpoint: in the folder of a gateway that runs it is then never the newer one.
  const cosignedNote = await readOrNone(join(directory, "cosigned"));
  const checkpoint = await readCheckpoint(directory, options.keys, found);
  if (checkpoint === undefined) return found.report(undefined, [], NOTHING_OPEN, undefined);
  const tree = await readTree(directory, checkpoint, found, options.onLeaf);
  if (!equalBytes(tree.root, checkpoint.root) && !found.hasTreeProblem) {
    found.add({ file: "checkpoint", what: "its root is not the root of the log's records" });
  }
  const unpublished = await checkOtherFiles(directory, checkpoint, tree, found);
  const cosigned = await checkCosigned(cosignedNote, options, checkpoint, tree, found);
  return found.report(checkpoint, unpublished, tree.open, cosigned);
}

const NOTHING_OPEN: LogReport["open"] = { sessions: [], intents: [] };

class Findings {
  readonly #problems: LogProblem[] = [];
  #further = 0;
  hasTreeProblem = false;

  add(problem: {
    index?: number;
    entry?: Uint8Array | undefined;
    file: string;
    what: string;
  }): void {
    if (this.#problems.length === MAX_PROBLEMS) {
      this.#further++;
      return;
    }
    const { index, file, what } = problem;
    const record = problem.entry === undefined ? undefined : summarizeLeaf(problem.entry);
    const name = record === undefined ? `record ${index}` : `record ${index} (${record})`;
    const message = index === undefined ? `${file}: ${what}` : `${name}: ${what}`;
    this.#problems.push({ index, record, file, what, message });
  }

  report(
    checkpoint: Checkpoint | undefined,
    unpublished: readonly string[],
    open: LogReport["open"],
    cosigned: CosignedHead | undefined,
  ): LogReport {
    return {
      ok: this.#problems.length === 0,
      origin: checkpoint?.origin,
      size: checkpoint?.size ?? 0,
      root: checkpoint === undefined ? "" : Buffer.from(checkpoint.root).toString("hex"),
      problems: this.#problems,
      furtherProblems: this.#further,
      open,
      cosigned,
      unpublished,
    };
  }
}

/** The checkpoint; with a problem noted when its signatures do not verify but it can be read. */
async function readCheckpoint(
  directory: string,
  keyTexts: readonly string[],
  found: Findings,
): Promise<Checkpoint | undefined> {
  const keys = keyTexts.map(parseKey);
  if (keys.length === 0) throw new NoteError("no key to verify the checkpoint with");
  const bytes = await readOrNone(join(directory, "checkpoint"));
  if (bytes === undefined) {
    found.add({ file: "checkpoint", what: "is missing" });
    return undefined;
  }
  try {
    const checkpoint = parseCheckpoint(await verifyNote(bytes, keys));
    if (!keys.some((key) => key.name === checkpoint.origin)) {
      found.add({ file: "checkpoint", what: `is of another log, ${checkpoint.origin}` });
    }
    return checkpoint;
  } catch (error) {
    found.add({ file: "checkpoint", what: messageOf(error) });
  }
  // Unsigned, it proves nothing; it still tells how many records to look at.
  try {
    return parseCheckpoint(parseNote(bytes).text);
  } catch {
    return undefined;
  }
}

/** Signed heads, and what a crash leaves of a new one. */
const HEADS = new Set(["checkpoint", "checkpoint.new", "cosigned", "cosigned.new"]);

interface Tree {
  readonly root: Uint8Array;
  readonly open: LogReport["open"];
  /** Hashes of level 0, and of the levels above once built. */
  readonly levels: readonly (readonly Uint8Array[])[];
}

/** Reads all bundles and tiles, and decides for each which of the two was altered. */
async function readTree(
  directory: string,
  checkpoint: Checkpoint,
  found: Findings,
  onLeaf: VerifyOptions["onLeaf"],
): Promise<Tree> {
  const rules = createLeafRules();
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
      else
        checkLeaf(bundle.entries[at]!, index * TILE_WIDTH + at, bundle.file, rules, found, onLeaf);
    }
    for (const hash of chosen) {
      levels[0].push(hash);
      builder.push(hash);
    }
    if (chosen.length < width) break;
  }
  await compareUpperTiles(directory, checkpoint, levels, found);
  return { root: builder.root(), open: rules.open(), levels };
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
  rules: ReturnType<typeof createLeafRules>,
  found: Findings,
  onLeaf: VerifyOptions["onLeaf"],
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
  onLeaf?.(leaf, index);
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

/** `cosigned`: the log's own, no larger than it is, the same tree; and cosigned by who was asked for. */
async function checkCosigned(
  bytes: Uint8Array | undefined,
  options: VerifyOptions,
  checkpoint: Checkpoint,
  tree: Tree,
  found: Findings,
): Promise<CosignedHead | undefined> {
  const file = "cosigned";
  const witnesses = (options.witnesses ?? []).map(parseKey);
  const quorum = options.quorum ?? witnesses.length;
  if (bytes === undefined) {
    if (quorum > 0) found.add({ file, what: "is missing: no witness has cosigned this log" });
    return undefined;
  }
  try {
    const head = parseCheckpoint(await verifyNote(bytes, options.keys.map(parseKey)));
    const { signers } = await verifiedSigners(bytes, witnesses);
    const isThisLog =
      head.size <= checkpoint.size &&
      equalBytes(rootOf(nodeSha256, (tree.levels[0] ?? []).slice(0, head.size)), head.root);
    if (!isThisLog) found.add({ file, what: "what witnesses have seen is not this log" });
    if (signers.length < quorum) {
      const what = `${signers.length} witnesses have cosigned where ${quorum} are asked for`;
      found.add({ file, what });
    }
    if (witnesses.length === 0) return undefined;
    const names = signers.map(({ key, seconds = 0 }) => ({ name: key.name, seconds }));
    return { size: head.size, witnesses: names };
  } catch (error) {
    found.add({ file, what: messageOf(error) });
    return undefined;
  }
}

/** Files besides those the checkpoint needs: older forms must agree, others are listed. */
async function checkOtherFiles(
  directory: string,
  checkpoint: Checkpoint,
  tree: Tree,
  found: Findings,
): Promise<string[]> {
  const unpublished: string[] = [];
  for (const file of await listFiles(directory)) {
    if (HEADS.has(file)) continue;
    const name = parseTilePath(file);
    if (name === undefined) {
      found.add({ file, what: "does not belong to a log" });
      continue;
    }
    const level = name.level === "entries" ? 0 : name.level;
    const hashes = Math.floor(checkpoint.size / TILE_WIDTH ** level);
    const due = Math.min(TILE_WIDTH, hashes - name.index * TILE_WIDTH);
    if (name.width > due) unpublished.push(file);
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

async function listFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}

async function readOrNone(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

function sameHashes(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return a.length === b.length && a.every((hash, at) => equalBytes(hash, b[at]!));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
