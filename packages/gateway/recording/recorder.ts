// The recorder of one session, on the data path. What it is given is copied at once into a buffer that
// is sealed (content-format.ts) into the journal when it is full, before a strict barrier's write, and
// within the time the journal flushes ordered records in. So a command recorded before its intent's
// strict barrier is on disk with it; nobody has to ask.
//
// Owns the session's key and counter. A gathered buffer comes from a small pool, for idle sessions are
// many and need none.

import { createHash, createSecretKey, type Hash, type KeyObject } from "node:crypto";
import { isSessionId } from "../audit/content-store.ts";
import type { Journal } from "../audit/journal.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { RandomBytes } from "../base/ids.ts";
import {
  chainDigest,
  FRAME_COMMAND,
  FRAME_END,
  FRAME_EVENT,
  FRAME_GOES_ON,
  FRAME_RESPONSE,
  FRAME_START,
  FRAME_TRUNCATED,
  keyPiece,
  sealPiece,
} from "./content-format.ts";
import { encodeParameters } from "./digest.ts";
import type { RecordingKeys } from "./recording-keys.ts";

export interface Recorder {
  /** The command as it was sent. Recorded before a strict barrier, it is durable with it. */
  command(
    requestId: string,
    text: Buffer | string,
    parameters: readonly (Buffer | null)[] | undefined,
  ): void;
  /** Bytes as the client gets them, after masks. Copied before this returns. */
  response(requestId: string, bytes: Buffer): void;
  /** Notices to the client, holds, denials, the end of a command: small. */
  event(requestId: string | undefined, type: string, data: Record<string, unknown>): void;
  /** Seals what is left. Later calls do nothing and give the same summary. */
  end(): RecordingSummary;
}

/** Belongs in the detail of the session's `session.closed` leaf: it ties the whole recording to the log. */
export interface RecordingSummary {
  readonly pieces: number;
  /** Hex; see content-format.ts, `chainDigest`. */
  readonly digest: string;
}

export interface RecorderDeps {
  readonly journal: Pick<Journal, "appendContent" | "beforeFlush">;
  readonly clock: Clock;
  readonly keys: RecordingKeys;
  readonly random: RandomBytes;
}

export interface RecordedSession {
  readonly sessionId: string;
  /** Goes into the first event: names for people, target, address. Erased with the content. */
  readonly data: Readonly<Record<string, unknown>>;
  /** Of one command's response; beyond it a digest and a count are recorded. Default 1 MiB. */
  readonly maxResponseBytes?: number;
}

const BUFFER_BYTES = 64 << 10;
const POOLED_BUFFERS = 16;
const DEFAULT_MAX_RESPONSE_BYTES = 1 << 20;
const NOTHING = Buffer.alloc(0);

const pool: Buffer[] = [];

export function openRecorder(deps: RecorderDeps, session: RecordedSession): Recorder {
  if (!isSessionId(session.sessionId)) {
    throw new GatewayError("internal", "a session id that cannot name a recording");
  }
  return new SessionRecorder(deps, session);
}

class SessionRecorder implements Recorder {
  readonly #journal: Pick<Journal, "appendContent" | "beforeFlush">;
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

  // The response being recorded, and what is beyond its limit.
  #request = "";
  #responseBytes = 0;
  #restBytes = 0;
  #rest: Hash | undefined;
  #summary: RecordingSummary | undefined;

  constructor(deps: RecorderDeps, session: RecordedSession) {
    this.#journal = deps.journal;
    this.#clock = deps.clock;
    this.#sessionId = session.sessionId;
    const key = deps.random(32);
    this.#key = createSecretKey(key);
    this.#startedMs = deps.clock.monotonicMs();
    this.#maxResponseBytes = session.maxResponseBytes ?? DEFAULT_MAX_RESPONSE_BYTES;
    const wrapped = keyPiece(deps.keys.wrap(session.sessionId, key));
    key.fill(0);
    this.#journal.appendContent(session.sessionId, wrapped);
    this.#put(FRAME_START, "", Buffer.from(JSON.stringify(session.data), "utf8"));
  }

  command(
    requestId: string,
    text: Buffer | string,
    parameters: readonly (Buffer | null)[] | undefined,
  ): void {
    const bytes = typeof text === "string" ? Buffer.from(text, "utf8") : text;
    const length = Buffer.allocUnsafe(4);
    length.writeUInt32BE(bytes.length, 0);
    const tail = parameters === undefined ? NOTHING : encodeParameters(parameters);
    this.#put(FRAME_COMMAND, requestId, Buffer.concat([length, bytes, tail]));
  }

  response(requestId: string, bytes: Buffer): void {
    if (requestId !== this.#request) {
      this.#endResponse();
      this.#request = requestId;
    }
    const room = this.#maxResponseBytes - this.#responseBytes;
    if (bytes.length <= room) {
      this.#responseBytes += bytes.length;
      this.#put(FRAME_RESPONSE, requestId, bytes);
      return;
    }
    if (room > 0) {
      this.#responseBytes += room;
      this.#put(FRAME_RESPONSE, requestId, bytes.subarray(0, room));
    }
    this.#rest ??= createHash("sha256");
    this.#rest.update(room > 0 ? bytes.subarray(room) : bytes);
    this.#restBytes += bytes.length - Math.max(0, room);
  }

  event(requestId: string | undefined, type: string, data: Record<string, unknown>): void {
    if (requestId === this.#request) this.#endRest();
    this.#put(FRAME_EVENT, requestId ?? "", Buffer.from(JSON.stringify({ type, data }), "utf8"));
  }

  end(): RecordingSummary {
    if (this.#summary === undefined) {
      this.#endResponse();
      this.#put(FRAME_END, "", NOTHING);
      this.#seal();
      this.#summary = { pieces: this.#counter, digest: this.#digest.toString("hex") };
    }
    return this.#summary;
  }

  #endResponse(): void {
    this.#endRest();
    this.#request = "";
    this.#responseBytes = 0;
  }

  #endRest(): void {
    if (this.#rest === undefined) return;
    const payload = Buffer.alloc(8 + 32);
    payload.writeBigUInt64BE(BigInt(this.#restBytes), 0);
    this.#rest.digest().copy(payload, 8);
    this.#rest = undefined;
    this.#restBytes = 0;
    this.#put(FRAME_TRUNCATED, this.#request, payload);
  }

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
