// A session's content as it lies in the journal and in `recordings/<session>.rec`, and how it is read.
// The gateway writes it; whoever has the session's key reads it, here or offline.
//
// A sealed piece is: counter u64, AES-256-GCM ciphertext, tag 16. The nonce is the counter (4 zero
// bytes, 8 bytes) under a key of the session alone, so it never repeats; the additional data is the
// session's id. Piece 0 is not sealed but the session's wrapped key. The counter's top bit says that what is
// sealed is a zstd frame (RFC 8878) of the plaintext; it is in the nonce, so nobody can change it.
//
// The plaintext of the pieces, one after the other, is a row of frames: kind u8 (top bit: goes on in the
// next frame), milliseconds since the start u32, length of the request id u8, the id, length u32,
// payload. Numbers are big-endian. No frame crosses a piece.
//
// The file: "CSTREC01", then for each piece its length u32 and the piece.

import { createDecipheriv, hash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import {
  RECORDING_STREAMS,
  type RecordingEvent,
  type RecordingStream,
  TYPED_KINDS,
  type TypedEvent,
} from "../core/recording.ts";

export class RecordingError extends Error {
  override readonly name = "RecordingError";
}

export const RECORDING_MAGIC: Buffer = Buffer.from("CSTREC01", "latin1");
export const COUNTER_BYTES = 8;
export const TAG_BYTES = 16;
/** Of the counter's first byte. */
export const COMPRESSED = 0x80;
/** Of one piece's plaintext; the recorder's are 64 KiB at most. */
const MAX_PLAIN_BYTES = 1 << 20;

/** Of one event over several pieces: a message may be a gibibyte long. */
const MAX_EVENT_BYTES = (1 << 30) + (1 << 20);

export const FRAME_START = 1;
export const FRAME_COMMAND = 2;
export const FRAME_RESPONSE = 3;
export const FRAME_TRUNCATED = 4;
export const FRAME_EVENT = 5;
export const FRAME_END = 6;
/** Payload: channel u32, number of the stream u8, bytes. */
export const FRAME_DATA = 7;
/** Payload: a typed event as JSON. */
export const FRAME_TYPED = 8;
/** Payload: length u64, SHA-256, and of the parameters the SHA-256 where there are any. */
export const FRAME_COMMAND_DIGEST = 9;
export const FRAME_GOES_ON = 0x80;

export const DATA_HEAD_BYTES = 5;
const DIGEST_BYTES = 32;

/** -1 when it is too short to have one. */
export function pieceCounter(piece: Buffer): number {
  if (piece.length < COUNTER_BYTES) return -1;
  return (piece.readUInt32BE(0) & 0x7fff_ffff) * 0x1_0000_0000 + piece.readUInt32BE(4);
}

/** The whole pieces of a file, and where they end. */
export function readPieces(file: Buffer): { pieces: Buffer[]; end: number } {
  const pieces: Buffer[] = [];
  let at = RECORDING_MAGIC.length;
  if (!file.subarray(0, at).equals(RECORDING_MAGIC)) return { pieces, end: 0 };
  while (at + 4 <= file.length) {
    const end = at + 4 + file.readUInt32BE(at);
    if (end > file.length) break;
    pieces.push(file.subarray(at + 4, end));
    at = end;
  }
  return { pieces, end: at };
}

/** One piece as it stands in a file. */
export function framePiece(piece: Buffer): Buffer[] {
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32BE(piece.length, 0);
  return [length, piece];
}

/** `digest` of a recording: SHA-256 over the one before it and the piece; 32 zero bytes at first. */
export function chainDigest(before: Buffer, piece: Buffer): Buffer {
  return hash("sha256", Buffer.concat([before, piece]), "buffer");
}

/** Throws RecordingError. */
export function openPiece(key: Buffer, sessionId: string, piece: Buffer): Buffer {
  const counter = pieceCounter(piece);
  const decipher = createDecipheriv("aes-256-gcm", key, nonceOf(piece), {
    // Else a piece cut short would be opened by a shorter tag, which can be guessed.
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(Buffer.from(sessionId, "latin1"));
  try {
    decipher.setAuthTag(piece.subarray(-TAG_BYTES));
    const plain = Buffer.concat([
      decipher.update(piece.subarray(COUNTER_BYTES, -TAG_BYTES)),
      decipher.final(),
    ]);
    const isCompressed = (piece.readUInt8(0) & COMPRESSED) !== 0;
    return isCompressed ? zstdDecompressSync(plain, { maxOutputLength: MAX_PLAIN_BYTES }) : plain;
  } catch (cause) {
    throw damaged(sessionId, `piece ${counter} was altered`, cause);
  }
}

export interface Frame {
  readonly kind: number;
  readonly t: number;
  readonly request: string;
  readonly payload: Buffer;
}

/** Milliseconds since the start of the first frame of an opened piece, which may go on from another. */
export function beginOf(plain: Buffer): number {
  return plain.length < 5 ? 0 : plain.readUInt32BE(1);
}

/** When the screens of an opened piece were kept; and whether its last frame goes on in the next piece. */
export function screensOf(plain: Buffer): { readonly times: number[]; readonly goesOn: boolean } {
  const times: number[] = [];
  let goesOn = false;
  for (let at = 0; at + 10 <= plain.length; ) {
    const idEnd = at + 6 + plain.readUInt8(at + 5);
    if (idEnd + 4 > plain.length) break;
    const kind = plain.readUInt8(at);
    const begin = plain.subarray(idEnd + 4, idEnd + 4 + SCREEN.length);
    if ((kind & ~FRAME_GOES_ON) === FRAME_TYPED && begin.equals(SCREEN))
      times.push(plain.readUInt32BE(at + 1));
    goesOn = (kind & FRAME_GOES_ON) !== 0;
    at = idEnd + 4 + plain.readUInt32BE(idEnd);
  }
  return { times, goesOn };
}

/** How the recorder writes one; nothing inside a string of JSON can look so. */
const SCREEN = Buffer.from('{"kind":"screen"', "latin1");

/** Joins frames that go on; keeps what is not complete for the next call. */
export function createFrameReader(sessionId: string): (plain: Buffer) => Frame[] {
  let parts: Buffer[] = [];
  let length = 0;
  return (plain) => {
    const frames: Frame[] = [];
    let at = 0;
    while (at < plain.length) {
      if (at + 10 > plain.length) throw damaged(sessionId, "a frame is cut off");
      const kind = plain.readUInt8(at);
      const t = plain.readUInt32BE(at + 1);
      const idEnd = at + 6 + plain.readUInt8(at + 5);
      if (idEnd + 4 > plain.length) throw damaged(sessionId, "a frame is cut off");
      const request = plain.toString("latin1", at + 6, idEnd);
      const end = idEnd + 4 + plain.readUInt32BE(idEnd);
      if (end > plain.length) throw damaged(sessionId, "a frame is cut off");
      parts.push(plain.subarray(idEnd + 4, end));
      length += end - idEnd - 4;
      if (length > MAX_EVENT_BYTES) throw damaged(sessionId, "an event is endless");
      at = end;
      if ((kind & FRAME_GOES_ON) !== 0) continue;
      frames.push({
        kind,
        t,
        request,
        payload: parts.length === 1 ? parts[0]! : Buffer.concat(parts),
      });
      parts = [];
      length = 0;
    }
    return frames;
  };
}

export function toEvent(sessionId: string, frame: Frame): RecordingEvent {
  const { t, request, payload } = frame;
  switch (frame.kind) {
    case FRAME_START:
      return { t, kind: "start", data: parseJson(sessionId, payload) };
    case FRAME_COMMAND:
      return { t, kind: "command", request, ...parseCommand(sessionId, payload) };
    case FRAME_RESPONSE:
      return { t, kind: "response", request, bytes: payload.toString("base64") };
    case FRAME_TRUNCATED:
      return { t, kind: "truncated", request, ...parseTruncated(sessionId, payload) };
    case FRAME_COMMAND_DIGEST:
      return { t, kind: "command-digest", request, ...parseDigest(sessionId, payload) };
    case FRAME_DATA:
      return {
        t,
        kind: "data",
        request,
        ...streamAt(sessionId, payload, 0),
        bytes: payload.toString("base64", DATA_HEAD_BYTES),
      };
    case FRAME_TYPED: {
      const typed = parseJson(sessionId, payload) as unknown as TypedEvent;
      if (!TYPED_KINDS.includes(typed.kind)) throw damaged(sessionId, "an event is malformed");
      return { t, ...typed };
    }
    case FRAME_EVENT: {
      const { type, data } = parseJson(sessionId, payload) as {
        type: string;
        data: Record<string, unknown>;
      };
      return { t, kind: "event", ...(request === "" ? {} : { request }), type, data };
    }
    case FRAME_END:
      return { t, kind: "end" };
    default:
      throw damaged(sessionId, `a frame of unknown kind ${frame.kind}`);
  }
}

function parseTruncated(sessionId: string, payload: Buffer) {
  const { length, sha256 } = lengthAndDigest(sessionId, payload);
  const rest = payload.length - 8 - DIGEST_BYTES;
  if (rest === 0) return { length, sha256 };
  return { ...streamAt(sessionId, payload, 8 + DIGEST_BYTES), length, sha256 };
}

function parseDigest(sessionId: string, payload: Buffer) {
  const about = lengthAndDigest(sessionId, payload);
  if (payload.length === 8 + DIGEST_BYTES) return about;
  return { ...about, parameters: payload.toString("base64url", 8 + DIGEST_BYTES) };
}

function lengthAndDigest(sessionId: string, payload: Buffer): { length: number; sha256: string } {
  if (payload.length < 8 + DIGEST_BYTES) throw damaged(sessionId, "a digest is cut off");
  return {
    length: Number(payload.readBigUInt64BE(0)),
    sha256: payload.toString("base64url", 8, 8 + DIGEST_BYTES),
  };
}

function streamAt(
  sessionId: string,
  payload: Buffer,
  at: number,
): { channel: number; stream: RecordingStream } {
  if (payload.length < at + DATA_HEAD_BYTES) throw damaged(sessionId, "a stream is malformed");
  const stream = RECORDING_STREAMS[payload.readUInt8(at + 4)];
  if (stream === undefined) throw damaged(sessionId, "a stream of unknown kind");
  return { channel: payload.readUInt32BE(at), stream };
}

function parseCommand(
  sessionId: string,
  payload: Buffer,
): { bytes: string; parameters?: (string | null)[] } {
  try {
    const textEnd = 4 + payload.readUInt32BE(0);
    const bytes = payload.toString("base64", 4, textEnd);
    if (textEnd === payload.length) return { bytes };
    const parameters: (string | null)[] = [];
    let at = textEnd + 4;
    for (let left = payload.readInt32BE(textEnd); left > 0; left--) {
      const length = payload.readInt32BE(at);
      at += 4;
      parameters.push(length < 0 ? null : payload.toString("base64", at, at + length));
      at += Math.max(0, length);
    }
    if (at !== payload.length) throw new RangeError("length");
    return { bytes, parameters };
  } catch (cause) {
    throw damaged(sessionId, "a command is malformed", cause);
  }
}

function parseJson(sessionId: string, payload: Buffer): Record<string, unknown> {
  try {
    return JSON.parse(payload.toString("utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw damaged(sessionId, "an event is malformed", cause);
  }
}

function damaged(sessionId: string, what: string, cause?: unknown): RecordingError {
  return new RecordingError(`recording of ${sessionId}: ${what}`, { cause });
}

export function nonceOf(piece: Buffer): Buffer {
  const nonce = Buffer.alloc(12);
  piece.copy(nonce, 4, 0, COUNTER_BYTES);
  return nonce;
}
