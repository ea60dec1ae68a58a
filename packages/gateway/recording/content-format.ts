// How a session's content is written: the other half of evidence/node/recording-format.ts, which says
// what it looks like and reads it.

import { createCipheriv, type KeyObject } from "node:crypto";
import { RECORDING_STREAMS, type RecordingStream } from "@custody/evidence/core/recording.ts";
import {
  COUNTER_BYTES,
  DATA_HEAD_BYTES,
  nonceOf,
  TAG_BYTES,
} from "@custody/evidence/node/recording-format.ts";

export function keyPiece(wrapped: Buffer): Buffer {
  return Buffer.concat([Buffer.alloc(COUNTER_BYTES), wrapped]);
}

export function sealPiece(
  key: KeyObject,
  sessionId: string,
  counter: number,
  plain: Buffer,
): Buffer {
  const piece = Buffer.allocUnsafe(COUNTER_BYTES + plain.length + TAG_BYTES);
  piece.writeBigUInt64BE(BigInt(counter), 0);
  const cipher = createCipheriv("aes-256-gcm", key, nonceOf(piece));
  cipher.setAAD(Buffer.from(sessionId, "latin1"));
  cipher.update(plain).copy(piece, COUNTER_BYTES);
  cipher.final();
  cipher.getAuthTag().copy(piece, COUNTER_BYTES + plain.length);
  return piece;
}

/** What goes before the bytes of a stream. */
export function streamHead(channel: number, stream: RecordingStream): Buffer {
  const head = Buffer.allocUnsafe(DATA_HEAD_BYTES);
  head.writeUInt32BE(channel, 0);
  head.writeUInt8(RECORDING_STREAMS.indexOf(stream), 4);
  return head;
}

/** Length and SHA-256, with the stream they are of where it is not the response. */
export function digestPayload(length: number, digest: Buffer, after?: Buffer): Buffer {
  const head = Buffer.allocUnsafe(8);
  head.writeBigUInt64BE(BigInt(length), 0);
  return Buffer.concat(after === undefined ? [head, digest] : [head, digest, after]);
}
