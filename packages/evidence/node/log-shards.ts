// The shards of a log in a folder (core/log-shard.ts), in their order, and places that count through all of
// them: record 0 is the first of the first shard, also when that one is kept elsewhere by now. A log that is not
// in shards is one, named "". What is read is not verified.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Checkpoint, parseCheckpoint } from "../core/checkpoint.ts";
import { isShardName, readOpened, splitOrigin } from "../core/log-shard.ts";
import { parseNote } from "../core/note.ts";
import { leafAt } from "./log-folder.ts";

export interface LogShard {
  /** "2027"; "" for a log that is not in shards. */
  readonly name: string;
  /** `checkpoint` and `tile/` are in it. */
  readonly directory: string;
  readonly checkpoint: Checkpoint;
  /** The signed checkpoint. */
  readonly note: string;
  /** Records in the shards before it. */
  readonly before: number;
}

/**
 * The published ones; none before anything was. `directory` is the folder of the log, or that of one of its
 * shards. Throws NoteError, CheckpointError, TileError or LeafError for files that are not a log's.
 */
export function readShards(directory: string): LogShard[] {
  const shards: LogShard[] = [];
  for (const name of shardFolders(directory)) {
    const at = join(directory, name);
    const note = readOrNone(join(at, "checkpoint"));
    if (note === undefined) continue;
    const checkpoint = parseCheckpoint(parseNote(Buffer.from(note, "utf8")).text);
    const { shard } = splitOrigin(checkpoint.origin);
    // One that lies in the folder itself is asked only where its name allows that it is a shard, given alone.
    const before = name === "" && shard === "" ? undefined : begin(at, checkpoint);
    const known = name === "" && before !== undefined ? shard : name;
    shards.push({ name: known, directory: at, checkpoint, note, before: before ?? 0 });
  }
  return shards;
}

/** Records in all of them. */
export function recordsIn(shards: readonly LogShard[]): number {
  const last = shards.at(-1);
  return last === undefined ? 0 : last.before + last.checkpoint.size;
}

/** The one with this record; undefined when none here has it. */
export function shardWith(shards: readonly LogShard[], index: number): LogShard | undefined {
  return shards.find(
    ({ before, checkpoint }) => index >= before && index < before + checkpoint.size,
  );
}

/** Names of folders of shards, whether there is anything in them or not, after "". */
export function shardFolders(directory: string): string[] {
  try {
    return ["", ...readdirSync(directory).filter(isShardName).sort()];
  } catch (error) {
    if (isAbsent(error)) return [""];
    throw error;
  }
}

/** What its first record says; undefined when it does not begin a shard. */
function begin(directory: string, { size }: Checkpoint): number | undefined {
  return size === 0 ? undefined : readOpened(leafAt(directory, size, 0))?.before;
}

function readOrNone(path: string): string | undefined {
  try {
    // A pipe or a device would be read for ever.
    return statSync(path).isFile() ? readFileSync(path, "utf8") : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ENOTDIR";
}
