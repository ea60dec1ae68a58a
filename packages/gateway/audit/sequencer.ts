// Merges the workers' journals into the log, `<data>/log/`, in C2SP tlog-tiles, and moves sessions'
// content to recordings. Synchronous: it runs in a thread of its own (sequencer-thread.ts).
//
// Order of a step, after Sunlight's: content durable; bundles and tiles durable; head (log-head.ts)
// replaced, which is the decision; checkpoint published; journal segments deleted. A crash anywhere
// before the decision is as if the step had not been, and what it wrote beyond the tree is cleared; after
// it, the start publishes the head's checkpoint. Refuses to go on with a log that is not its own work.
//
// A log in shards (log-shards.ts) goes on in the next one by two such steps without anything of the journals:
// `log.closed` as the last record of the old one, and, in a tree of its own, `log.opened`. After a crash between
// them the last record says what is due.
//
// Owns `<data>/log/`, `<data>/recordings/` and head.json; deletes segments, never writes one.

import { join } from "node:path";
import { type Checkpoint, formatCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import { encodeLeaf, type Leaf, type LeafFields } from "@custody/evidence/core/leaf.ts";
import {
  closedLeaf,
  isShardName,
  LOG_WORKER,
  openedLeaf,
  readClosed,
  readOpened,
  shardOrigin,
  splitOrigin,
} from "@custody/evidence/core/log-shard.ts";
import {
  type Edge,
  EMPTY_EDGE,
  edgeRoot,
  equalBytes,
  leafHash,
  TILE_WIDTH,
} from "@custody/evidence/core/merkle.ts";
import { decodeBundle, type TileName, tileHashes, tilePath } from "@custody/evidence/core/tile.ts";
import { leafAt } from "@custody/evidence/node/log-folder.ts";
import { type ContentStore, openContentStore } from "./content-store.ts";
import { sha256 } from "./journal-format.ts";
import {
  createJournalReader,
  type DurablePlace,
  type JournalReader,
  type JournalSink,
  removeSegmentsBefore,
} from "./journal-reader.ts";
import type { LogFiles } from "./log-files.ts";
import {
  aheadOfUs,
  type Cursor,
  EMPTY_HEAD,
  FIRST_CURSOR,
  type Head,
  ownCheckpoint,
  readHead,
  refusal,
  writeHead,
} from "./log-head.ts";
import type { LogKey } from "./log-key.ts";
import { type LogSharding, shardDirectory, shardDue } from "./log-shards.ts";
import { createLogTree, type LogTree } from "./log-tree.ts";

export type { DurablePlace } from "./journal-reader.ts";

/** Of each worker's journal, 4 MiB each, before something is published. */
const MAX_PARTS = 4;

export interface Sequencer {
  /** Records in all of the log, in the shards before the current one too. */
  readonly size: number;
  /** Does one bounded piece of work; false when there was none. */
  step(durable: ReadonlyMap<number, DurablePlace>): boolean;
  close(): void;
}

export interface SequencerDeps {
  readonly dataDirectory: string;
  /** Of the log without its shards. */
  readonly key: LogKey;
  readonly files: LogFiles;
  /** undefined: the log goes on where it is. */
  readonly sharding?: LogSharding | undefined;
}

/** Throws GatewayError "evidence_unavailable" when the log does not extend what was published. */
export function openSequencer(deps: SequencerDeps): Sequencer {
  const head = readHead(deps.files, deps.dataDirectory);
  const shard = openShard(deps, shardOf(deps, head));
  const edge = checkLog(deps, shard, head);
  checkOtherShards(deps, shard, edge.size);
  clearBeyond(deps, shard, edge);
  publishHead(deps, shard, head);
  removeDone(deps, EMPTY_HEAD, head);
  return new LogSequencer(deps, shard, head, edge);
}

/** The tree that is being written. */
interface Shard {
  /** "" for the unsharded log. */
  readonly name: string;
  readonly directory: string;
  readonly key: LogKey;
}

function openShard({ dataDirectory, key }: SequencerDeps, name: string): Shard {
  return { name, directory: shardDirectory(dataDirectory, name), key: key.shard(name) };
}

/** Which one the head speaks of; for the first start the one that is due. */
function shardOf({ key, sharding }: SequencerDeps, { checkpoint }: Head): string {
  if (checkpoint === "") return sharding === undefined ? "" : (shardDue(undefined, sharding) ?? "");
  const origin = checkpoint.slice(0, checkpoint.indexOf("\n"));
  if (origin === key.origin) return "";
  const { base, shard } = splitOrigin(origin);
  if (base !== key.origin || shard === "") {
    throw refusal("a checkpoint is not signed with the log's key");
  }
  return shard;
}

class LogSequencer implements Sequencer {
  readonly #deps: SequencerDeps;
  readonly #content: ContentStore;
  readonly #reader: JournalReader;
  readonly #sink: JournalSink;
  #shard: Shard;
  #tree: LogTree;
  #head: Head;
  /** Records in the shards before this one. */
  #before = 0;
  /** Of the log's own records in this shard: the number of the first. */
  #ownSeq = 0;
  /** Those that filled up in this step. */
  #full: { readonly level: number | "entries"; readonly index: number }[] = [];

  constructor(deps: SequencerDeps, shard: Shard, head: Head, edge: Edge) {
    this.#deps = deps;
    this.#shard = shard;
    this.#head = head;
    const content = openContentStore(deps.dataDirectory, deps.files);
    this.#content = content;
    this.#reader = createJournalReader(deps.dataDirectory);
    this.#tree = this.#newTree(edge, readLastBundle(deps, shard, edge));
    this.#sink = {
      leaf: (bytes, start, end) => this.#tree.push(bytes, start, end),
      content: (sessionId, sealed) => content.append(sessionId, sealed),
    };
    this.#resume(edge.size);
  }

  get size(): number {
    return this.#before + this.#tree.size;
  }

  step(durable: ReadonlyMap<number, DurablePlace>): boolean {
    this.#turnIfDue();
    const before = this.#head;
    const sizeBefore = this.#tree.size;
    const cursors = new Map<number, Cursor>(before.cursors);
    let hasMoved = false;
    for (const [worker, place] of durable) {
      for (let part = 0; part < MAX_PARTS; part++) {
        const from = cursors.get(worker) ?? FIRST_CURSOR;
        const cursor = this.#reader.read(worker, from, place, this.#sink);
        this.#content.write();
        if (cursor.segment === from.segment && cursor.offset === from.offset) break;
        cursors.set(worker, cursor);
        hasMoved = true;
      }
    }
    if (!hasMoved) return false;
    this.#content.sync();
    this.#settle(sizeBefore);
    this.#commit(cursors, sizeBefore);
    removeDone(this.#deps, before, this.#head);
    return true;
  }

  close(): void {
    this.#content.close();
  }

  /** What the records of this shard say of where it stands, and what a crash left undone of a turn. */
  #resume(size: number): void {
    if (size === 0) {
      if (this.#shard.name !== "") this.#begin(undefined, 0, 1);
      return;
    }
    const { directory, name } = this.#shard;
    const first = leafAt(directory, size, 0);
    const begin = readOpened(first);
    if (name !== "" && begin === undefined) throw refusal(`its shard ${name} has no begin`);
    this.#before = begin?.before ?? 0;
    this.#ownSeq = begin === undefined ? 0 : first.seq;
    const next = readClosed(leafAt(directory, size, size - 1));
    if (next !== undefined) this.#enter(splitOrigin(next).shard);
  }

  #turnIfDue(): void {
    const { sharding, key } = this.#deps;
    const due = sharding && shardDue(this.#shard.name, sharding);
    if (due === undefined) return;
    if (this.#tree.size > 0) {
      this.#append(closedLeaf(shardOrigin(key.origin, due)), this.#ownSeq + 1);
      this.#enter(due);
    } else {
      // The unsharded log without a record has nothing to end.
      this.#shard = openShard(this.#deps, due);
      this.#begin(undefined, 0, 1);
    }
  }

  /** The current shard has its last record. */
  #enter(name: string): void {
    const previous = this.#published();
    const before = this.#before + previous.size;
    const seq = this.#ownSeq + 2;
    this.#shard = openShard(this.#deps, name);
    // A crash may have left tiles that no checkpoint speaks of.
    clearBeyond(this.#deps, this.#shard, EMPTY_EDGE);
    this.#tree = this.#newTree(EMPTY_EDGE, []);
    this.#head = { ...this.#head, checkpoint: "" };
    this.#begin(previous, before, seq);
  }

  #begin(previous: Checkpoint | undefined, before: number, seq: number): void {
    const workers = [...this.#head.cursors].filter(([, cursor]) => cursor.seq > 0);
    const numbers = new Map(workers.map(([worker, cursor]) => [worker, cursor.seq]));
    this.#append(openedLeaf({ previous, before, workers: numbers }), seq);
    this.#before = before;
    this.#ownSeq = seq;
  }

  /** A record of the log itself, in a step of its own. */
  #append(fields: LeafFields, seq: number): void {
    const at = this.#deps.sharding?.nowMs() ?? Date.now();
    const bytes = encodeLeaf({ v: 1, at, worker: LOG_WORKER, seq, ...fields } as Leaf);
    const sizeBefore = this.#tree.size;
    this.#tree.push(Buffer.from(bytes), 0, bytes.length);
    this.#settle(sizeBefore);
    this.#commit(this.#head.cursors, sizeBefore);
  }

  #published(): Checkpoint {
    const { origin } = this.#shard.key;
    return { origin, size: this.#tree.size, root: this.#tree.root() };
  }

  #newTree(edge: Edge, lastEntries: readonly Uint8Array[]): LogTree {
    return createLogTree(edge, lastEntries, (level, index, bytes) => {
      this.#write({ level, index, width: TILE_WIDTH }, bytes);
      this.#full.push({ level, index });
    });
  }

  /** All of the step's tiles and bundles onto the disk; nothing refers to them yet. */
  #settle(sizeBefore: number): void {
    if (this.#tree.size === sizeBefore) return;
    // A tile that did not grow is published: to write it again would empty it for a moment, and for good
    // if that is where the process is killed. `partials` passes over it.
    this.#tree.partials(sizeBefore, (level, index, bytes, width) => {
      this.#write({ level, index, width }, bytes);
    });
    this.#deps.files.settle();
  }

  #commit(cursors: ReadonlyMap<number, Cursor>, sizeBefore: number): void {
    const { files, dataDirectory } = this.#deps;
    const { key, directory } = this.#shard;
    const head = this.#published();
    if (head.size === sizeBefore) {
      this.#head = { ...this.#head, cursors };
      writeHead(files, dataDirectory, this.#head);
      return;
    }
    const checkpoint = key.sign(formatCheckpoint(head));
    this.#head = { checkpoint, previous: this.#head.checkpoint, cursors };
    writeHead(files, dataDirectory, this.#head);
    files.replace(join(directory, "checkpoint"), Buffer.from(checkpoint, "utf8"));
    this.#removePartials(sizeBefore);
  }

  /** Once a tile is full and published its narrower forms, of steps before, are not needed any more. */
  #removePartials(sizeBefore: number): void {
    for (const { level, index } of this.#full) {
      const firstLeaf = index * TILE_WIDTH ** (level === "entries" ? 1 : level + 1);
      if (firstLeaf >= sizeBefore) continue;
      const path = tilePath({ level, index, width: TILE_WIDTH });
      this.#deps.files.remove(join(this.#shard.directory, `${path}.p`));
    }
    this.#full = [];
  }

  #write(name: TileName, bytes: Buffer): void {
    this.#deps.files.write(join(this.#shard.directory, tilePath(name)), bytes);
  }
}

/** The edge of the tree that the head speaks of, when the log holds it and nothing contradicts. */
function checkLog({ files }: SequencerDeps, { directory, key }: Shard, head: Head): Edge {
  const published = files.read(join(directory, "checkpoint"))?.toString("utf8") ?? "";
  if (published !== head.checkpoint && published !== head.previous) {
    throw refusal("the published checkpoint is not the one this gateway published last");
  }
  const checkpoint = ownCheckpoint(key, head.checkpoint);
  const cosigned = ownCheckpoint(key, files.read(join(directory, "cosigned"))?.toString() ?? "");
  if (cosigned !== undefined && cosigned.size > (checkpoint?.size ?? 0)) {
    throw aheadOfUs("the cosigned checkpoint", cosigned.size, checkpoint?.size ?? 0);
  }
  if (checkpoint === undefined) return EMPTY_EDGE;
  const levels: Uint8Array[][] = [];
  for (let level = 0; TILE_WIDTH ** level <= checkpoint.size; level++) {
    const width = Math.floor(checkpoint.size / TILE_WIDTH ** level) % TILE_WIDTH;
    const index = Math.floor(checkpoint.size / TILE_WIDTH ** (level + 1));
    const path = tilePath({ level, index, width });
    const bytes = width === 0 ? new Uint8Array(0) : files.read(join(directory, path));
    if (bytes?.length !== width * 32) throw refusal(`${path} is missing or has a wrong length`);
    levels.push(tileHashes(bytes, width));
  }
  const edge = { size: checkpoint.size, levels };
  if (!equalBytes(edgeRoot(sha256, edge), checkpoint.root)) {
    throw refusal("its tiles do not hash to the root of its checkpoint");
  }
  return edge;
}

/** The shards beside this one: none is later, and each has the end that the next one's first record names. */
function checkOtherShards(deps: SequencerDeps, shard: Shard, size: number): void {
  const { files, dataDirectory, key } = deps;
  const noteOf = (name: string): string | undefined =>
    files.read(join(shardDirectory(dataDirectory, name), "checkpoint"))?.toString("utf8");
  for (const name of ["", ...files.list(shardDirectory(dataDirectory, "")).filter(isShardName)]) {
    const isUnexpected = name > shard.name || (size === 0 && name !== shard.name);
    if (isUnexpected && noteOf(name) !== undefined) {
      throw refusal(`there is a shard ${name} that this gateway's head does not know`);
    }
  }
  let at = shard;
  let records = size;
  while (records > 0) {
    const previous = readOpened(leafAt(at.directory, records, 0))?.previous;
    if (previous === undefined) return;
    const name = previous.origin === key.origin ? "" : splitOrigin(previous.origin).shard;
    if (name >= at.name) throw refusal(`its shard ${at.name} names no shard before it`);
    at = openShard(deps, name);
    const note = noteOf(name);
    // Kept elsewhere by now, and those before it.
    if (note === undefined) return;
    const end = ownCheckpoint(at.key, note);
    if (end?.size !== previous.size || !equalBytes(end.root, previous.root)) {
      throw refusal(`its shard ${name} is not as it was when the next one began`);
    }
    records = end.size;
  }
}

function readLastBundle(deps: SequencerDeps, { directory }: Shard, edge: Edge): Uint8Array[] {
  const hashes = edge.levels[0] ?? [];
  if (hashes.length === 0) return [];
  const index = Math.floor(edge.size / TILE_WIDTH);
  const path = tilePath({ level: "entries", index, width: hashes.length });
  const bytes = deps.files.read(join(directory, path));
  const bundle = decodeBundle(bytes ?? new Uint8Array(0), hashes.length);
  const isIntact =
    bundle.problem === undefined &&
    bundle.entries.every((entry, at) => equalBytes(leafHash(sha256, entry), hashes[at]!));
  if (!isIntact) throw refusal(`${path} does not hold the entries of its tile`);
  return [...bundle.entries];
}

/** Removes what a step that was not decided left beyond the tree. */
function clearBeyond({ files }: SequencerDeps, { directory }: Shard, edge: Edge): void {
  const clear = (level: number | "entries", width: number, first: number): void => {
    for (let index = first; ; index++) {
      const full = join(directory, tilePath({ level, index, width: TILE_WIDTH }));
      const widths = files.list(`${full}.p`).map(Number);
      const isFull = files.read(full) !== undefined;
      if (index > first && !isFull && widths.length === 0) return;
      if (isFull) files.remove(full);
      for (const other of widths) {
        if (index > first || other > width) files.remove(join(`${full}.p`, String(other)));
      }
    }
  };
  for (let level = 0; level === 0 || TILE_WIDTH ** (level - 1) <= edge.size; level++) {
    const width = edge.levels[level]?.length ?? 0;
    const first = Math.floor(edge.size / TILE_WIDTH ** (level + 1));
    clear(level, width, first);
    if (level === 0) clear("entries", width, first);
  }
}

/** Deletes the journal segments that a head has left behind. */
function removeDone(deps: SequencerDeps, before: Head, head: Head): void {
  for (const [worker, { segment }] of head.cursors) {
    if (before.cursors.get(worker)?.segment === segment) continue;
    removeSegmentsBefore(deps.files, deps.dataDirectory, worker, segment);
  }
}

function publishHead({ files }: SequencerDeps, { directory }: Shard, head: Head): void {
  const path = join(directory, "checkpoint");
  if (head.checkpoint === "") return;
  if (files.read(path)?.toString("utf8") === head.checkpoint) return;
  files.replace(path, Buffer.from(head.checkpoint, "utf8"));
}
