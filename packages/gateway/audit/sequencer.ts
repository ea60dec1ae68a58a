// Merges the workers' journals into the log, `<data>/log/`, in C2SP tlog-tiles, and moves sessions'
// content to recordings. Synchronous: it runs in a thread of its own (sequencer-thread.ts).
//
// Order of a step, after Sunlight's: content durable; bundles and tiles durable; head (log-head.ts)
// replaced, which is the decision; checkpoint published; journal segments deleted. A crash anywhere
// before the decision is as if the step had not been, and what it wrote beyond the tree is cleared; after
// it, the start publishes the head's checkpoint. Refuses to go on with a log that is not its own work.
//
// Owns `<data>/log/`, `<data>/recordings/` and head.json; deletes segments, never writes one.

import { join } from "node:path";
import { formatCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import {
  createTreeBuilder,
  type Edge,
  EMPTY_EDGE,
  edgeRoot,
  equalBytes,
  leafHash,
  TILE_WIDTH,
  type TreeBuilder,
} from "@custody/evidence/core/merkle.ts";
import {
  decodeBundle,
  encodeBundle,
  tileBytes,
  tileHashes,
  tilePath,
} from "@custody/evidence/core/tile.ts";
import { type ContentStore, openContentStore } from "./content-store.ts";
import { sha256 } from "./journal-format.ts";
import { readJournal, removeSegmentsBefore } from "./journal-reader.ts";
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

/** Where a worker's journal is on disk up to. */
export interface DurablePlace {
  readonly segment: number;
  readonly offset: number;
}

export interface Sequencer {
  readonly size: number;
  /** Does one bounded piece of work; false when there was none. */
  step(durable: ReadonlyMap<number, DurablePlace>): boolean;
  close(): void;
}

export interface SequencerDeps {
  readonly dataDirectory: string;
  readonly key: LogKey;
  readonly files: LogFiles;
}

export function logDirectory(dataDirectory: string): string {
  return join(dataDirectory, "log");
}

/** Throws GatewayError "evidence_unavailable" when the log does not extend what was published. */
export function openSequencer(deps: SequencerDeps): Sequencer {
  const head = readHead(deps.files, deps.dataDirectory);
  const edge = checkLog(deps, head);
  clearBeyond(deps, edge);
  publishHead(deps, head);
  removeDone(deps, EMPTY_HEAD, head);
  return new LogSequencer(deps, head, edge);
}

class LogSequencer implements Sequencer {
  readonly #deps: SequencerDeps;
  readonly #content: ContentStore;
  readonly #builder: TreeBuilder;
  #head: Head;
  /** Entries of the bundle being filled. */
  #bundle: Uint8Array[];
  #fullTiles: { level: number; index: number; hashes: readonly Uint8Array[] }[] = [];

  constructor(deps: SequencerDeps, head: Head, edge: Edge) {
    this.#deps = deps;
    this.#head = head;
    this.#content = openContentStore(deps.dataDirectory, deps.files);
    this.#bundle = readLastBundle(deps, edge);
    this.#builder = createTreeBuilder(sha256, edge, (level, index, hashes) => {
      this.#fullTiles.push({ level, index, hashes });
    });
  }

  get size(): number {
    return this.#builder.size;
  }

  step(durable: ReadonlyMap<number, DurablePlace>): boolean {
    const before = this.#head;
    const cursors = new Map<number, Cursor>(before.cursors);
    const leaves: Buffer[] = [];
    let hasMoved = false;
    for (const [worker, place] of durable) {
      const cursor = cursors.get(worker) ?? FIRST_CURSOR;
      const read = readJournal(this.#deps.dataDirectory, worker, cursor, place);
      for (const { sessionId, sealed } of read.content) this.#content.append(sessionId, sealed);
      leaves.push(...read.leaves);
      cursors.set(worker, read.cursor);
      hasMoved ||= read.cursor.segment !== cursor.segment || read.cursor.offset !== cursor.offset;
    }
    if (!hasMoved) return false;
    this.#content.sync();
    this.#extend(leaves);
    this.#commit(cursors, leaves.length > 0);
    removeDone(this.#deps, before, this.#head);
    return true;
  }

  close(): void {
    this.#content.close();
  }

  /** Writes bundles and tiles; nothing refers to them yet. */
  #extend(leaves: readonly Buffer[]): void {
    if (leaves.length === 0) return;
    const before = this.#builder.size;
    for (const leaf of leaves) {
      this.#bundle.push(leaf);
      this.#builder.push(leafHash(sha256, leaf));
      if (this.#bundle.length === TILE_WIDTH) {
        this.#writeBundle(this.#builder.size / TILE_WIDTH - 1);
        this.#bundle = [];
      }
    }
    if (this.#bundle.length > 0) this.#writeBundle(Math.floor(this.#builder.size / TILE_WIDTH));
    for (const { level, index, hashes } of this.#fullTiles) this.#writeTile(level, index, hashes);
    const { size, levels } = this.#builder.edge();
    levels.forEach((row, level) => {
      // A tile that did not grow is published: to write it again would empty it for a moment, and for
      // good if that is where the process is killed.
      const isNew = hashesAt(level, size) !== hashesAt(level, before);
      if (row.length > 0 && isNew)
        this.#writeTile(level, Math.floor(size / TILE_WIDTH ** (level + 1)), row);
    });
    this.#deps.files.settle();
  }

  #commit(cursors: ReadonlyMap<number, Cursor>, isExtended: boolean): void {
    const { files, dataDirectory, key } = this.#deps;
    if (!isExtended) {
      this.#head = { ...this.#head, cursors };
      writeHead(files, dataDirectory, this.#head);
      return;
    }
    const { size } = this.#builder;
    const text = formatCheckpoint({ origin: key.origin, size, root: this.#builder.root() });
    const checkpoint = key.sign(text);
    this.#head = { checkpoint, previous: this.#head.checkpoint, cursors };
    writeHead(files, dataDirectory, this.#head);
    publishHead(this.#deps, this.#head);
    this.#removePartials();
  }

  /** Once a tile is full and published its narrower forms are not needed any more. */
  #removePartials(): void {
    for (const { level, index } of this.#fullTiles) {
      this.#removePartial(level, index);
      if (level === 0) this.#removePartial("entries", index);
    }
    this.#fullTiles = [];
  }

  #removePartial(level: number | "entries", index: number): void {
    const path = tilePath({ level, index, width: TILE_WIDTH });
    this.#deps.files.remove(join(logDirectory(this.#deps.dataDirectory), `${path}.p`));
  }

  #writeBundle(index: number): void {
    const name = { level: "entries" as const, index, width: this.#bundle.length };
    const path = join(logDirectory(this.#deps.dataDirectory), tilePath(name));
    this.#deps.files.write(path, encodeBundle(this.#bundle));
  }

  #writeTile(level: number, index: number, hashes: readonly Uint8Array[]): void {
    const path = tilePath({ level, index, width: hashes.length });
    this.#deps.files.write(join(logDirectory(this.#deps.dataDirectory), path), tileBytes(hashes));
  }
}

/** Of a tree of `size` leaves, at this level of tiles. */
function hashesAt(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level);
}

/** The edge of the tree that the head speaks of, when the log holds it and nothing contradicts. */
function checkLog(deps: SequencerDeps, head: Head): Edge {
  const { files, key } = deps;
  const directory = logDirectory(deps.dataDirectory);
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

function readLastBundle(deps: SequencerDeps, edge: Edge): Uint8Array[] {
  const hashes = edge.levels[0] ?? [];
  if (hashes.length === 0) return [];
  const index = Math.floor(edge.size / TILE_WIDTH);
  const path = tilePath({ level: "entries", index, width: hashes.length });
  const bytes = deps.files.read(join(logDirectory(deps.dataDirectory), path));
  const bundle = decodeBundle(bytes ?? new Uint8Array(0), hashes.length);
  const isIntact =
    bundle.problem === undefined &&
    bundle.entries.every((entry, at) => equalBytes(leafHash(sha256, entry), hashes[at]!));
  if (!isIntact) throw refusal(`${path} does not hold the entries of its tile`);
  return [...bundle.entries];
}

/** Removes what a step that was not decided left beyond the tree. */
function clearBeyond(deps: SequencerDeps, edge: Edge): void {
  const { files } = deps;
  const directory = logDirectory(deps.dataDirectory);
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

function publishHead(deps: SequencerDeps, head: Head): void {
  const path = join(logDirectory(deps.dataDirectory), "checkpoint");
  if (head.checkpoint === "") return;
  if (deps.files.read(path)?.toString("utf8") === head.checkpoint) return;
  deps.files.replace(path, Buffer.from(head.checkpoint, "utf8"));
}
