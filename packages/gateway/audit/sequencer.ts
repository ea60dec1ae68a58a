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
  type Edge,
  EMPTY_EDGE,
  edgeRoot,
  equalBytes,
  leafHash,
  TILE_WIDTH,
} from "@custody/evidence/core/merkle.ts";
import { decodeBundle, type TileName, tileHashes, tilePath } from "@custody/evidence/core/tile.ts";
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
import { createLogTree, type LogTree } from "./log-tree.ts";

export type { DurablePlace } from "./journal-reader.ts";

/** Of each worker's journal, 4 MiB each, before something is published. */
const MAX_PARTS = 4;

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
  readonly #reader: JournalReader;
  readonly #sink: JournalSink;
  readonly #tree: LogTree;
  #head: Head;
  /** Those that filled up in this step. */
  #full: { readonly level: number | "entries"; readonly index: number }[] = [];

  constructor(deps: SequencerDeps, head: Head, edge: Edge) {
    this.#deps = deps;
    this.#head = head;
    const content = openContentStore(deps.dataDirectory, deps.files);
    this.#content = content;
    this.#reader = createJournalReader(deps.dataDirectory);
    const tree = createLogTree(edge, readLastBundle(deps, edge), (level, index, bytes) => {
      this.#write({ level, index, width: TILE_WIDTH }, bytes);
      this.#full.push({ level, index });
    });
    this.#tree = tree;
    this.#sink = {
      leaf: (bytes, start, end) => tree.push(bytes, start, end),
      content: (sessionId, sealed) => content.append(sessionId, sealed),
    };
  }

  get size(): number {
    return this.#tree.size;
  }

  step(durable: ReadonlyMap<number, DurablePlace>): boolean {
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
    const { files, dataDirectory, key } = this.#deps;
    const { size } = this.#tree;
    if (size === sizeBefore) {
      this.#head = { ...this.#head, cursors };
      writeHead(files, dataDirectory, this.#head);
      return;
    }
    const text = formatCheckpoint({ origin: key.origin, size, root: this.#tree.root() });
    const checkpoint = key.sign(text);
    this.#head = { checkpoint, previous: this.#head.checkpoint, cursors };
    writeHead(files, dataDirectory, this.#head);
    files.replace(checkpointPath(this.#deps), Buffer.from(checkpoint, "utf8"));
    this.#removePartials(sizeBefore);
  }

  /** Once a tile is full and published its narrower forms, of steps before, are not needed any more. */
  #removePartials(sizeBefore: number): void {
    for (const { level, index } of this.#full) {
      const firstLeaf = index * TILE_WIDTH ** (level === "entries" ? 1 : level + 1);
      if (firstLeaf >= sizeBefore) continue;
      const path = tilePath({ level, index, width: TILE_WIDTH });
      this.#deps.files.remove(join(logDirectory(this.#deps.dataDirectory), `${path}.p`));
    }
    this.#full = [];
  }

  #write(name: TileName, bytes: Buffer): void {
    this.#deps.files.write(join(logDirectory(this.#deps.dataDirectory), tilePath(name)), bytes);
  }
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

function checkpointPath(deps: SequencerDeps): string {
  return join(logDirectory(deps.dataDirectory), "checkpoint");
}

function publishHead(deps: SequencerDeps, head: Head): void {
  const path = checkpointPath(deps);
  if (head.checkpoint === "") return;
  if (deps.files.read(path)?.toString("utf8") === head.checkpoint) return;
  deps.files.replace(path, Buffer.from(head.checkpoint, "utf8"));
}
