// An age file (age-encryption.org/v1) opened for reading anywhere in it, without what is before: the payload is
// chunks of 64 KiB, each sealed by itself with its number in the nonce and a mark in the last. The header is
// opened by age-encryption; the chunks by ChaCha20-Poly1305 of Node's own.

import { createDecipheriv, hkdfSync } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";

export class AgeFileError extends Error {
  override readonly name = "AgeFileError";
}

export interface AgeFile extends AsyncDisposable {
  /** Bytes of the plaintext. */
  readonly size: number;
  /** Rejects with AgeFileError when a chunk was altered, and beyond the end. */
  read(position: number, length: number): Promise<Buffer>;
}

const MAX_HEADER_BYTES = 64 << 10;
const CHUNK_BYTES = 64 << 10;
const TAG_BYTES = 16;
const SEALED_BYTES = CHUNK_BYTES + TAG_BYTES;
const PAYLOAD_NONCE_BYTES = 16;

/** `identity`: `AGE-SECRET-KEY-…`. Opens the last chunk at once, so that a file that was cut short is refused. */
export async function openAgeFile(path: string, identity: string): Promise<AgeFile> {
  const file = await open(path, "r");
  try {
    const header = await readHeader(file);
    const { Decrypter } = await import("age-encryption");
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const fileKey = await decrypter.decryptHeader(header);
    const nonce = await readAt(file, header.length, PAYLOAD_NONCE_BYTES);
    const key = Buffer.from(hkdfSync("sha256", fileKey, nonce, "payload", 32));
    const begin = header.length + PAYLOAD_NONCE_BYTES;
    const sealedBytes = (await file.stat()).size - begin;
    const chunks = Math.ceil(sealedBytes / SEALED_BYTES);
    const size = sealedBytes - chunks * TAG_BYTES;
    if (chunks < 1 || sealedBytes - (chunks - 1) * SEALED_BYTES < TAG_BYTES)
      throw new AgeFileError("the end is missing");
    const chunk = async (index: number): Promise<Buffer> => {
      const isLast = index === chunks - 1;
      const at = index * SEALED_BYTES;
      const sealed = await readAt(file, begin + at, Math.min(SEALED_BYTES, sealedBytes - at));
      return openChunk(key, index, isLast, sealed);
    };
    const last = await chunk(chunks - 1);
    // Only a file of nothing ends with an empty chunk.
    if (last.length === 0 && chunks > 1) throw new AgeFileError("the last chunk is empty");
    return {
      size,
      read: (position, length) => readPlain(chunk, size, position, length),
      [Symbol.asyncDispose]: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readPlain(
  chunk: (index: number) => Promise<Buffer>,
  size: number,
  position: number,
  length: number,
): Promise<Buffer> {
  if (position < 0 || length < 0 || position + length > size)
    throw new AgeFileError("beyond the end");
  const parts: Buffer[] = [];
  for (let at = position; at < position + length; ) {
    const index = Math.floor(at / CHUNK_BYTES);
    const from = at - index * CHUNK_BYTES;
    const part = (await chunk(index)).subarray(from, from + position + length - at);
    parts.push(part);
    at += part.length;
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** The textual part with its MAC line, which is the first that begins with three hyphens. */
async function readHeader(file: FileHandle): Promise<Buffer> {
  const start = Buffer.alloc(MAX_HEADER_BYTES);
  const { bytesRead } = await file.read(start, 0, start.length, 0);
  const read = start.subarray(0, bytesRead);
  const mac = read.indexOf("\n--- ");
  const end = mac < 0 ? -1 : read.indexOf("\n", mac + 1);
  if (end < 0) throw new AgeFileError("not an age file");
  return read.subarray(0, end + 1);
}

function openChunk(key: Buffer, index: number, isLast: boolean, sealed: Buffer): Buffer {
  // An 11-byte counter, big-endian, and 1 for the last.
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(index, 5, 6);
  nonce.writeUInt8(isLast ? 1 : 0, 11);
  const decipher = createDecipheriv("chacha20-poly1305", key, nonce, { authTagLength: TAG_BYTES });
  try {
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    const plain = decipher.update(sealed.subarray(0, -TAG_BYTES));
    decipher.final();
    return plain;
  } catch (cause) {
    throw new AgeFileError(`chunk ${index} was altered`, { cause });
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  const { bytesRead } = await file.read(bytes, 0, length, position);
  if (bytesRead !== length) throw new AgeFileError("the end is missing");
  return bytes;
}
