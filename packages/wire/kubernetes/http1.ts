// HTTP/1.1 as a client speaks it to an API server (RFC 9112): the head of a request, and the answers to it read
// from what a connection brings. Narrower than the RFC where it leaves a choice: what two readers may take for
// two different answers is none (section 11.1), and a body whose end is the connection's is refused, for nobody
// could say that it is whole.
//
// Who owns the state: one reader a request; nothing is asked on a connection before the answer has ended.

import { KubernetesWireError } from "./errors.ts";

/** Names in lower case; a name that came more than once has all its values. */
export type AnswerHeaders = Record<string, string | string[] | undefined>;

export interface AnswerSink {
  /** Once, and not for 1xx. */
  readonly head: (status: number, headers: AnswerHeaders) => void;
  /** Pieces of the body, as they come; views of what was pushed. */
  readonly data: (bytes: Buffer) => void;
}

export interface AnswerLimits {
  /** Of the head with all that goes before it, and of the trailers. */
  readonly maxHeadBytes: number;
}

type State = "head" | "length" | "size" | "chunk" | "afterChunk" | "trailer" | "done";

const METHOD = /^[A-Z]{1,16}$/;
const TARGET = /^\/[\x21-\x7e]*$/;
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const STATUS_LINE = /^HTTP\/1\.1 ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const LENGTH = /^[0-9]{1,15}$/;
const CHUNK_SIZE = /^[0-9a-fA-F]{1,8}$/;
const CLOSES = /(?:^|,)[ \t]*close[ \t]*(?:,|$)/i;
const END_OF_HEAD = "\r\n\r\n";
const CR = 0x0d;
const LF = 0x0a;
const MAX_SIZE_LINE = 10;
const SMALL_PIECE_BYTES = 4096;
/** 1xx before the answer. */
const MAX_EARLY = 8;

/** `name: value` and the line's end. Throws for what would be another line, or none. */
export function headerLine(name: string, value: string): string {
  if (!NAME.test(name) || !VALUE.test(value))
    throw new KubernetesWireError("a header that cannot be sent");
  return `${name}: ${value}\r\n`;
}

/** `lines` of `headerLine`. Throws for a method or a target that would be something else. */
export function requestHead(method: string, target: string, lines: string): string {
  if (!METHOD.test(method) || !TARGET.test(target))
    throw new KubernetesWireError("a request that cannot be sent");
  return `${method} ${target} HTTP/1.1\r\n${lines}\r\n`;
}

/** One answer. `push` throws KubernetesWireError for what is none; nothing more is pushed then. */
export class AnswerReader {
  readonly #sink: AnswerSink;
  readonly #maxHeadBytes: number;
  readonly #isHead: boolean;
  #state: State = "head";
  #text = "";
  /** Of the head's end: how many of its four bytes were seen. */
  #matched = 0;
  #headBytes = 0;
  #early = 0;
  /** Of the body, or of the chunk that is being read. */
  #left = 0;
  #isLast = false;
  /** Of the body, of what is being pushed. */
  #pieces: Buffer[] = [];

  /** `isHead`: HEAD was asked, whose answer has no body whatever it says. */
  constructor(sink: AnswerSink, isHead: boolean, { maxHeadBytes }: AnswerLimits) {
    this.#sink = sink;
    this.#isHead = isHead;
    this.#maxHeadBytes = maxHeadBytes;
  }

  get isDone(): boolean {
    return this.#state === "done";
  }

  /** Whether the server takes another request on the connection, once it is done. */
  get mayGoOn(): boolean {
    return !this.#isLast;
  }

  push(chunk: Buffer): void {
    try {
      this.#read(chunk);
    } finally {
      this.#handOn();
    }
  }

  #read(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === "head") at = this.#readHead(chunk, at);
      else if (this.#state === "length" || this.#state === "chunk") at = this.#readData(chunk, at);
      else if (this.#state === "done") throw new KubernetesWireError("more than was asked for");
      else at = this.#readLine(chunk, at);
    }
  }

  /** What came at once in chunks of a few bytes goes on at once: each piece is recorded and written by itself. */
  #handOn(): void {
    const pieces = this.#pieces;
    if (pieces.length === 0) return;
    this.#pieces = [];
    const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (length < pieces.length * SMALL_PIECE_BYTES && pieces.length > 1)
      this.#sink.data(Buffer.concat(pieces, length));
    else for (const piece of pieces) this.#sink.data(piece);
  }

  #readHead(chunk: Buffer, from: number): number {
    let at = from;
    let matched = this.#matched;
    while (at < chunk.length && matched < END_OF_HEAD.length) {
      const byte = chunk[at++];
      if (byte === END_OF_HEAD.charCodeAt(matched)) matched++;
      else matched = byte === CR ? 1 : 0;
    }
    this.#matched = matched;
    this.#headBytes += at - from;
    if (this.#headBytes > this.#maxHeadBytes)
      throw new KubernetesWireError("the head of an answer is too long");
    this.#text += chunk.toString("latin1", from, at);
    if (matched === END_OF_HEAD.length) this.#endHead();
    return at;
  }

  #endHead(): void {
    const [first = "", ...lines] = this.#text.slice(0, -END_OF_HEAD.length).split("\r\n");
    this.#text = "";
    this.#matched = 0;
    const status = Number(STATUS_LINE.exec(first)?.[1]);
    if (Number.isNaN(status)) throw new KubernetesWireError("an answer without a status line");
    const headers = readHeaders(lines);
    if (status >= 200) this.#begin(status, headers);
    // Nothing was asked that changes the protocol.
    else if (status === 101 || ++this.#early > MAX_EARLY)
      throw new KubernetesWireError("an answer to something else");
  }

  /** RFC 9112 section 6.3. */
  #begin(status: number, headers: AnswerHeaders): void {
    const { connection } = headers;
    const { "content-length": length, "transfer-encoding": coding } = headers;
    if (connection !== undefined) this.#isLast = CLOSES.test(String(connection));
    const isBodiless = this.#isHead || status === 204 || status === 304;
    if (length !== undefined && (typeof length !== "string" || !LENGTH.test(length)))
      throw new KubernetesWireError("a length that is none");
    if (
      coding !== undefined &&
      (length !== undefined || String(coding).toLowerCase() !== "chunked")
    )
      throw new KubernetesWireError("an answer of a length that is not clear");
    if (isBodiless) this.#state = "done";
    else if (coding !== undefined) this.#state = "size";
    else if (length === undefined) throw new KubernetesWireError("an answer without an end");
    else this.#readNext(Number(length), "length");
    this.#sink.head(status, headers);
  }

  #readNext(length: number, state: "length" | "chunk"): void {
    this.#left = length;
    this.#state = length > 0 ? state : "done";
  }

  #readData(chunk: Buffer, from: number): number {
    const at = Math.min(chunk.length, from + this.#left);
    this.#left -= at - from;
    if (this.#left === 0) this.#state = this.#state === "length" ? "done" : "afterChunk";
    this.#pieces.push(from === 0 && at === chunk.length ? chunk : chunk.subarray(from, at));
    return at;
  }

  /** What stands around chunks: their sizes, the line's end after each, trailers (section 7.1). */
  #readLine(chunk: Buffer, from: number): number {
    const found = chunk.indexOf(LF, from);
    const at = found < 0 ? chunk.length : found + 1;
    const isTrailer = this.#state === "trailer";
    if (isTrailer) this.#headBytes += at - from;
    const isTooLong = isTrailer
      ? this.#headBytes > this.#maxHeadBytes
      : this.#text.length + at - from > MAX_SIZE_LINE;
    if (isTooLong) throw new KubernetesWireError("a line of an answer is too long");
    this.#text += chunk.toString("latin1", from, at);
    if (found < 0) return at;
    const line = this.#text;
    this.#text = "";
    if (!line.endsWith("\r\n")) throw new KubernetesWireError("a line that does not end as one");
    this.#endLine(line.slice(0, -2));
    return at;
  }

  #endLine(line: string): void {
    if (this.#state === "afterChunk") {
      if (line !== "") throw new KubernetesWireError("a chunk that is longer than it says");
      this.#state = "size";
    } else if (this.#state === "trailer") {
      if (line === "") this.#state = "done";
      else readHeaders([line]);
    } else {
      if (!CHUNK_SIZE.test(line)) throw new KubernetesWireError("a chunk whose size is none");
      const size = Number.parseInt(line, 16);
      if (size === 0) this.#state = "trailer";
      else this.#readNext(size, "chunk");
    }
  }
}

function readHeaders(lines: readonly string[]): AnswerHeaders {
  const headers: AnswerHeaders = Object.create(null);
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon)).toLowerCase();
    const value = line.slice(colon + 1);
    if (!NAME.test(name) || !VALUE.test(value))
      throw new KubernetesWireError("an answer with a header that is none");
    const before = headers[name];
    const trimmed = trim(value);
    if (before === undefined) headers[name] = trimmed;
    else if (typeof before === "string") headers[name] = [before, trimmed];
    else before.push(trimmed);
  }
  return headers;
}

/** Without what a header may have around its value; step by step, however much of it there is. */
function trim(value: string): string {
  let from = 0;
  let to = value.length;
  while (from < to && isBlank(value.charCodeAt(from))) from++;
  while (to > from && isBlank(value.charCodeAt(to - 1))) to--;
  return value.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
