// Reads a session's recording, live ones too: first `recordings/<session>.rec`, then what is still in the
// journal only. The sequencer may move content from one to the other meanwhile; pieces are numbered, so
// a gap means that the file has it by now.
//
// A piece that was altered, lost or put elsewhere is an error (GatewayError "invalid") that names it: a
// replay never passes over one.

import { mkdir, open, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { RecordingEvent } from "@custody/evidence/core/recording.ts";
import {
  COUNTER_BYTES,
  pieceCounter,
  RecordingError,
  readPieces,
} from "@custody/evidence/node/recording-format.ts";
import { type RecordingProof, readEvents } from "@custody/evidence/node/recording-reader.ts";
import { isSessionId, recordingsDirectory } from "../audit/content-store.ts";
import { journalDirectory, syncDirectory } from "../audit/journal-files.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  parseContent,
  parseSegmentName,
  RECORD_CONTENT,
  readBatch,
  SEGMENT_HEADER_BYTES,
  sha256,
} from "../audit/journal-format.ts";
import { GatewayError } from "../base/errors.ts";
import type { RecordingKeys } from "./recording-keys.ts";

export interface ReplayDeps {
  readonly dataDirectory: string;
  readonly keys: RecordingKeys;
}

/**
 * The events so far, in order. Throws GatewayError: "not_found" when there is no recording, or it was
 * erased; "invalid" when a piece or digest does not verify.
 */
export async function* readRecording(
  deps: ReplayDeps,
  sessionId: string,
  proof: RecordingProof = {},
): AsyncGenerator<RecordingEvent> {
  const { key, pieces } = await openRecording(deps, sessionId);
  try {
    yield* readEvents(sessionId, key, pieces, proof);
  } catch (thrown) {
    if (!(thrown instanceof RecordingError)) throw thrown;
    throw new GatewayError("invalid", thrown.message, { cause: thrown.cause });
  }
}

/**
 * The sealed pieces, 1, 2, … without a gap, and the key that opens them: for an export that is to be
 * verified elsewhere. Throws GatewayError: "not_found", "invalid".
 */
export async function openRecording(
  deps: ReplayDeps,
  sessionId: string,
): Promise<{ readonly key: Buffer; readonly pieces: readonly Buffer[] }> {
  const stored = await collect(deps.dataDirectory, sessionId);
  return { key: deps.keys.unwrap(sessionId, stored.wrappedKey), pieces: stored.pieces };
}

/** Deletes the session's key, which erases the content for good. For sessions that have ended. */
export async function eraseRecording(dataDirectory: string, sessionId: string): Promise<void> {
  if (!isSessionId(sessionId)) throw notFound(sessionId);
  const directory = recordingsDirectory(dataDirectory);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const marker = await open(join(directory, `${sessionId}.erased`), "w", 0o600);
  await marker.sync();
  await marker.close();
  await rm(join(directory, `${sessionId}.key`), { force: true });
  syncDirectory(directory);
}

interface Stored {
  readonly wrappedKey: Buffer;
  /** Counters 1, 2, … without a gap. */
  readonly pieces: readonly Buffer[];
}

const ATTEMPTS = 5;

async function collect(dataDirectory: string, sessionId: string): Promise<Stored> {
  if (!isSessionId(sessionId)) throw notFound(sessionId);
  const base = join(recordingsDirectory(dataDirectory), sessionId);
  for (let attempt = 1; ; attempt++) {
    if ((await orNone(readFile(`${base}.erased`))) !== undefined) {
      throw new GatewayError("not_found", `the recording of ${sessionId} was erased`);
    }
    // The journal before the file: what leaves the journal in between is in the file already.
    const fresh = await readJournalContent(dataDirectory, sessionId);
    const file = await orNone(readFile(`${base}.rec`));
    const wrappedKey = (await orNone(readFile(`${base}.key`))) ?? fresh.wrappedKey;
    const pieces = file === undefined ? [] : readPieces(file).pieces;
    for (const piece of fresh.pieces)
      if (pieceCounter(piece) > lastCounter(pieces)) pieces.push(piece);
    const gap = pieces.findIndex((piece, at) => pieceCounter(piece) !== at + 1);
    if (wrappedKey !== undefined && gap < 0) return { wrappedKey, pieces };
    if (attempt < ATTEMPTS) continue;
    if (wrappedKey === undefined) throw notFound(sessionId);
    throw new GatewayError("invalid", `recording of ${sessionId}: piece ${gap + 1} is missing`);
  }
}

function lastCounter(pieces: readonly Buffer[]): number {
  const last = pieces.at(-1);
  return last === undefined ? 0 : pieceCounter(last);
}

async function readJournalContent(
  dataDirectory: string,
  sessionId: string,
): Promise<{ wrappedKey: Buffer | undefined; pieces: Buffer[] }> {
  const directory = journalDirectory(dataDirectory);
  const names = ((await orNone(readdir(directory))) ?? []).filter(parseSegmentName).sort();
  const pieces: Buffer[] = [];
  let wrappedKey: Buffer | undefined;
  for (const name of names) {
    const segment = await orNone(readFile(join(directory, name)));
    if (segment === undefined) continue;
    for (const { sessionId: other, sealed } of contentOf(segment)) {
      if (other !== sessionId) continue;
      if (pieceCounter(sealed) === 0) wrappedKey = Buffer.from(sealed.subarray(COUNTER_BYTES));
      else pieces.push(Buffer.from(sealed));
    }
  }
  return { wrappedKey, pieces };
}

/** As far as the segment verifies: a batch may be being written. */
function* contentOf(segment: Buffer): Generator<{ sessionId: string; sealed: Buffer }> {
  const header = decodeSegmentHeader(segment);
  if (typeof header === "string") return;
  let chain = sha256(encodeSegmentHeader(header));
  let offset = SEGMENT_HEADER_BYTES;
  for (;;) {
    const result = readBatch(segment, offset, chain);
    if (result.kind !== "batch") return;
    for (const record of result.batch.records) {
      const content = record.type === RECORD_CONTENT ? parseContent(record.payload) : undefined;
      if (content !== undefined) yield content;
    }
    chain = result.batch.chain;
    offset = result.batch.end;
  }
}

async function orNone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function notFound(sessionId: string): GatewayError {
  return new GatewayError("not_found", `there is no recording of ${sessionId.slice(0, 80)}`);
}
