// Reads a worker's journal from a cursor, as far as it is on disk, for the sequencer. What is there has
// been verified once (recovery) or was written by this run; the chain is verified all the same.

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { journalDirectory } from "./journal-files.ts";
import {
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  batchBytes,
  decodeSegmentHeader,
  encodeSegmentHeader,
  parseContent,
  parseSegmentName,
  RECORD_CONTENT,
  RECORD_LEAF,
  SEGMENT_HEADER_BYTES,
  segmentName,
  sha256,
  visitBatch,
} from "./journal-format.ts";
import type { LogFiles } from "./log-files.ts";
import { type Cursor, refusal } from "./log-head.ts";

/** Where what is read goes. The bytes are valid until the call returns. */
export interface JournalSink {
  /** The leaf from `start` to `end`. */
  leaf(bytes: Buffer, start: number, end: number): void;
  content(sessionId: string, sealed: Buffer): void;
}

export interface JournalReader {
  /** Reads at most one part of one segment, so that a step is bounded; returns where it came to. */
  read(worker: number, from: Cursor, until: DurablePlace, sink: JournalSink): Cursor;
}

/** Where a worker's journal is on disk up to. */
export interface DurablePlace {
  readonly segment: number;
  readonly offset: number;
}

/** Larger than any batch. */
const PART_BYTES = 4 << 20;

export function createJournalReader(dataDirectory: string): JournalReader {
  // One part at a time: what it held is the log's and the recordings' by then.
  let buffer = Buffer.alloc(0);
  const readAt = (fd: number, position: number, length: number): Buffer => {
    if (length > buffer.length) buffer = Buffer.allocUnsafeSlow(Math.max(length, 64 << 10));
    let at = 0;
    while (at < length) {
      const count = readSync(fd, buffer, at, length - at, position + at);
      if (count === 0) break;
      at += count;
    }
    return buffer.subarray(0, at);
  };
  return {
    read(worker, from, until, sink) {
      const name = segmentName(worker, from.segment);
      const isBehind = from.segment === until.segment && from.offset > until.offset;
      if (from.segment > until.segment || isBehind) {
        throw refusal(`the journal of worker ${worker} has lost what was in ${name}`);
      }
      if (from.segment === until.segment && from.offset === until.offset) return from;
      const fd = openSegment(join(journalDirectory(dataDirectory), name), name);
      try {
        const size = fstatSync(fd).size;
        const isLast = from.segment === until.segment;
        const limit = isLast ? Math.min(until.offset, size) : size;
        const chain =
          from.chain === ""
            ? headerChain(readAt(fd, 0, SEGMENT_HEADER_BYTES), name)
            : Buffer.from(from.chain, "hex");
        const length = Math.max(0, Math.min(PART_BYTES, limit - from.offset));
        const part = readAt(fd, from.offset, length);
        const isCut = from.offset + part.length < limit;
        return readPart({ part, name, chain, isCut, isLast }, from, sink);
      } finally {
        closeSync(fd);
      }
    },
  };
}

interface Part {
  readonly part: Buffer;
  readonly name: string;
  readonly chain: Buffer;
  /** There is more of the segment than this. */
  readonly isCut: boolean;
  readonly isLast: boolean;
}

function readPart({ part, name, isCut, isLast, ...begin }: Part, from: Cursor, sink: JournalSink) {
  let { chain } = begin;
  let { seq } = from;
  let at = 0;
  const visit = (type: number, start: number, end: number): void => {
    if (type === RECORD_LEAF) {
      seq = nextSeq(part, start, end, seq, name);
      sink.leaf(part, start, end);
    } else if (type === RECORD_CONTENT) {
      const parsed = parseContent(part.subarray(start, end));
      if (parsed === undefined) throw refusal(`journal segment ${name}: malformed content`);
      sink.content(parsed.sessionId, parsed.sealed);
    }
  };
  const here = (): Cursor => ({
    segment: from.segment,
    offset: from.offset + at,
    chain: chain.toString("hex"),
    seq,
  });
  for (;;) {
    if (isCut && isCutOff(part, at)) return here();
    const result = visitBatch(part, at, chain, visit);
    if (result.kind === "broken") {
      throw refusal(`journal segment ${name}, offset ${from.offset + at}: ${result.what}`);
    }
    if (result.kind === "end") {
      if (isLast) return here();
      // A run that ended leaves its segment as it is and the next run begins another.
      return { segment: from.segment + 1, offset: SEGMENT_HEADER_BYTES, chain: "", seq };
    }
    chain = result.chain;
    at = result.end;
  }
}

export function removeSegmentsBefore(
  files: LogFiles,
  dataDirectory: string,
  worker: number,
  number: number,
): void {
  const directory = journalDirectory(dataDirectory);
  for (const name of files.list(directory)) {
    const parsed = parseSegmentName(name);
    if (parsed?.worker === worker && parsed.number < number) files.remove(join(directory, name));
  }
}

/** No leaf is lost or doubled on the way into the log. */
function nextSeq(part: Buffer, start: number, end: number, last: number, name: string): number {
  const seq = seqOf(part, start, end);
  if (seq === last + 1) return seq;
  throw refusal(`journal segment ${name} has record ${seq ?? "?"} where ${last + 1} is due`);
}

// A leaf begins `{"v":1,"event":"command.intent","at":1790000000000,"worker":0,"seq":17`. By hand, for a
// regular expression would need each leaf as a string.
const BEFORE_EVENT = Buffer.from('{"v":1,"event":"');
const BEFORE_TIME = Buffer.from('","at":');
const BEFORE_WORKER = Buffer.from(',"worker":');
const BEFORE_SEQ = Buffer.from(',"seq":');
const QUOTE = 0x22;

function seqOf(part: Buffer, start: number, end: number): number | undefined {
  if (!hasAt(part, start, BEFORE_EVENT)) return undefined;
  let at = start + BEFORE_EVENT.length;
  while (at < end && part[at] !== QUOTE) at++;
  if (!hasAt(part, at, BEFORE_TIME)) return undefined;
  at = afterDigits(part, at + BEFORE_TIME.length, end);
  if (!hasAt(part, at, BEFORE_WORKER)) return undefined;
  at = afterDigits(part, at + BEFORE_WORKER.length, end);
  if (!hasAt(part, at, BEFORE_SEQ)) return undefined;
  let seq = 0;
  for (at += BEFORE_SEQ.length; at < end; at++) {
    const digit = part[at]! - 0x30;
    if (digit < 0 || digit > 9) return seq;
    seq = seq * 10 + digit;
  }
  return undefined;
}

function hasAt(part: Buffer, at: number, text: Buffer): boolean {
  for (let index = 0; index < text.length; index++) {
    if (part[at + index] !== text[index]) return false;
  }
  return true;
}

function afterDigits(part: Buffer, from: number, end: number): number {
  let at = from;
  while (at < end && part[at]! >= 0x30 && part[at]! <= 0x39) at++;
  return at;
}

/** Is the batch at `at` only partly in the part that was read? */
function isCutOff(part: Buffer, at: number): boolean {
  if (at + BATCH_HEADER_BYTES > part.length) return true;
  if (part.readUInt32BE(at) !== BATCH_MAGIC) return false;
  return at + batchBytes(part.readUInt32BE(at + 4)) > part.length;
}

function headerChain(bytes: Buffer, name: string): Buffer {
  const header = decodeSegmentHeader(bytes);
  if (typeof header === "string") throw refusal(`journal segment ${name} has no header`);
  return sha256(encodeSegmentHeader(header));
}

function openSegment(path: string, name: string): number {
  try {
    return openSync(path, "r");
  } catch (cause) {
    throw refusal(`journal segment ${name} is missing`, cause);
  }
}
