// The journal's bytes, for who writes them and for the three who read them (recovery, sequencer,
// replay). No I/O here.
//
// A segment is a file of a fixed size, zeros where nothing was written yet:
//   header  64   magic "CSTJSEG1", worker u32, number u32, next sequence number u64,
//                chain at the end of the segment before (32 bytes), 8 zero bytes
//   batch   48   magic u32, body length u32, records u32, durable u32, chain before it (32 bytes)
//           …    body: records of u32 (type << 24 | length) and as many bytes
//           32   chain: SHA-256 over the 48 bytes and the body
//           0–7  zeros, to a multiple of 8
// The chain before the first batch is the SHA-256 of the segment's header. `durable` is how much of this
// segment was known to be on disk when the batch was made: it tells a torn tail, which a crash may
// leave, from damage to what had been acknowledged. Numbers are big-endian.

import { hash } from "node:crypto";

const SEGMENT_MAGIC = "CSTJSEG1";
export const SEGMENT_HEADER_BYTES = 64;
export const BATCH_HEADER_BYTES = 48;
export const CHAIN_BYTES = 32;
export const BATCH_MAGIC = 0x434a4231;
export const MAX_RECORD_BYTES = 1 << 20;

/** What a record is. */
export const RECORD_LEAF = 1;
/** A piece of a session's content: u8 length of the session's id, the id, the sealed bytes. */
export const RECORD_CONTENT = 2;
/** A leaf of an earlier segment that still waits for its end: an open session, an intent. */
export const RECORD_CARRY = 3;

export interface SegmentHeader {
  readonly worker: number;
  readonly number: number;
  readonly nextSeq: number;
  readonly chainBefore: Buffer;
}

export interface JournalRecord {
  readonly type: number;
  readonly payload: Buffer;
}

export interface Batch {
  readonly records: readonly JournalRecord[];
  readonly chain: Buffer;
  /** Offset of the byte after it, where the next batch begins. */
  readonly end: number;
}

export type BatchResult = { readonly kind: "batch"; readonly batch: Batch } | NoBatch;

export type VisitResult =
  | {
      readonly kind: "batch";
      /** A copy of the chain after it. */
      readonly chain: Buffer;
      readonly end: number;
    }
  | NoBatch;

type NoBatch =
  /** Nothing was written here. */
  | { readonly kind: "end" }
  /** Something is here that is not the next batch. */
  | { readonly kind: "broken"; readonly what: string };

export function segmentName(worker: number, number: number): string {
  return `w${worker}-${String(number).padStart(8, "0")}.seg`;
}

/** undefined for every name `segmentName` does not give. */
export function parseSegmentName(name: string): { worker: number; number: number } | undefined {
  const match = /^w(0|[1-9][0-9]{0,4})-([0-9]{8})\.seg$/.exec(name);
  if (match === null) return undefined;
  return { worker: Number(match[1]), number: Number(match[2]) };
}

export function sha256(bytes: Uint8Array): Buffer {
  return hash("sha256", bytes, "buffer");
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  bytes.write(SEGMENT_MAGIC, 0, "latin1");
  bytes.writeUInt32BE(header.worker, 8);
  bytes.writeUInt32BE(header.number, 12);
  bytes.writeBigUInt64BE(BigInt(header.nextSeq), 16);
  header.chainBefore.copy(bytes, 24);
  return bytes;
}

/** "unused" for a segment that was prepared and never begun. */
export function decodeSegmentHeader(segment: Buffer): SegmentHeader | "unused" | "broken" {
  if (segment.length < SEGMENT_HEADER_BYTES) return "unused";
  const bytes = segment.subarray(0, SEGMENT_HEADER_BYTES);
  if (bytes.every((byte) => byte === 0)) return "unused";
  if (bytes.toString("latin1", 0, 8) !== SEGMENT_MAGIC) return "broken";
  if (bytes.readBigUInt64BE(56) !== 0n) return "broken";
  return {
    worker: bytes.readUInt32BE(8),
    number: bytes.readUInt32BE(12),
    nextSeq: Number(bytes.readBigUInt64BE(16)),
    chainBefore: Buffer.from(bytes.subarray(24, 56)),
  };
}

/** Fills in header and chain of a batch whose body is already at `BATCH_HEADER_BYTES`; returns its length. */
export function finishBatch(
  buffer: Buffer,
  bodyLength: number,
  records: number,
  durable: number,
  chainBefore: Buffer,
): { length: number; chain: Buffer } {
  buffer.writeUInt32BE(BATCH_MAGIC, 0);
  buffer.writeUInt32BE(bodyLength, 4);
  buffer.writeUInt32BE(records, 8);
  buffer.writeUInt32BE(durable, 12);
  chainBefore.copy(buffer, 16);
  const end = BATCH_HEADER_BYTES + bodyLength;
  const chain = sha256(buffer.subarray(0, end));
  chain.copy(buffer, end);
  const length = align(end + CHAIN_BYTES);
  buffer.fill(0, end + CHAIN_BYTES, length);
  return { length, chain };
}

/** Bytes a batch takes in the file. */
export function batchBytes(bodyLength: number): number {
  return align(BATCH_HEADER_BYTES + bodyLength + CHAIN_BYTES);
}

/** The batch at `offset` of a segment, verified against the chain before it. */
export function readBatch(segment: Buffer, offset: number, chainBefore: Buffer): BatchResult {
  const records: JournalRecord[] = [];
  const result = visitBatch(segment, offset, chainBefore, (type, start, end) => {
    records.push({ type, payload: segment.subarray(start, end) });
  });
  if (result.kind !== "batch") return result;
  return { kind: "batch", batch: { records, chain: result.chain, end: result.end } };
}

/**
 * As `readBatch`, without an object for each record: `visit` gets the type of each and where its bytes are,
 * once all of the batch is verified.
 */
export function visitBatch(
  segment: Buffer,
  offset: number,
  chainBefore: Buffer,
  visit: (type: number, start: number, end: number) => void,
): VisitResult {
  if (offset + BATCH_HEADER_BYTES + CHAIN_BYTES > segment.length) {
    return isZero(segment, offset) ? { kind: "end" } : broken("an incomplete batch");
  }
  const magic = segment.readUInt32BE(offset);
  if (magic === 0 && isZero(segment, offset)) return { kind: "end" };
  const selfContained = verifyBatch(segment, offset);
  if (selfContained === undefined) return broken("a batch whose hash does not verify");
  if (segment.compare(chainBefore, 0, CHAIN_BYTES, offset + 16, offset + 48) !== 0) {
    return broken("a batch that does not follow the one before it");
  }
  const { bodyEnd, chain, end } = selfContained;
  if (!areRecords(segment, offset, bodyEnd)) return broken("a batch with a malformed record");
  for (let at = offset + BATCH_HEADER_BYTES; at < bodyEnd; ) {
    const word = segment.readUInt32BE(at);
    const next = at + 4 + (word & 0xffffff);
    visit(word >>> 24, at + 4, next);
    at = next;
  }
  return { kind: "batch", chain, end };
}

/**
 * After a broken batch at `offset`: does a later batch, whole in itself, say that this place had been
 * on disk? Then it is damage, not a torn tail.
 */
export function wasDurable(segment: Buffer, offset: number): boolean {
  for (let at = offset + 8; at + BATCH_HEADER_BYTES + CHAIN_BYTES <= segment.length; at += 8) {
    if (segment.readUInt32BE(at) !== BATCH_MAGIC) continue;
    if (segment.readUInt32BE(at + 12) > offset && verifyBatch(segment, at) !== undefined)
      return true;
  }
  return false;
}

/** Session id and sealed bytes of a content record; undefined when malformed. */
export function parseContent(payload: Buffer): { sessionId: string; sealed: Buffer } | undefined {
  const length = payload[0];
  if (length === undefined || length === 0 || 1 + length > payload.length) return undefined;
  return {
    sessionId: payload.toString("latin1", 1, 1 + length),
    sealed: payload.subarray(1 + length),
  };
}

function verifyBatch(
  segment: Buffer,
  offset: number,
): { bodyEnd: number; end: number; chain: Buffer } | undefined {
  if (segment.readUInt32BE(offset) !== BATCH_MAGIC) return undefined;
  const bodyEnd = offset + BATCH_HEADER_BYTES + segment.readUInt32BE(offset + 4);
  if (bodyEnd + CHAIN_BYTES > segment.length) return undefined;
  const chain = sha256(segment.subarray(offset, bodyEnd));
  if (!chain.equals(segment.subarray(bodyEnd, bodyEnd + CHAIN_BYTES))) return undefined;
  const end = align(bodyEnd + CHAIN_BYTES);
  // A file cut right behind the batch has no padding.
  if (!segment.subarray(bodyEnd + CHAIN_BYTES, end).every((byte) => byte === 0)) return undefined;
  return { bodyEnd, end, chain };
}

function areRecords(segment: Buffer, offset: number, bodyEnd: number): boolean {
  let count = segment.readUInt32BE(offset + 8);
  let at = offset + BATCH_HEADER_BYTES;
  for (; at + 4 <= bodyEnd && count > 0; count--) {
    const word = segment.readUInt32BE(at);
    const type = word >>> 24;
    if (type < RECORD_LEAF || type > RECORD_CARRY) return false;
    at += 4 + (word & 0xffffff);
  }
  return at === bodyEnd && count === 0;
}

function align(length: number): number {
  return (length + 7) & ~7;
}

/** The first byte is zero and each byte equals the next: one memcmp, for segments are large. */
function isZero(segment: Buffer, offset: number): boolean {
  if (offset >= segment.length) return true;
  const last = segment.length - 1;
  return (
    segment[offset] === 0 && segment.subarray(offset, last).equals(segment.subarray(offset + 1))
  );
}

function broken(what: string): NoBatch {
  return { kind: "broken", what };
}
