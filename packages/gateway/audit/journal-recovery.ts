// What a start finds in the journal of the run before: verifies the chain over all segments, cuts a
// torn tail, and says which sessions and intents have no end. Refuses (GatewayError
// "evidence_unavailable", with segment and offset) what a crash cannot explain.

import { open, readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import { decodeLeaf, type Leaf } from "@custody/evidence/core/leaf.ts";
import { GatewayError } from "../base/errors.ts";
import { listSegments, removeSegment, syncDirectory } from "./journal-files.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  RECORD_CARRY,
  RECORD_LEAF,
  readBatch,
  SEGMENT_HEADER_BYTES,
  segmentName,
  sha256,
  wasDurable,
} from "./journal-format.ts";

export interface Recovered {
  /** The next leaf's. */
  readonly nextSeq: number;
  /** The next segment's. */
  readonly nextNumber: number;
  readonly chain: Buffer;
  readonly openSessions: ReadonlyMap<string, Leaf>;
  readonly openIntents: ReadonlyMap<string, Leaf>;
  /** Bytes of a batch that was being written when the run before ended. */
  readonly tornBytes: number;
}

/** The chain before the first segment. */
const GENESIS_CHAIN: Buffer = sha256(Buffer.from("custody journal v1", "latin1"));

export async function recoverJournal(directory: string, worker: number): Promise<Recovered> {
  const state = {
    nextSeq: 1,
    nextNumber: 1,
    chain: GENESIS_CHAIN,
    openSessions: new Map<string, Leaf>(),
    openIntents: new Map<string, Leaf>(),
    tornBytes: 0,
  };
  const numbers = await listSegments(directory, worker);
  const used: number[] = [];
  let isFirst = true;
  for (const number of numbers) {
    const path = join(directory, segmentName(worker, number));
    const segment = await readFile(path);
    const header = decodeSegmentHeader(segment);
    if (header === "unused") continue;
    used.push(number);
    const where = `journal segment ${segmentName(worker, number)}`;
    // A tail may be torn only where nothing follows.
    if (state.tornBytes > 0) throw damaged(`${where} follows a torn one`);
    if (header === "broken") {
      if (wasDurable(segment, 0)) throw damaged(`${where}: the header is damaged`);
      await cut(path, 0);
      state.tornBytes = segment.length;
      continue;
    }
    if (header.worker !== worker || header.number !== number) {
      throw damaged(`${where} is another segment's copy`);
    }
    if (isFirst) {
      state.nextSeq = header.nextSeq;
      isFirst = false;
    } else if (number !== state.nextNumber || !header.chainBefore.equals(state.chain)) {
      throw damaged(`${where} does not follow the one before it`);
    } else if (header.nextSeq !== state.nextSeq) {
      throw damaged(`${where} begins at record ${header.nextSeq}, not ${state.nextSeq}`);
    }
    state.chain = sha256(encodeSegmentHeader(header));
    state.nextNumber = number + 1;
    const end = scanSegment(segment, where, state);
    if (end !== undefined) {
      state.tornBytes = segment.length - end;
      await cut(path, end);
    }
  }
  for (const number of used) await flushSegment(join(directory, segmentName(worker, number)));
  await removeUnused(directory, worker, numbers, used);
  return state;
}

interface ScanState {
  nextSeq: number;
  chain: Buffer;
  readonly openSessions: Map<string, Leaf>;
  readonly openIntents: Map<string, Leaf>;
}

/** Applies all batches; the offset to cut at when the tail is torn. */
function scanSegment(segment: Buffer, where: string, state: ScanState): number | undefined {
  let offset = SEGMENT_HEADER_BYTES;
  for (;;) {
    const result = readBatch(segment, offset, state.chain);
    if (result.kind === "end") return undefined;
    if (result.kind === "broken") {
      if (wasDurable(segment, offset)) throw damaged(`${where}, offset ${offset}: ${result.what}`);
      return offset;
    }
    for (const record of result.batch.records) {
      if (record.type === RECORD_LEAF) applyLeaf(record.payload, where, state);
      if (record.type === RECORD_CARRY) track(decodeLeaf(record.payload), state);
    }
    state.chain = result.batch.chain;
    offset = result.batch.end;
  }
}

function applyLeaf(payload: Buffer, where: string, state: ScanState): void {
  const leaf = decodeLeaf(payload);
  if (leaf.seq !== state.nextSeq) {
    throw damaged(`${where}: record ${leaf.seq} where ${state.nextSeq} is due`);
  }
  state.nextSeq = leaf.seq + 1;
  track(leaf, state);
}

interface Tracked {
  readonly openSessions: Map<string, Leaf>;
  readonly openIntents: Map<string, Leaf>;
}

function track(leaf: Leaf, state: Tracked): void {
  if (leaf.event === "command.intent" && leaf.request !== undefined) {
    state.openIntents.set(leaf.request, leaf);
  } else if (leaf.event === "command.outcome" || leaf.event === "command.indeterminate") {
    if (leaf.request !== undefined) state.openIntents.delete(leaf.request);
  } else if (leaf.event === "session.opened" && leaf.session !== undefined) {
    state.openSessions.set(leaf.session, leaf);
  } else if (leaf.event === "session.closed" && leaf.session !== undefined) {
    state.openSessions.delete(leaf.session);
  }
}

async function cut(path: string, length: number): Promise<void> {
  await truncate(path, length);
}

/** The run before may have ended with pages that are in the kernel only; the log may hold none such. */
async function flushSegment(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Segments that were prepared and never begun would stand in the way of the next ones. */
async function removeUnused(
  directory: string,
  worker: number,
  numbers: readonly number[],
  used: readonly number[],
): Promise<void> {
  for (const number of numbers) {
    if (!used.includes(number)) await removeSegment(directory, worker, number);
  }
  syncDirectory(directory);
}

function damaged(what: string): GatewayError {
  return new GatewayError("evidence_unavailable", `the journal is damaged: ${what}`, {
    hint: "Keep a copy of the data directory, then restore the journal or verify the log.",
  });
}
