// What of recordings is in the journal only, read a part at a time: a segment has room for 64 MiB, mostly used,
// and each reader of a recording looks through it. As far as each verifies: a batch may be being written, and
// the sequencer may take a segment away meanwhile.
//
// Owns nothing.

import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { journalDirectory } from "../audit/journal-files.ts";
import {
  BATCH_MAGIC,
  batchBytes,
  decodeSegmentHeader,
  encodeSegmentHeader,
  parseContent,
  parseSegmentName,
  RECORD_CONTENT,
  readBatch,
  SEGMENT_HEADER_BYTES,
  sha256,
} from "../audit/journal-format.ts";

export interface JournalContent {
  readonly sessionId: string;
  /** Valid until the next is asked for. */
  readonly sealed: Buffer;
}

/** Read, and hashed, before others of this process have their turn. */
const PART_BYTES = 1 << 20;

/** In the order it was written, of each worker. */
export async function* journalContent(
  dataDirectory: string,
  partBytes = PART_BYTES,
): AsyncGenerator<JournalContent> {
  const directory = journalDirectory(dataDirectory);
  const names = (await orNone(readdir(directory))) ?? [];
  for (const name of names.filter(parseSegmentName).sort()) {
    const file = await orNone(open(join(directory, name), "r"));
    if (file === undefined) continue;
    try {
      yield* contentOf(file, partBytes);
    } finally {
      await file.close();
    }
  }
}

async function* contentOf(file: FileHandle, partBytes: number): AsyncGenerator<JournalContent> {
  const header = decodeSegmentHeader(await readAt(file, 0, SEGMENT_HEADER_BYTES));
  if (typeof header === "string") return;
  let chain = sha256(encodeSegmentHeader(header));
  for (let offset = SEGMENT_HEADER_BYTES; ; ) {
    let part = await readAt(file, offset, partBytes);
    const needed = bytesOfBatch(part, 0);
    if (needed > part.length) {
      const { size } = await file.stat();
      if (offset + needed > size) return;
      part = await readAt(file, offset, needed);
    }
    let at = 0;
    do {
      const result = readBatch(part, at, chain);
      if (result.kind !== "batch") return;
      for (const { type, payload } of result.batch.records) {
        const content = type === RECORD_CONTENT ? parseContent(payload) : undefined;
        if (content !== undefined) yield content;
      }
      chain = result.batch.chain;
      at = result.batch.end;
    } while (at + bytesOfBatch(part, at) <= part.length && at < part.length);
    offset += at;
  }
}

/** Of the batch there; as many as tell what is there where none begins. */
function bytesOfBatch(part: Buffer, at: number): number {
  if (at + 8 > part.length || part.readUInt32BE(at) !== BATCH_MAGIC) return 8;
  return batchBytes(part.readUInt32BE(at + 4));
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let at = 0;
  while (at < length) {
    const { bytesRead } = await file.read(buffer, at, length - at, position + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return buffer.subarray(0, at);
}

async function orNone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
