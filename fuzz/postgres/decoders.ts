// Mutation fuzzer over the vectors of the PostgreSQL codec: every decoder, and the frame cursor. The
// property: a decoder gives a value made of the message's own bytes, or throws WireError; nothing else
// is thrown, nothing hangs, nothing is allocated that was only announced.
//
//   node fuzz/postgres/decoders.ts --runs N --seed S
//
// Deterministic by seed; a failure prints the decoder and the bytes. Ends with a line
// `N passed, N failed, N skipped`.

import { parseArgs } from "node:util";
import { WireError } from "@custody/wire/postgres/errors.ts";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { DECODERS, encodeAgain, readVectors, vectorFiles } from "./decoder-table.ts";
import { type Random, seededRandom } from "./random.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
  },
});
const runs = Number(values.runs);
const random = seededRandom(Number(values.seed));
const MAX_FRAME_BYTES = 4096;
const MAX_RUN_MS = 250;
const AROUND = 16;

const corpus = (["valid", "invalid"] as const).flatMap((folder) =>
  vectorFiles(folder).flatMap((file) =>
    readVectors(folder, file).map(({ decoder, hex }) => ({
      decoder,
      bytes: Buffer.from(hex, "hex"),
    })),
  ),
);
const decoders = Object.keys(DECODERS);
let failed = 0;

for (let run = 0; run < runs; run++) {
  const original = random.pick(corpus);
  const bytes = mutated(random, original.bytes);
  const decoder = random.chance(0.1) ? random.pick(decoders) : original.decoder;
  const before = process.cpuUsage();
  const problem =
    run % 8 === 0 || decoder === undefined ? cursorProblem(bytes) : decoderProblem(decoder, bytes);
  // Of the processor, not of the clock: the machine may be busy with others.
  const { user, system } = process.cpuUsage(before);
  const tookMs = (user + system) / 1000;
  const slow = tookMs > MAX_RUN_MS ? `took ${Math.round(tookMs)} ms` : undefined;
  if (problem === undefined && slow === undefined) continue;
  failed++;
  console.log(`run ${run}: ${problem ?? slow}\n  ${bytes.toString("hex")}`);
}
console.log(`${runs - failed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 ? 0 : 1;

function decoderProblem(name: string, bytes: Buffer): string | undefined {
  const decoder = DECODERS[name];
  if (decoder === undefined) return `no decoder ${name}`;
  const around = Buffer.alloc(bytes.length + 2 * AROUND, 0x55);
  bytes.copy(around, AROUND);
  const first = outcome(() => decoder(around, AROUND, AROUND + bytes.length));
  if (first.fault !== undefined) return `${name}: ${first.fault}`;
  if (!isInside(first.value, around)) return `${name}: a value from outside the message`;
  // The same message amid other bytes: what lies outside must not matter.
  around.fill(0x00, 0, AROUND);
  around.fill(0x00, AROUND + bytes.length);
  const second = outcome(() => decoder(around, AROUND, AROUND + bytes.length));
  if (second.fault !== undefined) return `${name}: ${second.fault}`;
  if (first.refused !== second.refused) return `${name}: depends on bytes outside the message`;
  if (first.refused !== undefined) return undefined;
  const again = outcome(() => encodeAgain(name, bytes));
  if (again.fault !== undefined) return `${name}, encoded again: ${again.fault}`;
  if (again.refused !== undefined) return `${name}: what was decoded cannot be encoded`;
  return undefined;
}

interface Outcome {
  readonly value?: unknown;
  /** The WireError's code. */
  readonly refused?: string;
  readonly fault?: string;
}

function outcome(attempt: () => unknown): Outcome {
  try {
    return { value: attempt() };
  } catch (error) {
    if (error instanceof WireError) return { refused: error.code };
    return { fault: `threw ${String(error)}` };
  }
}

/** Whether all bytes of a decoded value are of `around`'s memory, and not of what surrounds the message. */
function isInside(value: unknown, around: Buffer): boolean {
  if (Buffer.isBuffer(value)) {
    const from = value.byteOffset - around.byteOffset;
    if (value.buffer !== around.buffer) return false;
    return from >= AROUND && from + value.length <= around.length - AROUND;
  }
  if (Array.isArray(value)) return value.every((item) => isInside(item, around));
  if (typeof value !== "object" || value === null || value instanceof Map) return true;
  return Object.values(value).every((item) => isInside(item, around));
}

/** Frames of a stream in random chunks: the same as in one piece, no more held than has arrived. */
function cursorProblem(bytes: Buffer): string | undefined {
  const whole = outcome(() => framesOf([bytes]));
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random.below(random.chance(0.5) ? 4 : bytes.length);
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  const split = outcome(() => framesOf(pieces));
  if (whole.fault !== undefined) return `cursor: ${whole.fault}`;
  if (split.fault !== undefined) return `cursor, split: ${split.fault}`;
  if (whole.refused !== split.refused) return `cursor: ${whole.refused}, split: ${split.refused}`;
  if (JSON.stringify(whole.value) !== JSON.stringify(split.value)) return "cursor: other frames";
  return undefined;
}

function framesOf(chunks: readonly Buffer[]): string[] {
  const cursor = new FrameCursor({ maxFrameBytes: MAX_FRAME_BYTES });
  const frames: string[] = [];
  let arrived = 0;
  let taken = 0;
  for (const chunk of chunks) {
    arrived += chunk.length;
    cursor.push(chunk);
    while (cursor.next()) {
      taken += cursor.end - cursor.start;
      frames.push(cursor.buffer.toString("hex", cursor.start, cursor.end));
    }
    if (cursor.heldBytes !== arrived - taken) throw new Error("bytes lost or made up");
  }
  return frames;
}

function mutated(from: Random, original: Buffer): Buffer {
  let bytes: Buffer = Buffer.from(original);
  const times = 1 + from.below(4);
  for (let time = 0; time < times; time++) bytes = mutatedOnce(from, bytes);
  // A length that fits again brings the rest of the message under test.
  if (bytes.length >= 5 && from.chance(0.7)) {
    if (from.chance(0.9)) bytes.writeInt32BE(bytes.length - 1, 1);
    else bytes.writeInt32BE(bytes.length, 0);
  }
  return bytes;
}

function mutatedOnce(from: Random, bytes: Buffer): Buffer {
  const at = from.below(bytes.length + 1);
  switch (from.below(7)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([
        bytes.subarray(0, at),
        from.pick(corpus).bytes.subarray(0, from.below(64)),
      ]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), Buffer.of(0x00), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
    case 4:
      if (bytes.length >= 4) {
        const lengths = [-1, -2, 0, 1, 4, 0x7fffffff, -0x80000000, bytes.length];
        bytes.writeInt32BE(from.pick(lengths), from.below(bytes.length - 3));
      }
      return bytes;
    case 5:
      if (bytes.length >= 2) {
        bytes.writeUInt16BE(from.pick([0, 1, 0x7fff, 0xffff]), from.below(bytes.length - 1));
      }
      return bytes;
    default:
      if (bytes.length > 0) bytes[from.below(bytes.length)] = from.below(256);
      return bytes;
  }
}
