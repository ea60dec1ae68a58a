// WebSocket frames (RFC 6455 section 5) as relays need them: taken apart one by one, each forwarded as the
// frame it was, masked anew. And what Kubernetes says in them: the first byte of a binary message is its
// channel (k8s.io/apimachinery, remotecommand; v4 and v5 of channel.k8s.io).

import { createHash } from "node:crypto";
import { Gathered } from "../bytes/gathered.ts";
import { KubernetesWireError } from "./errors.ts";

export interface WebSocketFrame {
  readonly isFinal: boolean;
  readonly opcode: number;
  /** Unmasked. */
  readonly payload: Buffer;
}

export const OPCODE_CONTINUATION = 0x0;
export const OPCODE_TEXT = 0x1;
export const OPCODE_BINARY = 0x2;
export const OPCODE_CLOSE = 0x8;
export const OPCODE_PING = 0x9;
export const OPCODE_PONG = 0xa;

export const CHANNEL_STDIN = 0;
export const CHANNEL_STDOUT = 1;
export const CHANNEL_STDERR = 2;
/** A Status, when the process ended or never began. */
export const CHANNEL_ERROR = 3;
export const CHANNEL_RESIZE = 4;
/** v5: the next byte is the channel that is closed. */
export const CHANNEL_CLOSE = 255;

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MAX_CONTROL_BYTES = 125;
const NOTHING = Buffer.alloc(0);

/** Section 4.2.2, of the client's Sec-WebSocket-Key. */
export function acceptKey(key: string): string {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}

/** Frames out of a stream of bytes. `push` returns those that are complete. Throws KubernetesWireError. */
export class WebSocketReader {
  readonly #isFromClient: boolean;
  readonly #maxFrameBytes: number;
  readonly #gathered = new Gathered();
  /** So many bytes, from the beginning of a frame on, say more than what is known of it. */
  #needed = 2;
  #rest: Buffer = NOTHING;
  /** In the middle of a message of several frames. */
  #isOpen = false;

  constructor(from: "client" | "server", maxFrameBytes: number) {
    this.#isFromClient = from === "client";
    this.#maxFrameBytes = maxFrameBytes;
  }

  push(chunk: Buffer): WebSocketFrame[] {
    this.#gathered.add(chunk);
    const frames: WebSocketFrame[] = [];
    // A frame in crumbs is put together once, not with each of them.
    if (this.#gathered.length < this.#needed) return frames;
    this.#rest = this.#gathered.take();
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) frames.push(frame);
    this.#gathered.add(this.#rest);
    this.#rest = NOTHING;
    return frames;
  }

  #next(): WebSocketFrame | undefined {
    const bytes = this.#rest;
    if (!this.#has(2)) return undefined;
    const [first = 0, second = 0] = bytes;
    const opcode = first & 0x0f;
    const isFinal = (first & 0x80) !== 0;
    const isMasked = (second & 0x80) !== 0;
    this.#check(first, opcode, isFinal, second & 0x7f);
    if (isMasked !== this.#isFromClient) throw new KubernetesWireError("a frame is masked wrongly");
    let length = second & 0x7f;
    let at = 2;
    if (length === 126) {
      if (!this.#has(4)) return undefined;
      length = bytes.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (!this.#has(10)) return undefined;
      if (bytes.readUInt32BE(2) !== 0) throw new KubernetesWireError("a frame is too large");
      length = bytes.readUInt32BE(6);
      at = 10;
    }
    if (length > this.#maxFrameBytes) throw new KubernetesWireError("a frame is too large");
    const start = isMasked ? at + 4 : at;
    if (!this.#has(start + length)) return undefined;
    const payload = Buffer.from(bytes.subarray(start, start + length));
    if (isMasked) mask(payload, bytes.subarray(at, at + 4));
    this.#rest = bytes.subarray(start + length);
    if (opcode < OPCODE_CLOSE) this.#isOpen = !isFinal;
    return { isFinal, opcode, payload };
  }

  #has(count: number): boolean {
    this.#needed = count;
    return this.#rest.length >= count;
  }

  #check(first: number, opcode: number, isFinal: boolean, length: number): void {
    if ((first & 0x70) !== 0) throw new KubernetesWireError("a frame has reserved bits");
    const isControl = opcode >= OPCODE_CLOSE;
    if (isControl && (opcode > OPCODE_PONG || !isFinal || length > MAX_CONTROL_BYTES))
      throw new KubernetesWireError("a control frame is none");
    if (!isControl && opcode > OPCODE_BINARY)
      throw new KubernetesWireError("a frame has an unknown opcode");
    if (!isControl && (opcode === OPCODE_CONTINUATION) !== this.#isOpen)
      throw new KubernetesWireError("a message goes on that did not begin, or does not go on");
  }
}

/**
 * Messages out of frames: what is in several becomes one (section 5.4). Some readers of Kubernetes take each
 * frame for a message, whose first byte would be a channel: sent on whole, it has one reading.
 */
export class WebSocketMessages {
  readonly #maxBytes: number;
  #opcode = OPCODE_BINARY;
  readonly #gathered = new Gathered();

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** A frame of a WebSocketReader; undefined: its message goes on. Throws KubernetesWireError. */
  take(frame: WebSocketFrame): WebSocketFrame | undefined {
    const { isFinal, opcode, payload } = frame;
    if (opcode >= OPCODE_CLOSE) return frame;
    if (opcode !== OPCODE_CONTINUATION) {
      if (isFinal) return frame;
      this.#opcode = opcode;
    }
    this.#gathered.add(payload);
    if (this.#gathered.length > this.#maxBytes)
      throw new KubernetesWireError("a message is too large");
    if (!isFinal) return undefined;
    return { isFinal: true, opcode: this.#opcode, payload: this.#gathered.take() };
  }
}

/** `key`: four random bytes, for a frame from a client; undefined: from a server. */
export function encodeWebSocketFrame(
  { isFinal, opcode, payload }: WebSocketFrame,
  key: Buffer | undefined,
): Buffer {
  const { length } = payload;
  const size = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const head = Buffer.alloc(size);
  head[0] = (isFinal ? 0x80 : 0) | opcode;
  head[1] = (key === undefined ? 0 : 0x80) | (size === 2 ? length : size === 4 ? 126 : 127);
  if (size === 4) head.writeUInt16BE(length, 2);
  if (size === 10) head.writeBigUInt64BE(BigInt(length), 2);
  if (key === undefined) return Buffer.concat([head, payload]);
  const masked = Buffer.from(payload);
  mask(masked, key);
  return Buffer.concat([head, key, masked]);
}

/** One message of a channel, from a server. */
export function channelMessage(channel: number, data: Buffer): Buffer {
  const payload = Buffer.concat([Buffer.of(channel), data]);
  return encodeWebSocketFrame({ isFinal: true, opcode: OPCODE_BINARY, payload }, undefined);
}

/** Section 5.5.1; 1000 is a normal end. */
export function closeFrame(code: number): Buffer {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(code, 0);
  return encodeWebSocketFrame({ isFinal: true, opcode: OPCODE_CLOSE, payload }, undefined);
}

function mask(payload: Buffer, key: Buffer): void {
  const [a = 0, b = 0, c = 0, d = 0] = key;
  const keys = [a, b, c, d] as const;
  for (let index = 0; index < payload.length; index++)
    payload[index] = (payload[index] ?? 0) ^ (keys[index & 3] ?? 0);
}
