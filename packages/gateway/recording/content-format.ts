// How a session's content is written: the other half of evidence/node/recording-format.ts, which says
// what it looks like and reads it.

import { createCipheriv, hash, type KeyObject } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import { RECORDING_STREAMS, type RecordingStream } from "@custody/evidence/core/recording.ts";
import {
  COMPRESSED,
  COUNTER_BYTES,
  DATA_HEAD_BYTES,
  TAG_BYTES,
} from "@custody/evidence/node/recording-format.ts";

export function keyPiece(wrapped: Buffer): Buffer {
  return Buffer.concat([Buffer.alloc(COUNTER_BYTES), wrapped]);
}

/** One after the other, and copied by the cipher at once: one buffer serves all. */
const nonce = Buffer.alloc(12);

/** Before a piece, while it is made, the digest before it: what the next digest is over lies in one row. */
const CHAIN_BYTES = 32;

/**
 * The plaintext as it is to be sealed: compressed where that makes it much smaller. Of a piece with a command
 * or two compressing costs more than all the rest and saves little; a full one of text is cut to a tenth, and
 * what is then not encrypted, hashed and flushed nearly pays for it.
 */
export function packPiece(plain: Buffer): {
  readonly bytes: Buffer;
  readonly isCompressed: boolean;
} {
  if (plain.length < MIN_COMPRESSED_BYTES) return { bytes: plain, isCompressed: false };
  const packed = zstdCompressSync(plain, FAST);
  const isCompressed = packed.length < plain.length - (plain.length >> 3);
  return { bytes: isCompressed ? packed : plain, isCompressed };
}

export const MIN_COMPRESSED_BYTES = 8 << 10;
const FAST = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/**
 * A piece, and the digest of the recording so far (recording-format.ts, `chainDigest`), of which `before` is
 * the one before, as latin1 text. `context` is the session's id.
 */
export function sealPiece(
  key: KeyObject,
  context: Buffer,
  counter: number,
  { bytes: plain, isCompressed }: ReturnType<typeof packPiece>,
  before: string,
): { readonly piece: Buffer; readonly digest: string } {
  const length = CHAIN_BYTES + COUNTER_BYTES + plain.length + TAG_BYTES;
  const bytes = Buffer.allocUnsafe(length);
  bytes.write(before, 0, "latin1");
  bytes.writeUInt32BE(Math.floor(counter / 0x1_0000_0000), CHAIN_BYTES);
  bytes.writeUInt32BE(counter >>> 0, CHAIN_BYTES + 4);
  if (isCompressed) bytes.writeUInt8(COMPRESSED, CHAIN_BYTES);
  // nonceOf(piece): four zero bytes and the counter.
  bytes.copy(nonce, 4, CHAIN_BYTES, CHAIN_BYTES + COUNTER_BYTES);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(context);
  bytes.set(cipher.update(plain), CHAIN_BYTES + COUNTER_BYTES);
  cipher.final();
  bytes.set(cipher.getAuthTag(), length - TAG_BYTES);
  return { piece: bytes.subarray(CHAIN_BYTES), digest: hash("sha256", bytes, "binary") };
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
