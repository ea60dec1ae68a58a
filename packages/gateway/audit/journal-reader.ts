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
  readBatch,
  SEGMENT_HEADER_BYTES,
  segmentName,
  sha256,
} from "./journal-format.ts";
import type { LogFiles } from "./log-files.ts";
import { type Cursor, refusal } from "./log-head.ts";

export interface JournalPart {
  readonly leaves: readonly Buffer[];
  readonly content: readonly { readonly sessionId: string; readonly sealed: Buffer }[];
  readonly cursor: Cursor;
}

/** Larger than any batch. */
const PART_BYTES = 4 << 20;

/** At most one part of one segment, so that a step is bounded. */
export function readJournal(
  dataDirectory: string,
  worker: number,
  from: Cursor,
  until: { readonly segment: number; readonly offset: number },
): JournalPart {
  const nothing: JournalPart = { leaves: [], content: [], cursor: from };
  const name = segmentName(worker, from.segment);
  const isBehind = from.segment === until.segment && from.offset > until.offset;
  if (from.segment > until.segment || isBehind) {
    throw refusal(`the journal of worker ${worker} has lost what was in ${name}`);
  }
  if (from.segment === until.segment && from.offset === until.offset) return nothing;
  const fd = openSegment(join(journalDirectory(dataDirectory), name), name);
  try {
    const size = fstatSync(fd).size;
    const limit = from.segment === until.segment ? Math.min(until.offset, size) : size;
    const chain = from.chain === "" ? headerChain(fd, name) : Buffer.from(from.chain, "hex");
    const part = readAt(fd, from.offset, Math.min(PART_BYTES, limit - from.offset));
    return readPart(
      part,
      name,
      { ...from, chain: chain.toString("hex") },
      {
        isCut: from.offset + part.length < limit,
        isLast: from.segment === until.segment,
      },
    );
  } finally {
    closeSync(fd);
  }
}

function readPart(
  part: Buffer,
  name: string,
  from: Cursor,
  where: { readonly isCut: boolean; readonly isLast: boolean },
): JournalPart {
  const leaves: Buffer[] = [];
  const content: { sessionId: string; sealed: Buffer }[] = [];
  let chain = Buffer.from(from.chain, "hex");
  let seq = from.seq;
  let at = 0;
  for (;;) {
    const cursor = {
      segment: from.segment,
      offset: from.offset + at,
      chain: chain.toString("hex"),
      seq,
    };
    if (where.isCut && isCutOff(part, at)) return { leaves, content, cursor };
    const result = readBatch(part, at, chain);
    if (result.kind === "broken") {
      throw refusal(`journal segment ${name}, offset ${cursor.offset}: ${result.what}`);
    }
    if (result.kind === "end") {
      // A run that ended leaves its segment as it is and the next run begins another.
      const next = { segment: from.segment + 1, offset: SEGMENT_HEADER_BYTES, chain: "", seq };
      return { leaves, content, cursor: where.isLast ? cursor : next };
    }
    for (const record of result.batch.records) {
      if (record.type === RECORD_LEAF) {
        seq = nextSeq(record.payload, seq, name);
        leaves.push(record.payload);
      } else if (record.type === RECORD_CONTENT) {
        const parsed = parseContent(record.payload);
        if (parsed === undefined) throw refusal(`journal segment ${name}: malformed content`);
        content.push(parsed);
      }
    }
    chain = Buffer.from(result.batch.chain);
    at = result.batch.end;
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
function nextSeq(leaf: Buffer, last: number, name: string): number {
  const match = /^\{"v":1,"event":"[a-z_.]+","at":[0-9]+,"worker":[0-9]+,"seq":([0-9]+)[,}]/.exec(
    leaf.toString("latin1", 0, 160),
  );
  const seq = Number(match?.[1]);
  if (seq !== last + 1) {
    throw refusal(
      `journal segment ${name} has record ${match?.[1] ?? "?"} where ${last + 1} is due`,
    );
  }
  return seq;
}

/** Is the batch at `at` only partly in the part that was read? */
function isCutOff(part: Buffer, at: number): boolean {
  if (at + BATCH_HEADER_BYTES > part.length) return true;
  if (part.readUInt32BE(at) !== BATCH_MAGIC) return false;
  return at + batchBytes(part.readUInt32BE(at + 4)) > part.length;
}

function headerChain(fd: number, name: string): Buffer {
  const header = decodeSegmentHeader(readAt(fd, 0, SEGMENT_HEADER_BYTES));
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

function readAt(fd: number, position: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(Math.max(0, length));
  let at = 0;
  while (at < bytes.length) {
    const count = readSync(fd, bytes, at, bytes.length - at, position + at);
    if (count === 0) break;
    at += count;
  }
  return bytes.subarray(0, at);
}
