// Reads a session's recording, live ones too: first `recordings/<session>.rec`, then what is still in the
// journal only. The sequencer may move content from one to the other meanwhile; pieces are numbered, so
// a gap means that the file has it by now.
//
// A piece that was altered, lost or put elsewhere is an error (GatewayError "invalid") that names it: a
// replay never passes over one.

import { mkdir, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import type { RecordingEvent } from "@custody/evidence/core/recording.ts";
import {
  beginOf,
  COUNTER_BYTES,
  openPiece,
  pieceCounter,
  RecordingError,
  screensOf,
} from "@custody/evidence/node/recording-format.ts";
import { type RecordingProof, readEvents } from "@custody/evidence/node/recording-reader.ts";
import { isSessionId, recordingsDirectory } from "../audit/content-store.ts";
import { syncDirectory } from "../audit/journal-files.ts";
import { GatewayError } from "../base/errors.ts";
import { journalContent } from "./journal-content.ts";
import { openPieceFile } from "./piece-file.ts";
import type { RecordingKeys } from "./recording-keys.ts";

export interface ReplayDeps {
  readonly dataDirectory: string;
  readonly keys: RecordingKeys;
}

/**
 * The events so far, in order. Throws GatewayError: "not_found" when there is no recording, or it was
 * erased; "invalid" when a piece or digest does not verify. From `fromMs` of the session on, commands are held
 * against their digests, and the whole is not: its beginning is not read. `withScreen`: from the last screen
 * before that time on, or from the beginning when there is none.
 */
export async function* readRecording(
  deps: ReplayDeps,
  sessionId: string,
  proof: RecordingProof = {},
  fromMs = 0,
  withScreen = false,
): AsyncGenerator<RecordingEvent> {
  using stored = await openStored(deps.dataDirectory, sessionId);
  const key = deps.keys.unwrap(sessionId, stored.wrappedKey);
  try {
    const at = fromMs <= 0 ? undefined : pieceBefore(stored, sessionId, key, fromMs);
    const from =
      withScreen && at !== undefined ? await screenBefore(stored, sessionId, key, at) : at;
    let read = 0;
    const pieces = function* () {
      for (const piece of allFrom(stored, from?.piece ?? 1)) {
        read += 1;
        yield piece;
      }
    };
    for (const event of readEvents(sessionId, key, pieces(), proof, from)) {
      yield event;
      // Whoever takes the events may be as quick as this: nothing of it waits for a file or a socket.
      if (read < PIECES_A_TURN) continue;
      read = 0;
      await turn();
    }
  } catch (thrown) {
    if (!(thrown instanceof RecordingError)) throw thrown;
    throw new GatewayError("invalid", thrown.message, { cause: thrown.cause });
  }
}

/** For an export that is to be verified elsewhere. */
export interface OpenedRecording extends Disposable {
  readonly key: Buffer;
  /** Sealed, as far as they went when it was opened. Throws GatewayError "invalid" where one is missing. */
  pieces(): AsyncIterable<Buffer>;
}

/** Throws GatewayError: "not_found", "invalid". */
export async function openRecording(deps: ReplayDeps, sessionId: string): Promise<OpenedRecording> {
  const stored = await openStored(deps.dataDirectory, sessionId);
  try {
    const key = deps.keys.unwrap(sessionId, stored.wrappedKey);
    return {
      key,
      pieces: () => sealedPieces(stored, sessionId),
      [Symbol.dispose]: () => stored[Symbol.dispose](),
    };
  } catch (thrown) {
    stored[Symbol.dispose]();
    throw thrown;
  }
}

async function* sealedPieces(stored: Stored, sessionId: string): AsyncGenerator<Buffer> {
  for (let number = 1; number <= stored.count; number++) {
    const piece = stored.piece(number);
    if (pieceCounter(piece) !== number) throw missing(sessionId, number);
    yield piece;
    if (number % PIECES_A_TURN === 0) await turn();
  }
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

interface Stored extends Disposable {
  readonly wrappedKey: Buffer;
  readonly count: number;
  /** From 1, without a gap; its counter is to be looked at. */
  piece(number: number): Buffer;
}

const ATTEMPTS = 5;
/** So many, of 64 KiB, are opened before others of this process have their turn. */
const PIECES_A_TURN = 8;

async function openStored(dataDirectory: string, sessionId: string): Promise<Stored> {
  if (!isSessionId(sessionId)) throw notFound(sessionId);
  const base = join(recordingsDirectory(dataDirectory), sessionId);
  for (let attempt = 1; ; attempt++) {
    if ((await orNone(readFile(`${base}.erased`))) !== undefined) {
      throw new GatewayError("not_found", `the recording of ${sessionId} was erased`);
    }
    // The journal before the file: what leaves the journal in between is in the file already.
    const fresh = await readJournalContent(dataDirectory, sessionId);
    const file = await openPieceFile(`${base}.rec`, sessionId);
    const wrappedKey = (await orNone(readFile(`${base}.key`))) ?? fresh.wrappedKey;
    const inFile = file?.count ?? 0;
    const later = fresh.pieces.filter((piece) => pieceCounter(piece) > inFile);
    const gap = later.findIndex((piece, at) => pieceCounter(piece) !== inFile + at + 1);
    if (wrappedKey !== undefined && gap < 0) {
      return {
        wrappedKey,
        count: inFile + later.length,
        piece: (number) => later[number - inFile - 1] ?? file!.piece(number),
        [Symbol.dispose]: () => file?.[Symbol.dispose](),
      };
    }
    file?.[Symbol.dispose]();
    if (attempt < ATTEMPTS) continue;
    if (wrappedKey === undefined) throw notFound(sessionId);
    throw missing(sessionId, inFile + gap + 1);
  }
}

function* allFrom(stored: Stored, first: number): Generator<Buffer> {
  for (let number = first; number <= stored.count; number++) yield stored.piece(number);
}

/**
 * The piece before the first that begins at or after this time: what begins in it then is whole, and what
 * goes on in it from earlier ones is too early to be asked for.
 */
function pieceBefore(
  stored: Stored,
  sessionId: string,
  key: Buffer,
  fromMs: number,
): { readonly piece: number; readonly t: number } {
  let low = 1;
  let high = stored.count + 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (beginOf(openPiece(key, sessionId, stored.piece(middle))) >= fromMs) high = middle;
    else low = middle + 1;
  }
  return { piece: Math.max(1, low - 1), t: fromMs };
}

/** The last screen that began before the time; undefined: everything is needed. */
async function screenBefore(
  stored: Stored,
  sessionId: string,
  key: Buffer,
  at: { readonly piece: number; readonly t: number },
): Promise<{ readonly piece: number; readonly t: number } | undefined> {
  let t: number | undefined;
  for (let piece = Math.min(at.piece + 1, stored.count); piece >= 1; piece--) {
    if (piece % PIECES_A_TURN === 0) await turn();
    const { times, goesOn } = screensOf(openPiece(key, sessionId, stored.piece(piece)));
    // What goes on in the piece that was found begins here, and may be of the same time.
    if (t !== undefined && !goesOn) return { piece: piece + 1, t };
    t ??= times.findLast((time) => time <= at.t);
  }
  return t === undefined ? undefined : { piece: 1, t };
}

function missing(sessionId: string, number: number): GatewayError {
  return new GatewayError("invalid", `recording of ${sessionId}: piece ${number} is missing`);
}

async function readJournalContent(
  dataDirectory: string,
  sessionId: string,
): Promise<{ wrappedKey: Buffer | undefined; pieces: Buffer[] }> {
  const pieces: Buffer[] = [];
  let wrappedKey: Buffer | undefined;
  for await (const { sessionId: other, sealed } of journalContent(dataDirectory)) {
    if (other !== sessionId) continue;
    if (pieceCounter(sealed) === 0) wrappedKey = Buffer.from(sealed.subarray(COUNTER_BYTES));
    else pieces.push(Buffer.from(sealed));
  }
  return { wrappedKey, pieces };
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
