// Proofs of single records out of a copy of the log: C2SP tlog-proof, with the record itself as extra data.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseCheckpoint } from "../core/checkpoint.ts";
import { TILE_WIDTH } from "../core/merkle.ts";
import { parseNote } from "../core/note.ts";
import { inclusionProof } from "../core/proof.ts";
import type { TlogProof } from "../core/tlog-proof.ts";
import { folderEntries, folderHashes } from "./log-folder.ts";
import { type LogShard, readShards } from "./log-shards.ts";

export class NoProofError extends Error {
  override readonly name = "NoProofError";
}

export interface LogRecord {
  readonly shard: LogShard;
  /** In its shard. */
  readonly index: number;
  readonly entry: Uint8Array;
}

/** Every record of the published log, shard by shard, in order; not verified. */
export function* logRecords(directory: string): Generator<LogRecord> {
  const shards = readShards(directory);
  if (shards.length === 0) throw new NoProofError(`${directory} has no log`);
  for (const shard of shards) {
    const { size } = shard.checkpoint;
    for (let bundle = 0; bundle * TILE_WIDTH < size; bundle++) {
      const entries = folderEntries(shard.directory, size, bundle);
      for (const [at, entry] of entries.entries())
        yield { shard, index: bundle * TILE_WIDTH + at, entry };
    }
  }
}

/** Against its shard's cosigned head where that has the record, else the published one. */
export function proveRecord({ shard, index, entry }: LogRecord): TlogProof {
  const { note, checkpoint } = headWith(shard, index);
  const hashes = folderHashes(shard.directory, checkpoint.size);
  const path = inclusionProof(hashes, index, checkpoint.size);
  return { extra: entry, index, path, checkpoint: note };
}

/** The head that a record of this shard is proved against. */
export function headWith(
  { directory, note, checkpoint }: LogShard,
  index: number,
): Pick<LogShard, "note" | "checkpoint"> {
  const cosigned = readCosigned(directory);
  if (cosigned !== undefined && cosigned.checkpoint.size > index) return cosigned;
  if (index < checkpoint.size) return { note, checkpoint };
  throw new NoProofError(`there is no record ${index} in the log`);
}

function readCosigned(directory: string): Pick<LogShard, "note" | "checkpoint"> | undefined {
  try {
    const note = readFileSync(join(directory, "cosigned"), "utf8");
    return { note, checkpoint: parseCheckpoint(parseNote(Buffer.from(note, "utf8")).text) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
