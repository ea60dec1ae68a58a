// SPDY/3.1 as Kubernetes speaks it for exec, attach and port-forward: frames (SPDY Protocol, draft 3.1,
// section 2.2), and blocks of headers, which are one zlib stream a direction with a dictionary of the
// protocol's own (section 2.6.10.1).

import { constants, createDeflate, createInflate, type Deflate, type Inflate } from "node:zlib";
import { Gathered } from "../bytes/gathered.ts";
import { KubernetesWireError } from "./errors.ts";
import { DICTIONARY } from "./spdy-dictionary.ts";

export type SpdyFrame =
  | {
      readonly kind: "data";
      readonly stream: number;
      readonly isLast: boolean;
      readonly data: Buffer;
    }
  | {
      readonly kind: "syn-stream";
      readonly stream: number;
      readonly isLast: boolean;
      /** Still compressed. */
      readonly block: Buffer;
    }
  | { readonly kind: "syn-reply"; readonly stream: number; readonly block: Buffer }
  | { readonly kind: "reset"; readonly stream: number }
  | { readonly kind: "ping"; readonly id: Buffer }
  | { readonly kind: "go-away" }
  /** SETTINGS, HEADERS, WINDOW_UPDATE, CREDENTIAL. */
  | { readonly kind: "other"; readonly type: number };

/** A frame with the bytes it came in. */
export type RawSpdyFrame = SpdyFrame & { readonly raw: Buffer };

const SYN_STREAM = 1;
const SYN_REPLY = 2;
const RST_STREAM = 3;
const PING = 6;
const GOAWAY = 7;
const VERSION = 3;
const FLAG_FIN = 0x01;
const HEAD_BYTES = 8;
const MAX_HEADERS = 64;
const MAX_BLOCK_BYTES = 64 << 10;

/** Frames out of a stream of bytes. Throws KubernetesWireError. */
export class SpdyReader {
  readonly #maxFrameBytes: number;
  readonly #gathered = new Gathered();
  /** So many bytes, from the beginning of a frame on, say more than what is known of it. */
  #needed = HEAD_BYTES;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  push(chunk: Buffer): RawSpdyFrame[] {
    this.#gathered.add(chunk);
    const frames: RawSpdyFrame[] = [];
    // A frame in crumbs is put together once, not with each of them.
    if (this.#gathered.length < this.#needed) return frames;
    let rest = this.#gathered.take();
    for (this.#needed = HEAD_BYTES; rest.length >= this.#needed; this.#needed = HEAD_BYTES) {
      const length = rest.readUIntBE(5, 3);
      if (length > this.#maxFrameBytes) throw new KubernetesWireError("a frame is too large");
      this.#needed = HEAD_BYTES + length;
      if (rest.length < this.#needed) break;
      const raw = rest.subarray(0, this.#needed);
      rest = rest.subarray(this.#needed);
      frames.push({ ...decodeFrame(raw), raw });
    }
    this.#gathered.add(rest);
    return frames;
  }
}

function decodeFrame(raw: Buffer): SpdyFrame {
  const first = raw.readUInt32BE(0);
  const flags = raw[4] ?? 0;
  const payload = raw.subarray(HEAD_BYTES);
  const isLast = (flags & FLAG_FIN) !== 0;
  if ((first & 0x8000_0000) === 0) return { kind: "data", stream: first, isLast, data: payload };
  if (((first >>> 16) & 0x7fff) !== VERSION)
    throw new KubernetesWireError("a frame is of another version of SPDY");
  const stream = () => {
    if (payload.length < 4) throw new KubernetesWireError("a frame ends within a field");
    return payload.readUInt32BE(0) & 0x7fff_ffff;
  };
  const type = first & 0xffff;
  switch (type) {
    case SYN_STREAM:
      if (payload.length < 10) throw new KubernetesWireError("a frame ends within a field");
      return { kind: "syn-stream", stream: stream(), isLast, block: payload.subarray(10) };
    case SYN_REPLY:
      return { kind: "syn-reply", stream: stream(), block: payload.subarray(4) };
    case RST_STREAM:
      return { kind: "reset", stream: stream() };
    case PING:
      return { kind: "ping", id: payload };
    case GOAWAY:
      return { kind: "go-away" };
    default:
      return { kind: "other", type };
  }
}

/** What a client of Kubernetes has to say; SYN_STREAM, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE. */
const CLIENT_TYPES = new Set([SYN_STREAM, RST_STREAM, 4, PING, GOAWAY, 9]);

/**
 * Throws for a frame of a client that has headers and opens no stream (SYN_REPLY, HEADERS): all blocks of a
 * direction are one compressed stream, so one that is not read changes what the next ones say.
 */
export function assertFromClient(frame: RawSpdyFrame): void {
  const isControl = (frame.raw[0] ?? 0) >= 0x80;
  if (isControl && !CLIENT_TYPES.has(frame.raw.readUInt16BE(2)))
    throw new KubernetesWireError("a client sends no frame of this type");
}

export function encodeData(stream: number, data: Buffer, isLast: boolean): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(stream, 0);
  head[4] = isLast ? FLAG_FIN : 0;
  head.writeUIntBE(data.length, 5, 3);
  return Buffer.concat([head, data]);
}

export function encodeSynStream(stream: number, block: Buffer): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt32BE(stream, 0);
  return control(SYN_STREAM, Buffer.concat([fixed, block]));
}

export function encodeSynReply(stream: number, block: Buffer): Buffer {
  const fixed = Buffer.alloc(4);
  fixed.writeUInt32BE(stream, 0);
  return control(SYN_REPLY, Buffer.concat([fixed, block]));
}

export function encodePing(id: Buffer): Buffer {
  return control(PING, id);
}

export function encodeGoAway(lastStream: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(lastStream, 0);
  return control(GOAWAY, payload);
}

function control(type: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt16BE(0x8000 | VERSION, 0);
  head.writeUInt16BE(type, 2);
  head.writeUIntBE(payload.length, 5, 3);
  return Buffer.concat([head, payload]);
}

export type SpdyHeaders = ReadonlyMap<string, string>;

/** Reads the blocks of one direction, in their order. */
export class HeaderReader implements Disposable {
  readonly #inflate: Inflate = createInflate({
    dictionary: DICTIONARY,
    finishFlush: constants.Z_SYNC_FLUSH,
  });
  #text: Buffer[] = [];
  #length = 0;
  /** Why it reads no more. */
  #failure: string | undefined;
  #settle: () => void = () => undefined;

  constructor() {
    this.#inflate.on("data", (part: Buffer) => {
      this.#length += part.length;
      // A block of 64 KB may be one of 64 MB.
      if (this.#length > MAX_BLOCK_BYTES) this.#fail("headers are too large");
      else this.#text.push(part);
    });
    this.#inflate.on("error", () => this.#fail("headers are not compressed"));
  }

  #fail(why: string): void {
    this.#failure ??= why;
    this.#inflate.destroy();
    this.#settle();
  }

  /** Throws KubernetesWireError. */
  async read(block: Buffer): Promise<SpdyHeaders> {
    if (block.length > MAX_BLOCK_BYTES) throw new KubernetesWireError("headers are too large");
    this.#text = [];
    this.#length = 0;
    await new Promise<void>((resolve) => {
      this.#settle = resolve;
      this.#inflate.write(block, () => resolve());
    });
    // What was inflated is handed out one turn later.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#failure !== undefined) throw new KubernetesWireError(this.#failure);
    return decodeHeaders(Buffer.concat(this.#text));
  }

  [Symbol.dispose](): void {
    this.#inflate.destroy();
  }
}

/** Writes the blocks of one direction, in their order. */
export class HeaderWriter implements Disposable {
  readonly #deflate: Deflate = createDeflate({ dictionary: DICTIONARY });
  #parts: Buffer[] = [];

  constructor() {
    this.#deflate.on("data", (part: Buffer) => this.#parts.push(part));
  }

  async write(headers: SpdyHeaders): Promise<Buffer> {
    this.#parts = [];
    this.#deflate.write(encodeHeaders(headers));
    await new Promise<void>((resolve) => this.#deflate.flush(constants.Z_SYNC_FLUSH, resolve));
    await new Promise((resolve) => setImmediate(resolve));
    return Buffer.concat(this.#parts);
  }

  [Symbol.dispose](): void {
    this.#deflate.destroy();
  }
}

function decodeHeaders(text: Buffer): SpdyHeaders {
  let at = 0;
  const number = () => {
    if (at + 4 > text.length) throw new KubernetesWireError("headers end within a field");
    at += 4;
    return text.readUInt32BE(at - 4);
  };
  const word = () => {
    const length = number();
    if (length > text.length - at) throw new KubernetesWireError("headers end within a field");
    at += length;
    return text.toString("latin1", at - length, at);
  };
  const count = number();
  if (count > MAX_HEADERS) throw new KubernetesWireError("there are too many headers");
  const headers = new Map<string, string>();
  for (let index = 0; index < count; index++) {
    const name = word().toLowerCase();
    if (headers.has(name)) throw new KubernetesWireError("a header is there twice");
    const value = word();
    // Section 2.6.10: several values in one, of which readers take the first.
    if (value.includes("\0")) throw new KubernetesWireError("a header has more than one value");
    headers.set(name, value);
  }
  // What is left over would be the beginning of the next block to a reader that goes on where it stopped.
  if (at !== text.length) throw new KubernetesWireError("headers go on after their last field");
  return headers;
}

function encodeHeaders(headers: SpdyHeaders): Buffer {
  const word = (text: string) => {
    const bytes = Buffer.from(text, "latin1");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length, 0);
    return Buffer.concat([length, bytes]);
  };
  const count = Buffer.alloc(4);
  count.writeUInt32BE(headers.size, 0);
  return Buffer.concat([
    count,
    ...[...headers].flatMap(([name, value]) => [word(name), word(value)]),
  ]);
}
