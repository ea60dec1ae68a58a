// Proofs of single records out of a copy of the log: C2SP tlog-proof, with the record itself as extra data.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Checkpoint, parseCheckpoint } from "../core/checkpoint.ts";
import { TILE_WIDTH } from "../core/merkle.ts";
import { parseNote } from "../core/note.ts";
import { inclusionProof } from "../core/proof.ts";
import type { TlogProof } from "../core/tlog-proof.ts";
import { folderEntries, folderHashes } from "./log-folder.ts";

export class NoProofError extends Error {
  override readonly name = "NoProofError";
}

export interface LogRecord {
  readonly index: number;
  readonly entry: Uint8Array;
}

/** Every record of the published log, in order; not verified. */
export function* logRecords(directory: string): Generator<LogRecord> {
  const { size } = headIn(directory, "checkpoint").checkpoint;
  for (let bundle = 0; bundle * TILE_WIDTH < size; bundle++) {
    const entries = folderEntries(directory, size, bundle);
    for (const [at, entry] of entries.entries()) yield { index: bundle * TILE_WIDTH + at, entry };
  }
}

/** Against the cosigned head where that has the record, else the published one. */
export function proveRecord(directory: string, { index, entry }: LogRecord): TlogProof {
  const { note, checkpoint } = headWith(directory, index);
  const path = inclusionProof(folderHashes(directory, checkpoint.size), index, checkpoint.size);
  return { extra: entry, index, path, checkpoint: note };
}

interface Head {
  readonly note: string;
  readonly checkpoint: Checkpoint;
}

function headWith(directory: string, index: number): Head {
  try {
    const cosigned = headIn(directory, "cosigned");
    if (cosigned.checkpoint.size > index) return cosigned;
  } catch (error) {
    if (!(error instanceof NoProofError)) throw error;
  }
  const published = headIn(directory, "checkpoint");
  if (index < published.checkpoint.size) return published;
  throw new NoProofError(`there is no record ${index} in the log`);
}

function headIn(directory: string, name: string): Head {
  let note: string;
  try {
    note = readFileSync(join(directory, name), "utf8");
  } catch (cause) {
    throw new NoProofError(`${join(directory, name)} cannot be read`, { cause });
  }
  return { note, checkpoint: parseCheckpoint(parseNote(Buffer.from(note, "utf8")).text) };
}
