// A recording sealed for keeping or handing over: an age file (age-encryption.org/v1) over zstd frames
// (RFC 8878) over NDJSON, one recording event a line. `age -d` and `zstd -d` open it without us. The last
// frame is the seek table of the zstd seekable format, so that a reader of the decrypted file can begin
// in the middle; every frame begins with a whole line.

import { createReadStream, createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { RecordingEvent } from "../core/recording.ts";
import { type AgeFile, openAgeFile } from "./age-file.ts";

export class SealedRecordingError extends Error {
  override readonly name = "SealedRecordingError";
}

const FRAME_BYTES = 256 << 10;
/** An event is at most one command or response; a command may be as long as a message. */
const MAX_FRAME_BYTES = 512 << 20;
const ZSTD_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a5e;
const SEEKABLE_MAGIC = 0x8f92eab1;
/** Of the seek table: magic and length; number of frames, descriptor, magic. */
const TABLE_HEAD_BYTES = 8;
const TABLE_FOOT_BYTES = 9;

/** Writes a new file, mode 0600; `recipients` are age's, `age1…`. Every one of them can open it. */
export async function writeSealedRecording(
  path: string,
  events: AsyncIterable<RecordingEvent>,
  recipients: readonly string[],
): Promise<void> {
  if (recipients.length === 0) throw new SealedRecordingError("no recipient to seal for");
  const { Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  const sealed = await encrypter.encrypt(ReadableStream.from(compress(events)));
  const file = createWriteStream(path, { flags: "wx", mode: 0o600, flush: true });
  await pipeline(Readable.fromWeb(sealed), file);
}

/** The events in order. Rejects when a byte was changed, and when the end is missing. */
export async function* readSealedRecording(
  path: string,
  identity: string,
): AsyncGenerator<RecordingEvent> {
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  const file = Readable.toWeb(createReadStream(path)) as ReadableStream<Uint8Array>;
  const plain = await decrypter.decrypt(file);
  for await (const frame of splitFrames(plain)) {
    for (const line of linesOf(frame)) yield parseEvent(line);
  }
}

/**
 * The events from `fromMs` of the session on. What is before is neither read nor decrypted: the place is
 * found by the seek table and the times at which frames begin. What is read is verified as by
 * `readSealedRecording`; that nothing is missing before it is not. `withScreen`: from the last screen before that
 * time on, or from the beginning when there is none.
 */
export async function* seekSealedRecording(
  path: string,
  identity: string,
  fromMs: number,
  withScreen = false,
): AsyncGenerator<RecordingEvent> {
  await using file = await openAgeFile(path, identity);
  const frames = await readSeekTable(file);
  const frame = ({ position, length }: { position: number; length: number }) =>
    file.read(position, length);
  const lines = async (index: number): Promise<string[]> => linesOf(await frame(frames[index]!));
  let low = 0;
  let high = frames.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (beginOf(await frame(frames[middle]!)) >= fromMs) high = middle;
    else low = middle + 1;
  }
  // The frame before may hold what begins at this time.
  let first = Math.max(0, low - 1);
  let beginMs = fromMs;
  if (withScreen) {
    beginMs = 0;
    for (; first >= 0 && beginMs === 0; first--)
      beginMs = lastScreen(await lines(first), fromMs) ?? 0;
    first++;
  }
  for (let index = first; index < frames.length; index++) {
    for (const line of await lines(index)) {
      const event = parseEvent(line);
      if (event.t >= beginMs) yield event;
    }
  }
}

function lastScreen(lines: readonly string[], untilMs: number): number | undefined {
  const found = lines.findLast(
    (line) => line.includes('"kind":"screen"') && parseEvent(line).t <= untilMs,
  );
  return found === undefined ? undefined : parseEvent(found).t;
}

/** Of its first event, which is all that is made text of. */
function beginOf(frame: Buffer): number {
  const plain = opened(frame);
  return parseEvent(plain.toString("utf8", 0, plain.indexOf("\n"))).t;
}

function opened(frame: Buffer): Buffer {
  return zstdDecompressSync(frame, { maxOutputLength: MAX_FRAME_BYTES });
}

function linesOf(frame: Buffer): string[] {
  const text = opened(frame).toString("utf8");
  if (!text.endsWith("\n")) throw new SealedRecordingError("a line is cut off");
  return text.slice(0, -1).split("\n");
}

/** Where the frames are. It is the last frame itself, without checksums. */
async function readSeekTable(file: AgeFile): Promise<{ position: number; length: number }[]> {
  const missing = new SealedRecordingError("the end is missing");
  if (file.size < TABLE_HEAD_BYTES + TABLE_FOOT_BYTES) throw missing;
  const foot = await file.read(file.size - TABLE_FOOT_BYTES, TABLE_FOOT_BYTES);
  const count = foot.readUInt32LE(0);
  const bytes = TABLE_HEAD_BYTES + count * 8 + TABLE_FOOT_BYTES;
  if (foot.readUInt32LE(5) !== SEEKABLE_MAGIC || foot[4] !== 0 || bytes > file.size) throw missing;
  const table = await file.read(file.size - bytes, bytes);
  const isTable = table.readUInt32LE(0) === SKIPPABLE_MAGIC && table.readUInt32LE(4) === bytes - 8;
  if (!isTable) throw missing;
  const frames: { position: number; length: number }[] = [];
  let position = 0;
  for (let at = TABLE_HEAD_BYTES; frames.length < count; at += 8) {
    const length = table.readUInt32LE(at);
    frames.push({ position, length });
    position += length;
  }
  if (position !== file.size - bytes) throw new SealedRecordingError("frames are missing");
  return frames;
}

async function* compress(events: AsyncIterable<RecordingEvent>): AsyncGenerator<Uint8Array> {
  const table: { compressed: number; plain: number }[] = [];
  const frame = (text: string): Buffer => {
    const plain = Buffer.from(text, "utf8");
    const compressed = zstdCompressSync(plain);
    table.push({ compressed: compressed.length, plain: plain.length });
    return compressed;
  };
  let lines = "";
  for await (const event of events) {
    lines += `${JSON.stringify(event)}\n`;
    if (lines.length < FRAME_BYTES) continue;
    yield frame(lines);
    lines = "";
  }
  if (lines !== "") yield frame(lines);
  yield seekTable(table);
}

/** zstd's contrib/seekable_format: sizes of each frame, without checksums; little-endian. */
function seekTable(table: readonly { compressed: number; plain: number }[]): Buffer {
  const bytes = Buffer.alloc(8 + table.length * 8 + 9);
  let at = bytes.writeUInt32LE(SKIPPABLE_MAGIC, 0);
  at = bytes.writeUInt32LE(bytes.length - 8, at);
  for (const { compressed, plain } of table) {
    at = bytes.writeUInt32LE(compressed, at);
    at = bytes.writeUInt32LE(plain, at);
  }
  at = bytes.writeUInt32LE(table.length, at);
  at = bytes.writeUInt8(0, at);
  bytes.writeUInt32LE(SEEKABLE_MAGIC, at);
  return bytes;
}

/**
 * The compressed frames, whole, up to the seek table, which has to be there and to count them. Split here
 * because Node's decompressor takes the end of the first frame for the end of everything.
 */
async function* splitFrames(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let buffer = Buffer.alloc(0);
  let frames = 0;
  let hasTable = false;
  for await (const chunk of chunks) {
    buffer = buffer.length === 0 ? Buffer.from(chunk) : Buffer.concat([buffer, chunk]);
    for (;;) {
      if (buffer.length > MAX_FRAME_BYTES) throw new SealedRecordingError("a frame is too long");
      if (hasTable && buffer.length > 0) throw new SealedRecordingError("bytes after the end");
      const length = frameLength(buffer);
      if (length === undefined || length > buffer.length) break;
      const frame = buffer.subarray(0, length);
      buffer = buffer.subarray(length);
      if (frame.readUInt32LE(0) === SKIPPABLE_MAGIC) {
        hasTable = frame.length === 17 + frames * 8 && frame.readUInt32LE(length - 9) === frames;
        if (!hasTable) throw new SealedRecordingError("frames are missing");
      } else {
        frames++;
        yield frame;
      }
    }
  }
  if (!hasTable || buffer.length > 0) throw new SealedRecordingError("the end is missing");
}

/** Of the frame at the start (RFC 8878, section 3.1); undefined when there is too little to tell. */
function frameLength(bytes: Buffer): number | undefined {
  if (bytes.length < 9) return undefined;
  const magic = bytes.readUInt32LE(0);
  if (magic === SKIPPABLE_MAGIC) return 8 + bytes.readUInt32LE(4);
  if (magic !== ZSTD_MAGIC) throw new SealedRecordingError("not a zstd frame");
  const descriptor = bytes.readUInt8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const contentSize = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  let at = 5 + (isSingleSegment ? 0 : 1) + dictionary + contentSize;
  for (;;) {
    if (at + 3 > bytes.length) return undefined;
    const block = bytes.readUIntLE(at, 3);
    const isRepeated = ((block >> 1) & 3) === 1;
    at += 3 + (isRepeated ? 1 : block >> 3);
    if ((block & 1) === 1) return at + ((descriptor & 0x04) === 0 ? 0 : 4);
  }
}

function parseEvent(line: string): RecordingEvent {
  try {
    const event = JSON.parse(line) as RecordingEvent;
    if (typeof event.t === "number" && typeof event.kind === "string") return event;
  } catch (cause) {
    throw new SealedRecordingError("a line is not JSON", { cause });
  }
  throw new SealedRecordingError("a line is not a recording event");
}
