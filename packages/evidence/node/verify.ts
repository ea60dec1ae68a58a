// Verifies a copy of a log: needs the directory and the verifier keys, and nothing else.
//
// What must hold of each of its shards (of the log itself, when it is not in shards): the checkpoint is signed;
// everything hashes to its root (verify-tree.ts); every entry is a leaf in its canonical form. And of all
// together: the rules between leaves (core/custody-rules.ts), and the seams (core/log-shard.ts): each shard
// ends with the record that names the next, which begins with the one that has its final size and root.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Checkpoint, parseCheckpoint } from "../core/checkpoint.ts";
import { createLeafRules, type LeafRules } from "../core/custody-rules.ts";
import type { Leaf } from "../core/leaf.ts";
import {
  isShardName,
  keysOf,
  readClosed,
  readOpened,
  type ShardBegin,
  splitOrigin,
} from "../core/log-shard.ts";
import { equalBytes, rootOf } from "../core/merkle.ts";
import {
  NoteError,
  type NoteKey,
  parseKey,
  parseNote,
  verifiedSigners,
  verifyNote,
} from "../core/note.ts";
import { shardFolders } from "./log-shards.ts";
import { nodeSha256 } from "./node-sha256.ts";
import { Findings, type LogProblem } from "./verify-findings.ts";
import { checkOtherFiles, listFiles, readOrNone, readTree, type Tree } from "./verify-tree.ts";

export type { LogProblem } from "./verify-findings.ts";

export interface VerifyOptions {
  /** Verifier keys in text form, of the log or one of its shards; each must have signed. At least one. */
  readonly keys: readonly string[];
  /** Keys of before a rotation: one of them, or of `keys`, must have signed a shard that is not the last. */
  readonly retired?: readonly string[];
  /** Verifier keys of witnesses; `quorum` of them (all of them by default) must have cosigned a head. */
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
  /** Seconds since the Unix epoch: the cosignatures of the last shard's head must not be older. */
  readonly cosignedSince?: number;
  /** The first shard to look at; those before are kept elsewhere. */
  readonly from?: string;
  /** Called with every record that is intact, in order; the index counts through all shards. */
  readonly onLeaf?: (leaf: Leaf, index: number) => void;
}

export interface LogReport {
  readonly ok: boolean;
  /** Of the last shard. */
  readonly origin: string | undefined;
  /** Records in all that was looked at. */
  readonly size: number;
  /** Hex; of the last shard. */
  readonly root: string;
  readonly shards: readonly VerifiedShard[];
  /** What was not looked at: the shard before the first, and the one after the last. */
  readonly beyond: {
    readonly before: { readonly origin: string; readonly records: number } | undefined;
    readonly after: string | undefined;
  };
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

export interface VerifiedShard {
  readonly name: string;
  readonly origin: string;
  readonly size: number;
  /** Hex. */
  readonly root: string;
}

export interface CosignedHead {
  readonly size: number;
  readonly witnesses: readonly { readonly name: string; readonly seconds: number }[];
}

/** Never throws for what it finds in the directory; throws NoteError for a malformed key. */
export async function verifyLog(directory: string, options: VerifyOptions): Promise<LogReport> {
  const keys: Keys = {
    log: options.keys.map(parseKey),
    retired: (options.retired ?? []).map(parseKey),
    witnesses: (options.witnesses ?? []).map(parseKey),
    quorum: options.quorum ?? options.witnesses?.length ?? 0,
    since: options.cosignedSince ?? 0,
  };
  if (keys.log.length === 0) throw new NoteError("no key to verify the checkpoint with");
  const found = new Findings();
  const folders = await foldersOf(directory, options.from, found);
  const rules = createLeafRules();
  const looked: Looked[] = [];
  const unpublished: string[] = [];
  for (const [at, folder] of folders.entries()) {
    found.enter(folder);
    const shard: ToLook = {
      folder,
      directory: join(directory, folder),
      isLast: at === folders.length - 1,
    };
    const onLeaf = (leaf: Leaf, index: number): void => {
      options.onLeaf?.(leaf, index + recordsOf(looked));
    };
    const one = await lookAt(shard, keys, { found, rules, onLeaf, unpublished });
    if (one === undefined) continue;
    checkSeam(looked.at(-1), one, found);
    looked.push(one);
  }
  const beyond = checkEnds(
    looked,
    { isWhole: folders[0] !== "" || folders.length > 1, from: options.from },
    found,
  );
  return report({ looked, found, rules, unpublished, beyond });
}

interface Keys {
  readonly log: readonly NoteKey[];
  readonly retired: readonly NoteKey[];
  readonly witnesses: readonly NoteKey[];
  readonly quorum: number;
  readonly since: number;
}

interface ToLook {
  readonly folder: string;
  readonly directory: string;
  readonly isLast: boolean;
}

interface Looked {
  readonly folder: string;
  readonly checkpoint: Checkpoint;
  /** What its first and its last record say of the seams; undefined where they say nothing. */
  readonly begin: ShardBegin | undefined;
  readonly next: string | undefined;
  readonly cosigned: CosignedHead | undefined;
}

/** Those of the shards; that of the unsharded log, "", where it has one, or nothing else is there. */
async function foldersOf(
  directory: string,
  from: string | undefined,
  found: Findings,
): Promise<string[]> {
  const [root, ...shards] = shardFolders(directory);
  if (shards.length === 0) return [root!];
  const since = from === undefined ? shards : shards.filter((name) => name >= from);
  if (existsSync(join(directory, "checkpoint")))
    return from === undefined ? [root!, ...since] : since;
  for (const file of await listFiles(directory)) {
    if (!isShardName(file.split("/", 1)[0]!)) found.add({ file, what: "does not belong to a log" });
  }
  return since;
}

interface Checks {
  readonly found: Findings;
  readonly rules: LeafRules;
  readonly onLeaf: (leaf: Leaf, index: number) => void;
  readonly unpublished: string[];
}

/** One shard by itself. */
async function lookAt(
  { folder, directory, isLast }: ToLook,
  keys: Keys,
  { found, rules, onLeaf, unpublished }: Checks,
): Promise<Looked | undefined> {
  // Before the checkpoint: in the folder of a gateway that runs it is then never the newer one.
  const cosignedNote = await readOrNone(join(directory, "cosigned"));
  const checkpoint = await readCheckpoint(directory, keys, isLast, found);
  if (checkpoint === undefined) return undefined;
  const ends: { begin?: ShardBegin | undefined; next?: string | undefined } = {};
  const last = checkpoint.size - 1;
  const tree = await readTree(directory, checkpoint, {
    ...{ found, rules },
    onLeaf(leaf, index) {
      const file = "checkpoint";
      if (index === 0) ends.begin = readOpened(leaf);
      else if (leaf.event === "log.opened")
        found.add({ index, file, what: "begins a shard in the middle of one" });
      if (index === last) ends.next = readClosed(leaf);
      else if (leaf.event === "log.closed")
        found.add({ index, file, what: "ends its shard, and more follow" });
      onLeaf(leaf, index);
    },
  });
  if (!equalBytes(tree.root, checkpoint.root) && !found.hasTreeProblem) {
    found.add({ file: "checkpoint", what: "its root is not the root of the log's records" });
  }
  if (folder !== "" && splitOrigin(checkpoint.origin).shard !== folder) {
    found.add({ file: "checkpoint", what: `is of another shard, ${checkpoint.origin}` });
  }
  unpublished.push(...(await checkOtherFiles(directory, checkpoint, tree, found)));
  const cosigned = await checkCosigned(cosignedNote, keys, { checkpoint, tree, isLast }, found);
  return { folder, checkpoint, begin: ends.begin, next: ends.next, cosigned };
}

/** `before` is undefined for the first of all. */
function checkSeam(before: Looked | undefined, after: Looked, found: Findings): void {
  const { begin, checkpoint, folder } = after;
  if (folder !== "" && begin === undefined && !found.hasTreeProblem) {
    found.add({ index: 0, file: "checkpoint", what: "is not the begin of a shard" });
  }
  if (before === undefined) return;
  const { origin, size, root } = before.checkpoint;
  const name = before.folder === "" ? origin : before.folder;
  if (before.next !== checkpoint.origin) {
    const next = before.next ?? "none";
    found.add({
      file: "checkpoint",
      what: `is not the shard that ${name} names as its next: ${next}`,
    });
  }
  if (begin === undefined) return;
  const previous = begin.previous;
  const isSame =
    previous?.origin === origin && previous.size === size && equalBytes(previous.root, root);
  if (!isSame) {
    const theirs =
      previous === undefined ? "none" : `${previous.origin} with ${previous.size} records`;
    const what = `names another shard before it (${theirs}) than ${name} as it is here`;
    found.add({ index: 0, file: "checkpoint", what });
  } else if (begin.before !== (before.begin?.before ?? 0) + size) {
    found.add({ index: 0, file: "checkpoint", what: "counts the records before it wrongly" });
  }
}

/** Whether something was cut off at either end. A shard given by itself is one, and says what it is part of. */
function checkEnds(
  looked: readonly Looked[],
  { isWhole, from }: { readonly isWhole: boolean; readonly from: string | undefined },
  found: Findings,
): LogReport["beyond"] {
  const first = looked[0];
  const last = looked.at(-1);
  const previous = first?.begin?.previous;
  const isPart = !isWhole && first?.begin !== undefined;
  if (previous !== undefined && isWhole && from === undefined) {
    found.enter(first!.folder);
    const what = `the shard before it, ${previous.origin}, is not here`;
    found.add({ file: "checkpoint", what });
  }
  if (last?.next !== undefined && !isPart) {
    found.enter(last.folder);
    found.add({ file: "checkpoint", what: `the shard after it, ${last.next}, is not here` });
  }
  const before = previous && { origin: previous.origin, records: first!.begin!.before };
  return { before, after: last?.next };
}

interface Outcome {
  readonly looked: readonly Looked[];
  readonly found: Findings;
  readonly rules: LeafRules;
  readonly unpublished: readonly string[];
  readonly beyond: LogReport["beyond"];
}

function report({ looked, found, rules, unpublished, beyond }: Outcome): LogReport {
  const last = looked.at(-1);
  const shards = looked.map(({ checkpoint: { origin, size, root } }) => ({
    ...{ name: splitOrigin(origin).shard, origin, size },
    root: Buffer.from(root).toString("hex"),
  }));
  return {
    ok: found.problems.length === 0,
    origin: last?.checkpoint.origin,
    size: recordsOf(looked),
    root: shards.at(-1)?.root ?? "",
    ...{ shards, beyond, unpublished },
    problems: found.problems,
    furtherProblems: found.further,
    open: last === undefined ? { sessions: [], intents: [] } : rules.open(),
    cosigned: newestCosigned(looked),
  };
}

function recordsOf(looked: readonly Looked[]): number {
  return looked.reduce((sum, { checkpoint }) => sum + checkpoint.size, 0);
}

function newestCosigned(looked: readonly Looked[]): CosignedHead | undefined {
  const at = looked.findLastIndex(({ cosigned }) => cosigned !== undefined);
  const head = looked[at]?.cosigned;
  return head && { ...head, size: head.size + recordsOf(looked.slice(0, at)) };
}

/** The checkpoint; with a problem noted when its signatures do not verify but it can be read. */
async function readCheckpoint(
  directory: string,
  keys: Keys,
  isLast: boolean,
  found: Findings,
): Promise<Checkpoint | undefined> {
  const bytes = await readOrNone(join(directory, "checkpoint"));
  if (bytes === undefined) {
    found.add({ file: "checkpoint", what: "is missing" });
    return undefined;
  }
  try {
    const checkpoint = parseCheckpoint(await signedText(bytes, keys, isLast));
    const { origin } = checkpoint;
    if (!namedFor(keys.log, origin).some(({ name }) => name === origin)) {
      found.add({ file: "checkpoint", what: `is of another log, ${origin}` });
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

/**
 * Signed by all keys. A shard that another follows may have been signed before a rotation: any of the keys is
 * enough, for what it holds is vouched for by the first record of the next.
 */
async function signedText(bytes: Uint8Array, keys: Keys, isLast: boolean): Promise<string> {
  const origin = parseNote(bytes).text.split("\n", 1)[0]!;
  if (isLast) return verifyNote(bytes, namedFor(keys.log, origin));
  const any = namedFor([...keys.log, ...keys.retired], origin);
  const { text, signers } = await verifiedSigners(bytes, any);
  if (signers.length === 0) throw new NoteError(`not signed by a key of ${origin}`);
  return text;
}

/** Keys of other names stay, and have not signed. */
function namedFor(keys: readonly NoteKey[], origin: string): NoteKey[] {
  return keys.map((key) => keysOf([key], origin)[0] ?? key);
}

interface Cosignable {
  readonly checkpoint: Checkpoint;
  readonly tree: Tree;
  readonly isLast: boolean;
}

/**
 * `cosigned`: the log's own, no larger than it is, the same tree; and cosigned by who was asked for. Of a shard
 * that another follows it is the last head: else what came after the cosigned one could be written anew at the
 * seam, before witnesses have seen anything of the next.
 */
async function checkCosigned(
  bytes: Uint8Array | undefined,
  keys: Keys,
  { checkpoint, tree, isLast }: Cosignable,
  found: Findings,
): Promise<CosignedHead | undefined> {
  const file = "cosigned";
  const { witnesses, quorum, since } = keys;
  if (bytes === undefined) {
    if (quorum > 0) found.add({ file, what: "is missing: no witness has cosigned this log" });
    return undefined;
  }
  try {
    const head = parseCheckpoint(await signedText(bytes, keys, isLast));
    const { signers } = await verifiedSigners(bytes, witnesses);
    const isThisLog =
      head.origin === checkpoint.origin &&
      head.size <= checkpoint.size &&
      equalBytes(rootOf(nodeSha256, (tree.levels[0] ?? []).slice(0, head.size)), head.root);
    if (!isThisLog) found.add({ file, what: "what witnesses have seen is not this log" });
    else if (quorum > 0 && !isLast && head.size < checkpoint.size)
      found.add({ file, what: "the end of this shard is not cosigned" });
    if (signers.length < quorum) {
      const what = `${signers.length} witnesses have cosigned where ${quorum} are asked for`;
      found.add({ file, what });
    } else if (isLast && signers.filter(({ seconds = 0 }) => seconds >= since).length < quorum) {
      const wanted = new Date(since * 1000).toISOString();
      found.add({ file, what: `is of before ${wanted}: what came after it is not witnessed` });
    }
    if (witnesses.length === 0) return undefined;
    const names = signers.map(({ key, seconds = 0 }) => ({ name: key.name, seconds }));
    return { size: head.size, witnesses: names };
  } catch (error) {
    found.add({ file, what: messageOf(error) });
    return undefined;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
