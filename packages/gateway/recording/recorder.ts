// The recorder of one session, on the data path. What it is given is copied at once into a buffer that
// is sealed (content-format.ts) into the journal when it is full, before a strict barrier's write, and
// within the time the journal flushes ordered records in. So a command recorded before its intent's
// strict barrier is on disk with it; nobody has to ask.
//
// Owns the session's key and counter. A gathered buffer comes from a small pool, for idle sessions are
// many and need none.

import { createHash, createSecretKey, type KeyObject } from "node:crypto";
import type {
  RecordingLevel,
  RecordingStream,
  TypedEvent,
} from "@custody/evidence/core/recording.ts";
import { encodeParameters } from "@custody/evidence/node/command-digest.ts";
import {
  chainDigest,
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
import { type BoundedStream, createBoundedStream } from "./bounded-stream.ts";
import { digestPayload, keyPiece, sealPiece, streamHead } from "./content-format.ts";
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
  /**
   * Back-pressure: true when more may be recorded at once. False when what is not yet on disk has reached
   * its bound: then `done` is called once when it is, and until then nothing more is to be read.
   */
  room(done: () => void): boolean;
  /**
   * Seals what is left. The summary belongs in the detail of the session's `session.closed` leaf: it ties
   * the whole recording to the log. Later calls do nothing and give the same.
   */
  end(): RecordingSummary;
}

export interface RecorderDeps {
  readonly journal: Pick<Journal, "appendContent" | "barrier" | "beforeFlush">;
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

const BUFFER_BYTES = 64 << 10;
const POOLED_BUFFERS = 16;
const DEFAULT_MAX_RESPONSE_BYTES = 1 << 20;
const DEFAULT_MAX_AHEAD_BYTES = 1 << 20;
/** More at a time than any channel limit allows: a caller that does not end its data loses no memory. */
const MAX_STREAMS = 4096;
const NOTHING = Buffer.alloc(0);

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
  readonly #journal: Pick<Journal, "appendContent" | "barrier" | "beforeFlush">;
  readonly #clock: Clock;
  readonly #sessionId: string;
  /** A key object: made once, it spares each piece two thirds of what sealing costs. */
  readonly #key: KeyObject;
  readonly #startedMs: number;
  readonly #maxResponseBytes: number;

  #buffer: Buffer | undefined;
  #length = 0;
  #isAnnounced = false;
  #counter = 0;
  #digest: Buffer = Buffer.alloc(32);

  readonly #maxAheadBytes: number;
  /** Written since the last time everything was known to be on disk. */
  #aheadBytes = 0;
  #waiting: (() => void)[] = [];

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
    const key = deps.random(32);
    this.#key = createSecretKey(key);
    this.#startedMs = deps.clock.monotonicMs();
    this.#maxResponseBytes = session.maxResponseBytes ?? DEFAULT_MAX_RESPONSE_BYTES;
    this.#maxAheadBytes = session.maxAheadBytes ?? DEFAULT_MAX_AHEAD_BYTES;
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
    const length = Buffer.allocUnsafe(4);
    length.writeUInt32BE(bytes.length, 0);
    this.#put(FRAME_COMMAND, requestId, Buffer.concat([length, bytes, tail]));
  }

  response(requestId: string, bytes: Buffer, level: RecordingLevel = "full"): void {
    if (requestId !== this.#request) {
      this.#endResponse();
      this.#request = requestId;
    }
    this.#response ??= createBoundedStream(level === "full" ? this.#maxResponseBytes : 0);
    const kept = this.#response.keep(bytes);
    if (kept.length > 0) this.#put(FRAME_RESPONSE, requestId, kept);
  }

  typed(event: TypedEvent): void {
    if (event.kind === "exit") this.endData(event.request, event.channel);
    this.#put(FRAME_TYPED, event.request, Buffer.from(JSON.stringify(event), "utf8"));
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
    if (kept.length > 0) this.#put(FRAME_DATA, requestId, Buffer.concat([open.head, kept]));
  }

  endData(requestId: string, channel: number): void {
    if (this.#streams.size === 0) return;
    this.#endStreams((open) => open.requestId === requestId && open.channel === channel);
  }

  event(requestId: string | undefined, type: string, data: Record<string, unknown>): void {
    if (requestId === this.#request) this.#endRest();
    this.#put(FRAME_EVENT, requestId ?? "", Buffer.from(JSON.stringify({ type, data }), "utf8"));
  }

  room(done: () => void): boolean {
    if (this.#aheadBytes <= this.#maxAheadBytes) return true;
    this.#waiting.push(done);
    if (this.#waiting.length === 1) this.#journal.barrier("strict", this.#onDurable);
    return false;
  }

  end(): RecordingSummary {
    if (this.#summary === undefined) {
      this.#endResponse();
      this.#endStreams(() => true);
      this.#put(FRAME_END, "", NOTHING);
      this.#seal();
      this.#summary = { pieces: this.#counter, digest: this.#digest.toString("hex") };
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

  readonly #onDurable = (): void => {
    this.#aheadBytes = this.#length;
    for (const done of this.#waiting.splice(0)) done();
  };

  /** Writes one frame, in as many parts as the buffers need. */
  #put(kind: number, requestId: string, payload: Buffer): void {
    if (this.#summary !== undefined) return;
    const t = Math.max(0, Math.floor(this.#clock.monotonicMs() - this.#startedMs));
    const overhead = 10 + requestId.length;
    let at = 0;
    do {
      // A part of a few bytes is not worth a frame.
      const wanted = overhead + Math.min(payload.length - at, 256);
      if (this.#buffer !== undefined && this.#length + wanted > BUFFER_BYTES) this.#seal();
      const buffer = this.#gather();
      const part = Math.min(payload.length - at, BUFFER_BYTES - this.#length - overhead);
      const goesOn = at + part < payload.length ? FRAME_GOES_ON : 0;
      let end = buffer.writeUInt8(kind | goesOn, this.#length);
      end = buffer.writeUInt32BE(t, end);
      end = buffer.writeUInt8(requestId.length, end);
      end += buffer.write(requestId, end, "latin1");
      end = buffer.writeUInt32BE(part, end);
      this.#length = end + payload.copy(buffer, end, at, at + part);
      this.#aheadBytes += part;
      at += part;
    } while (at < payload.length);
  }

  #gather(): Buffer {
    this.#buffer ??= pool.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
    if (!this.#isAnnounced) {
      this.#isAnnounced = true;
      this.#journal.beforeFlush(this.#onFlush);
    }
    return this.#buffer;
  }

  readonly #onFlush = (): void => {
    this.#isAnnounced = false;
    this.#seal();
  };

  #seal(): void {
    const buffer = this.#buffer;
    if (buffer === undefined || this.#summary !== undefined) return;
    const plain = buffer.subarray(0, this.#length);
    const piece = sealPiece(this.#key, this.#sessionId, ++this.#counter, plain);
    this.#digest = chainDigest(this.#digest, piece);
    this.#journal.appendContent(this.#sessionId, piece);
    this.#buffer = undefined;
    this.#length = 0;
    if (pool.length < POOLED_BUFFERS) pool.push(buffer);
  }
}

function sha256(bytes: Buffer): Buffer {
  return createHash("sha256").update(bytes).digest();
}
