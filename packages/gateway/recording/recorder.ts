// The recorder of one session, on the data path. What it is given is copied at once into a buffer that
// is sealed (content-format.ts) into the journal when it is full, before a strict barrier's write, and
// within the time the journal flushes ordered records in. So a command recorded before its intent's
// strict barrier is on disk with it; nobody has to ask.
//
// Owns the session's key and counter. A gathered buffer comes from a small pool, for idle sessions are
// many and need none; it is a small one until there is more to gather, for busy sessions are many too and
// most have a command or two between flushes.

import { createHash, createSecretKey, type KeyObject } from "node:crypto";
import type {
  RecordingLevel,
  RecordingStream,
  TypedEvent,
} from "@custody/evidence/core/recording.ts";
import { encodeParameters } from "@custody/evidence/node/command-digest.ts";
import {
  FRAME_COMMAND,
  FRAME_COMMAND_DIGEST,
  FRAME_DATA,
  FRAME_END,
  FRAME_EVENT,
  FRAME_GOES_ON,
  FRAME_RESPONSE,
  FRAME_START,
  FRAME_TRUNCATED,
  FRAME_TYPED,
} from "@custody/evidence/node/recording-format.ts";
import type { RecordingSummary } from "@custody/evidence/node/recording-reader.ts";
import { isSessionId } from "../audit/content-store.ts";
import type { Journal } from "../audit/journal.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { RandomBytes } from "../base/ids.ts";
import type { RecordingMode } from "../policy/annotations.ts";
import { type Ahead, type Behind, createAhead } from "./ahead.ts";
import { type BoundedStream, createBoundedStream } from "./bounded-stream.ts";
import {
  digestPayload,
  keyPiece,
  MIN_COMPRESSED_BYTES,
  packPiece,
  sealPiece,
  streamHead,
} from "./content-format.ts";
import type { RecordingKeys } from "./recording-keys.ts";

export interface Recorder {
  /** The command as it was sent. Recorded before a strict barrier, it is durable with it. */
  command(
    requestId: string,
    text: Buffer | string,
    parameters: readonly (Buffer | null)[] | undefined,
    level?: RecordingLevel,
  ): void;
  /** Bytes as the client gets them, after masks. Copied before this returns. */
  response(requestId: string, bytes: Buffer, level?: RecordingLevel): void;
  /** A typed event: what runs, its terminal and end, SFTP and HTTP. `exit` ends its channel's streams. */
  typed(event: TypedEvent): void;
  /** Bytes of a channel's stream, as the client sends or gets them. Copied before this returns. */
  data(
    requestId: string,
    channel: number,
    stream: RecordingStream,
    bytes: Buffer,
    level?: RecordingLevel,
  ): void;
  /** No more data of this request on this channel; says what was beyond the limit. */
  endData(requestId: string, channel: number): void;
  /** Notices to the client, holds, denials, the end of a command: small. */
  event(requestId: string | undefined, type: string, data: Record<string, unknown>): void;
  /** A command was let through, and how far its client may be ahead of the disk (ahead.ts). */
  begin(requestId: string, mode: RecordingMode | undefined): void;
  /** It has its outcome. */
  finish(requestId: string): void;
  /**
   * Back-pressure: true when more may be recorded at once. False when what is not yet on disk has reached
   * its bound: then `done` is called once when it is, and until then nothing more is to be read.
   */
  room(done: () => void): boolean;
  /**
   * Whether the client may be given what was recorded last. False when some of it has to be on disk before:
   * then `done` is called once when it is. Never called when the session is closed for it.
   */
  delivery(done: () => void): boolean;
  /** Who ends the session when its recording is further behind the disk than its commands' modes allow. */
  onBehind(end: (error: GatewayError) => void): void;
  /**
   * Seals what is left. The summary belongs in the detail of the session's `session.closed` leaf: it ties
   * the whole recording to the log. Later calls do nothing and give the same.
   */
  end(): RecordingSummary;
}

type RecorderJournal = Pick<Journal, "append" | "appendContent" | "barrier" | "beforeFlush">;

export interface RecorderDeps {
  readonly journal: RecorderJournal;
  readonly clock: Clock;
  readonly keys: RecordingKeys;
  readonly random: RandomBytes;
}

export interface RecordedSession {
  readonly sessionId: string;
  /** The stable subject of the chain's root: whose recording it is when it comes to erasing. */
  readonly subject: string;
  /** Goes into the first event: names for people, target, address. Erased with the content. */
  readonly data: Readonly<Record<string, unknown>>;
  /** Of one command's response, and of one stream of data; beyond it a digest and a count are recorded.
   * Default 1 MiB. */
  readonly maxResponseBytes?: number;
  /** How much may be on its way to the disk before `room` says no. Default 1 MiB. */
  readonly maxAheadBytes?: number;
}

const SMALL_BUFFER_BYTES = 4 << 10;
const BUFFER_BYTES = 64 << 10;
const POOLED_SMALL_BUFFERS = 256;
const POOLED_BUFFERS = 16;
/** Pieces after one that could not be compressed. */
const NOT_TRIED = 15;
const DEFAULT_MAX_RESPONSE_BYTES = 1 << 20;
const DEFAULT_MAX_AHEAD_BYTES = 1 << 20;
/** Kind, time, length of the request's id, length. */
const FRAME_HEAD_BYTES = 10;
/** More at a time than any channel limit allows: a caller that does not end its data loses no memory. */
const MAX_STREAMS = 4096;
/** Its length is one byte. */
const MAX_ID_BYTES = 0xff;
const NOTHING = Buffer.alloc(0);
/** Of the command at hand, and copied at once: one buffer serves all. */
const commandLength = Buffer.alloc(4);

const smallPool: Buffer[] = [];
const pool: Buffer[] = [];

export function openRecorder(deps: RecorderDeps, session: RecordedSession): Recorder {
  if (!isSessionId(session.sessionId)) {
    throw new GatewayError("internal", "a session id that cannot name a recording");
  }
  return new SessionRecorder(deps, session);
}

interface OpenStream {
  readonly requestId: string;
  readonly channel: number;
  readonly head: Buffer;
  readonly kept: BoundedStream;
}

class SessionRecorder implements Recorder {
  readonly #journal: RecorderJournal;
  readonly #clock: Clock;
  readonly #sessionId: string;
  /** A key object: made once, it spares each piece two thirds of what sealing costs. */
  readonly #key: KeyObject;
  readonly #context: Buffer;
  readonly #startedMs: number;
  readonly #maxResponseBytes: number;

  #buffer: Buffer | undefined;
  #length = 0;
  #isAnnounced = false;
  #counter = 0;
  /** So many pieces are not tried to be compressed. */
  #incompressible = 0;
  /** As latin1 text. */
  #digest = "\0".repeat(32);

  readonly #ahead: Ahead;
  #endBehind: (error: GatewayError) => void = () => undefined;

  // The response being recorded.
  #request = "";
  #response: BoundedStream | undefined;
  /** By request, channel and stream. */
  readonly #streams = new Map<string, OpenStream>();
  #summary: RecordingSummary | undefined;

  constructor(deps: RecorderDeps, session: RecordedSession) {
    this.#journal = deps.journal;
    this.#clock = deps.clock;
    this.#sessionId = session.sessionId;
    this.#context = Buffer.from(session.sessionId, "latin1");
    const key = deps.random(32);
    this.#key = createSecretKey(key);
    this.#startedMs = deps.clock.monotonicMs();
    this.#maxResponseBytes = session.maxResponseBytes ?? DEFAULT_MAX_RESPONSE_BYTES;
    this.#ahead = createAhead({
      ...{ journal: deps.journal, clock: deps.clock },
      maxAheadBytes: session.maxAheadBytes ?? DEFAULT_MAX_AHEAD_BYTES,
      onBehind: (behind) => this.#isBehind(behind),
    });
    const wrapped = keyPiece(deps.keys.wrap(session.sessionId, session.subject, key));
    key.fill(0);
    this.#journal.appendContent(session.sessionId, wrapped);
    this.#put(FRAME_START, "", Buffer.from(JSON.stringify(session.data), "utf8"));
  }

  command(
    requestId: string,
    text: Buffer | string,
    parameters: readonly (Buffer | null)[] | undefined,
    level: RecordingLevel = "full",
  ): void {
    const bytes = typeof text === "string" ? Buffer.from(text, "utf8") : text;
    const tail = parameters === undefined ? NOTHING : encodeParameters(parameters);
    if (level === "digest") {
      const after = parameters === undefined ? undefined : sha256(tail);
      this.#put(FRAME_COMMAND_DIGEST, requestId, digestPayload(bytes.length, sha256(bytes), after));
      return;
    }
    putUint32(commandLength, bytes.length, 0);
    this.#putParts(FRAME_COMMAND, requestId, commandLength, bytes, tail);
  }

  response(requestId: string, bytes: Buffer, level: RecordingLevel = "full"): void {
    if (requestId !== this.#request) {
      this.#endResponse();
      this.#request = requestId;
    }
    this.#response ??= createBoundedStream(level === "full" ? this.#maxResponseBytes : 0);
    const kept = this.#response.keep(bytes);
    if (kept.length > 0) this.#put(FRAME_RESPONSE, requestId, kept);
    this.#ahead.mark(requestId);
  }

  typed(event: TypedEvent): void {
    if (event.kind === "exit") this.endData(event.request, event.channel);
    this.#put(FRAME_TYPED, event.request, Buffer.from(JSON.stringify(event), "utf8"));
    this.#ahead.mark(event.request);
  }

  data(
    requestId: string,
    channel: number,
    stream: RecordingStream,
    bytes: Buffer,
    level: RecordingLevel = "full",
  ): void {
    const key = `${channel} ${stream} ${requestId}`;
    let open = this.#streams.get(key);
    if (open === undefined) {
      if (this.#streams.size >= MAX_STREAMS) this.#endStreams(() => true);
      const kept = createBoundedStream(level === "full" ? this.#maxResponseBytes : 0);
      open = { requestId, channel, head: streamHead(channel, stream), kept };
      this.#streams.set(key, open);
    }
    const kept = open.kept.keep(bytes);
    if (kept.length > 0) this.#putParts(FRAME_DATA, requestId, open.head, kept, NOTHING);
    this.#ahead.mark(requestId);
  }

  endData(requestId: string, channel: number): void {
    if (this.#streams.size === 0) return;
    this.#endStreams((open) => open.requestId === requestId && open.channel === channel);
  }

  event(requestId: string | undefined, type: string, data: Record<string, unknown>): void {
    if (requestId === this.#request) this.#endRest();
    this.#put(FRAME_EVENT, requestId ?? "", Buffer.from(JSON.stringify({ type, data }), "utf8"));
  }

  begin(requestId: string, mode: RecordingMode | undefined): void {
    if (mode !== undefined) this.#ahead.begin(requestId, mode);
  }

  finish(requestId: string): void {
    this.#ahead.finish(requestId);
  }

  room(done: () => void): boolean {
    return this.#ahead.room(done);
  }

  delivery(done: () => void): boolean {
    return this.#ahead.delivery(done);
  }

  onBehind(end: (error: GatewayError) => void): void {
    this.#endBehind = end;
  }

  end(): RecordingSummary {
    if (this.#summary === undefined) {
      this.#ahead.close();
      this.#endResponse();
      this.#endStreams(() => true);
      this.#put(FRAME_END, "", NOTHING);
      this.#seal();
      this.#summary = {
        pieces: this.#counter,
        digest: Buffer.from(this.#digest, "latin1").toString("hex"),
      };
    }
    return this.#summary;
  }

  #endResponse(): void {
    this.#endRest();
    this.#request = "";
    this.#response = undefined;
  }

  /** What was beyond the response's limit so far; what follows in the same response is counted anew. */
  #endRest(): void {
    const rest = this.#response?.rest();
    if (rest === undefined) return;
    this.#response = createBoundedStream(0);
    this.#put(FRAME_TRUNCATED, this.#request, digestPayload(rest.length, rest.digest));
  }

  #endStreams(isIt: (open: OpenStream) => boolean): void {
    for (const [key, open] of this.#streams) {
      if (!isIt(open)) continue;
      this.#streams.delete(key);
      const rest = open.kept.rest();
      if (rest === undefined) continue;
      const payload = digestPayload(rest.length, rest.digest, open.head);
      this.#put(FRAME_TRUNCATED, open.requestId, payload);
    }
  }

  /** In the log, whenever the disk takes it; and to who has the session. */
  #isBehind({ allowedMs, bytes }: Behind): void {
    const session = this.#sessionId;
    this.#journal.append({ event: "recording.behind", session, detail: { allowedMs, bytes } });
    this.#endBehind(
      new GatewayError(
        "evidence_unavailable",
        `the recording of this session was not on disk after ${allowedMs} ms, which is as long as a policy allows; the session was closed`,
        { hint: "what was running may or may not have taken effect; connect again" },
      ),
    );
  }

  /** Writes one frame, in as many parts as the buffers need. */
  #put(kind: number, requestId: string, payload: Buffer): void {
    if (this.#summary !== undefined) return;
    const overhead = FRAME_HEAD_BYTES + requestId.length;
    let at = 0;
    do {
      // A part of a few bytes is not worth a frame.
      const wanted = overhead + Math.min(payload.length - at, 256);
      if (this.#length + wanted > BUFFER_BYTES) this.#seal();
      const buffer = this.#gather(overhead + payload.length - at);
      const part = Math.min(payload.length - at, buffer.length - this.#length - overhead);
      const goesOn = at + part < payload.length ? FRAME_GOES_ON : 0;
      const end = this.#beginFrame(buffer, kind | goesOn, requestId, part);
      this.#length = end + payload.copy(buffer, end, at, at + part);
      at += part;
    } while (at < payload.length);
  }

  /** One frame of three parts; into the buffer at once where there is room, which is nearly always. */
  #putParts(kind: number, requestId: string, first: Buffer, second: Buffer, third: Buffer): void {
    if (this.#summary !== undefined) return;
    const length = first.length + second.length + third.length;
    const wanted = FRAME_HEAD_BYTES + requestId.length + length;
    if (this.#length + wanted > BUFFER_BYTES) {
      this.#put(kind, requestId, Buffer.concat([first, second, third]));
      return;
    }
    const buffer = this.#gather(wanted);
    let end = this.#beginFrame(buffer, kind, requestId, length);
    end += first.copy(buffer, end);
    end += second.copy(buffer, end);
    this.#length = end + third.copy(buffer, end);
  }

  /** Where its payload goes. */
  #beginFrame(buffer: Buffer, kind: number, requestId: string, length: number): number {
    const t = Math.max(0, Math.floor(this.#clock.monotonicMs() - this.#startedMs));
    const idLength = requestId.length;
    if (idLength > MAX_ID_BYTES) throw new GatewayError("internal", "a request id is too long");
    // Byte by byte: a few are written sooner than the C++ behind Buffer's methods is called.
    let end = this.#length;
    buffer[end++] = kind;
    end = putUint32(buffer, t, end);
    buffer[end++] = idLength;
    for (let index = 0; index < idLength; index++) buffer[end++] = requestId.charCodeAt(index);
    this.#ahead.add(length);
    return putUint32(buffer, length, end);
  }

  /** The buffer, with room for so many more bytes where the largest has it. */
  #gather(bytes: number): Buffer {
    if (!this.#isAnnounced) {
      this.#isAnnounced = true;
      this.#journal.beforeFlush(this.#onFlush);
    }
    const before = this.#buffer;
    if (
      before !== undefined &&
      (before.length === BUFFER_BYTES || this.#length + bytes <= before.length)
    )
      return before;
    const isSmall = this.#length + bytes <= SMALL_BUFFER_BYTES;
    const buffer = isSmall
      ? (smallPool.pop() ?? Buffer.allocUnsafeSlow(SMALL_BUFFER_BYTES))
      : (pool.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES));
    if (before !== undefined) {
      before.copy(buffer, 0, 0, this.#length);
      release(before);
    }
    this.#buffer = buffer;
    return buffer;
  }

  #pack(plain: Buffer): ReturnType<typeof packPiece> {
    if (this.#incompressible > 0) {
      this.#incompressible--;
      return { bytes: plain, isCompressed: false };
    }
    const packed = packPiece(plain);
    // What is compressed or encrypted already goes on being it.
    if (!packed.isCompressed && plain.length >= MIN_COMPRESSED_BYTES)
      this.#incompressible = NOT_TRIED;
    return packed;
  }

  readonly #onFlush = (): void => {
    this.#isAnnounced = false;
    this.#seal();
  };

  #seal(): void {
    const buffer = this.#buffer;
    if (buffer === undefined || this.#summary !== undefined) return;
    const plain = buffer.subarray(0, this.#length);
    const sealed = sealPiece(
      this.#key,
      this.#context,
      ++this.#counter,
      this.#pack(plain),
      this.#digest,
    );
    this.#digest = sealed.digest;
    this.#journal.appendContent(this.#sessionId, sealed.piece);
    this.#buffer = undefined;
    this.#length = 0;
    release(buffer);
  }
}

/** Big-endian; returns the place after it. */
function putUint32(buffer: Buffer, value: number, at: number): number {
  buffer[at] = value >>> 24;
  buffer[at + 1] = value >>> 16;
  buffer[at + 2] = value >>> 8;
  buffer[at + 3] = value;
  return at + 4;
}

function release(buffer: Buffer): void {
  if (buffer.length === BUFFER_BYTES) {
    if (pool.length < POOLED_BUFFERS) pool.push(buffer);
  } else if (smallPool.length < POOLED_SMALL_BUFFERS) smallPool.push(buffer);
}

function sha256(bytes: Buffer): Buffer {
  return createHash("sha256").update(bytes).digest();
}
