// `<data>/journal/head.json`: the sequencer's own word on how far it is. It holds the newest signed
// checkpoint, the one before, and for each worker the place in its journal up to which all leaves are in
// that tree and all content is in recordings. Written after the tiles and before the checkpoint is
// published, so one rename decides; at a start the published log has to agree with it. This file is
// trusted, the log's directory is not.

import { join } from "node:path";
import { type Checkpoint, parseCheckpoint } from "@custody/evidence/core/checkpoint.ts";
import { parseNote } from "@custody/evidence/core/note.ts";
import { GatewayError } from "../base/errors.ts";
import { journalDirectory } from "./journal-files.ts";
import { SEGMENT_HEADER_BYTES } from "./journal-format.ts";
import type { LogFiles } from "./log-files.ts";
import type { LogKey } from "./log-key.ts";

/** A place in a worker's journal: everything before it is done. */
export interface Cursor {
  readonly segment: number;
  readonly offset: number;
  /** Hex; the journal's chain at this place; "" at the begin of a segment, whose header says it. */
  readonly chain: string;
  /** Of the last leaf before it. */
  readonly seq: number;
}

export interface Head {
  /** Signed notes; "" for none. */
  readonly checkpoint: string;
  readonly previous: string;
  readonly cursors: ReadonlyMap<number, Cursor>;
}

export const EMPTY_HEAD: Head = { checkpoint: "", previous: "", cursors: new Map() };
export const FIRST_CURSOR: Cursor = {
  segment: 1,
  offset: SEGMENT_HEADER_BYTES,
  chain: "",
  seq: 0,
};

function headPath(dataDirectory: string): string {
  return join(journalDirectory(dataDirectory), "head.json");
}

export function writeHead(files: LogFiles, dataDirectory: string, head: Head): void {
  const { checkpoint, previous, cursors } = head;
  const text = JSON.stringify({ v: 1, checkpoint, previous, cursors: Object.fromEntries(cursors) });
  files.replace(headPath(dataDirectory), Buffer.from(`${text}\n`, "utf8"));
}

/** EMPTY_HEAD at the very first start. Throws GatewayError "evidence_unavailable" when unreadable. */
export function readHead(files: LogFiles, dataDirectory: string): Head {
  const bytes = files.read(headPath(dataDirectory));
  if (bytes === undefined) return EMPTY_HEAD;
  try {
    const value = JSON.parse(bytes.toString("utf8")) as Record<string, unknown>;
    const { v, checkpoint, previous, cursors } = value;
    if (v !== 1 || typeof checkpoint !== "string" || typeof previous !== "string") {
      throw new TypeError("version or checkpoints");
    }
    const parsed = new Map<number, Cursor>();
    for (const [worker, cursor] of Object.entries(cursors as Record<string, Cursor>)) {
      const { segment, offset, chain, seq } = cursor;
      const isValid =
        [segment, offset, seq].every(Number.isSafeInteger) && /^([0-9a-f]{64})?$/.test(chain);
      if (!isValid) throw new TypeError("cursor");
      parsed.set(Number(worker), { segment, offset, chain, seq });
    }
    return { checkpoint, previous, cursors: parsed };
  } catch (cause) {
    throw refusal("journal/head.json cannot be read", cause);
  }
}

export function ownCheckpoint(key: LogKey, note: string): Checkpoint | undefined {
  if (note === "") return undefined;
  const { text } = parseNote(Buffer.from(note, "utf8"));
  const checkpoint = parseCheckpoint(text);
  if (checkpoint.origin !== key.origin || !key.isOwn(note)) {
    throw refusal("a checkpoint is not signed with the log's key");
  }
  return checkpoint;
}

/** Somebody outside has a head of this log that is not the begin, or the whole, of what is here. */
export function aheadOfUs(
  who: string,
  theirs: number | undefined,
  ours: number | undefined,
): GatewayError {
  if (theirs === undefined) return refusal(`${who} has a head of this log that is not this log's`);
  return refusal(`${who} has seen ${theirs} of its records, here are ${ours}`);
}

/** Why the log is not gone on with. */
export function refusal(what: string, cause?: unknown): GatewayError {
  return new GatewayError("evidence_unavailable", `the log is not gone on with: ${what}`, {
    hint: "Keep a copy of the data directory and find out what changed it; a restored backup forks the log. The ways on are in docs/guides/auditing.md, 'When the log is not gone on with'.",
    cause,
  });
}
