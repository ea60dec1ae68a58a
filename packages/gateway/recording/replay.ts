// Reads a session's recording, live ones too: first `recordings/<session>.rec`, then what is still in the
// journal only. The sequencer may move content from one to the other meanwhile; pieces are numbered, so
// a gap means that the file has it by now.
//
// A piece that was altered, lost or put elsewhere is an error (GatewayError "invalid") that names it: a
// replay never passes over one. That the recording is whole is proved against the log: commands by their
// leaves' digests, the rest by the digest in `session.closed` (recorder.ts, RecordingSummary).

import { open, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { RecordingEvent } from "@custody/evidence/core/recording.ts";
import {
  COUNTER_BYTES,
  isSessionId,
  pieceCounter,
  readPieces,
  recordingsDirectory,
} from "../audit/content-store.ts";
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
import { chainDigest, createFrameReader, damaged, openPiece, toEvent } from "./content-format.ts";
import { commandDigest, parametersDigest } from "./digest.ts";
import type { RecordingSummary } from "./recorder.ts";
import type { RecordingKeys } from "./recording-keys.ts";

export interface ReplayDeps {
  readonly dataDirectory: string;
  readonly keys: RecordingKeys;
}

/** What the log says of the session; what is given is verified. */
export interface ReplayProof {
  /** By request id: `command` and `parameters` of its `command.intent` leaf. */
  readonly commands?: ReadonlyMap<
    string,
    { readonly command?: string; readonly parameters?: string }
  >;
  /** Of the `session.closed` leaf. */
  readonly summary?: RecordingSummary;
}

/**
 * The events so far, in order. Throws GatewayError: "not_found" when there is no recording, or it was
 * erased; "invalid" when a piece or digest does not verify.
 */
export async function* readRecording(
  deps: ReplayDeps,
  sessionId: string,
  proof: ReplayProof = {},
): AsyncGenerator<RecordingEvent> {
  const stored = await collect(deps.dataDirectory, sessionId);
  const key = deps.keys.unwrap(sessionId, stored.wrappedKey);
  const readFrames = createFrameReader(sessionId);
  let digest: Buffer = Buffer.alloc(32);
  for (const piece of stored.pieces) {
    digest = chainDigest(digest, piece);
    for (const frame of readFrames(openPiece(key, sessionId, piece))) {
      const event = toEvent(sessionId, frame);
      verifyCommand(sessionId, event, proof);
      yield event;
    }
  }
  const { summary } = proof;
  if (summary === undefined) return;
  if (summary.pieces !== stored.pieces.length || summary.digest !== digest.toString("hex")) {
    throw damaged(sessionId, "it is not the one whose digest is in the log");
  }
}

/** Deletes the session's key, which erases the content for good. For sessions that have ended. */
export async function eraseRecording(dataDirectory: string, sessionId: string): Promise<void> {
  if (!isSessionId(sessionId)) throw notFound(sessionId);
  const directory = recordingsDirectory(dataDirectory);
  const marker = await open(join(directory, `${sessionId}.erased`), "w", 0o600);
  await marker.sync();
  await marker.close();
  await rm(join(directory, `${sessionId}.key`), { force: true });
  syncDirectory(directory);
}

function verifyCommand(sessionId: string, event: RecordingEvent, proof: ReplayProof): void {
  const digests = digestsOf(event);
  if (digests === undefined) return;
  const expected = proof.commands?.get(digests.request);
  if (expected === undefined) return;
  const { command, parameters } = expected;
  const isSame =
    (command === undefined || command === digests.command) &&
    (parameters === undefined || parameters === digests.parameters);
  if (!isSame) throw damaged(sessionId, `the command ${digests.request} is not the one in the log`);
}

/** As a `command.intent` leaf has them. */
function digestsOf(
  event: RecordingEvent,
): { request: string; command: string; parameters: string } | undefined {
  const { kind } = event;
  if (kind === "command-digest") {
    const { request, sha256, parameters = parametersDigest([]) } = event;
    return { request, command: sha256, parameters };
  }
  if (kind !== "command") return undefined;
  const values = event.parameters?.map((value) =>
    value === null ? null : Buffer.from(value, "base64"),
  );
  const command = commandDigest(Buffer.from(event.bytes, "base64"));
  return { request: event.request, command, parameters: parametersDigest(values ?? []) };
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
    throw damaged(sessionId, `piece ${gap + 1} is missing`);
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
