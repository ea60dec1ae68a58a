// JSON from an API server, cut into its objects while it arrives, so that a list of any length is looked
// at one object at a time: a list (`items`, or `rows` of a Table) element by element, a watch event by
// event (RFC 8259; one document after the other). Bytes are handed on as they came; nothing is parsed here
// and nothing is kept but the object that is not complete yet.
//
// Who owns the state: one splitter a response.

import { KubernetesWireError } from "./errors.ts";

export interface SplitLimits {
  /** Of one element, event, or document that is no list. */
  readonly maxObjectBytes: number;
  /** Of what surrounds the elements of a list. */
  readonly maxFrameBytes: number;
}

export interface ListSink {
  /**
   * What comes before the first element, its "[" included. False: it is no list of objects; all of it
   * comes as one document.
   */
  readonly head: (bytes: Buffer) => boolean;
  readonly element: (bytes: Buffer) => void;
  /** From the closing "]" on. */
  readonly tail: (bytes: Buffer) => void;
  readonly document: (bytes: Buffer) => void;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const LIST_KEYS = new Set(['"items"', '"rows"']);

/** Bytes of the object that is being read, over as many chunks as it takes. */
class Gathering {
  #parts: Buffer[] = [];
  #length = 0;
  readonly #limit: () => number;

  constructor(limit: () => number) {
    this.#limit = limit;
  }

  add(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#length += bytes.length;
    if (this.#length > this.#limit())
      throw new KubernetesWireError("an object of the answer is too large");
    this.#parts.push(bytes);
  }

  take(): Buffer {
    const [only] = this.#parts;
    const all = this.#parts.length === 1 && only !== undefined ? only : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#length = 0;
    return all;
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }
}

/** Where in JSON a byte is: nesting, and whether it is within a string. */
class Position {
  depth = 0;
  isInString = false;
  #isEscaped = false;

  /** From a byte within a string; returns the index after its closing quote, or the end. */
  skipString(chunk: Buffer, from: number): number {
    let at = from;
    if (this.#isEscaped && at < chunk.length) {
      this.#isEscaped = false;
      at++;
    }
    while (at < chunk.length) {
      const quote = chunk.indexOf(QUOTE, at);
      const end = quote < 0 ? chunk.length : quote;
      let slashes = 0;
      while (end - slashes - 1 >= at && chunk[end - slashes - 1] === BACKSLASH) slashes++;
      const isEscaping = slashes % 2 === 1;
      if (quote < 0) {
        this.#isEscaped = isEscaping;
        return chunk.length;
      }
      at = quote + 1;
      if (!isEscaping) {
        this.isInString = false;
        return at;
      }
    }
    return at;
  }
}

/** A list or one document. `end` after the last byte. Throws KubernetesWireError. */
export class ListSplitter {
  readonly #sink: ListSink;
  readonly #position = new Position();
  readonly #gathered: Gathering;
  #state: "head" | "elements" | "tail" | "document" = "head";
  /** The bytes of the last string at depth 1, where a key of the list itself is. */
  #key: Buffer[] = [];
  #isKey = false;

  constructor(sink: ListSink, limits: SplitLimits) {
    this.#sink = sink;
    this.#gathered = new Gathering(() =>
      this.#state === "tail" ? limits.maxFrameBytes : limits.maxObjectBytes,
    );
  }

  push(chunk: Buffer): void {
    let at = 0;
    let kept = 0;
    const position = this.#position;
    while (at < chunk.length) {
      if (this.#state === "document" || this.#state === "tail") break;
      if (position.isInString) {
        const end = position.skipString(chunk, at);
        if (this.#isKey) this.#key.push(chunk.subarray(at, end));
        at = end;
        continue;
      }
      const byte = chunk[at];
      if (this.#state === "head") {
        at++;
        if (this.#headByte(byte, chunk, at)) {
          this.#gathered.add(chunk.subarray(kept, at));
          kept = at;
          this.#endHead();
        }
      } else {
        const start = at;
        at++;
        if (this.#elementByte(byte)) {
          if (position.depth === 2) {
            this.#gathered.add(chunk.subarray(kept, at));
            this.#sink.element(this.#gathered.take());
            kept = at;
          } else kept = start;
          if (this.#stateIsTail()) break;
        } else if (position.depth === 2 && this.#gathered.isEmpty) kept = at;
      }
    }
    this.#gathered.add(chunk.subarray(kept));
  }

  end(): void {
    const rest = this.#gathered.take();
    if (this.#state === "elements")
      throw new KubernetesWireError("the list ends within its elements");
    if (this.#state === "tail") this.#sink.tail(rest);
    else this.#sink.document(rest);
  }

  #stateIsTail(): boolean {
    return this.#state === "tail";
  }

  /** True at the "[" of a list's elements. */
  #headByte(byte: number | undefined, chunk: Buffer, next: number): boolean {
    const position = this.#position;
    if (byte === QUOTE) {
      position.isInString = true;
      this.#isKey = position.depth === 1;
      if (this.#isKey) this.#key = [chunk.subarray(next - 1, next)];
    } else if (byte === OPEN_BRACE) position.depth++;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) position.depth--;
    else if (byte === OPEN_BRACKET) {
      position.depth++;
      return position.depth === 2 && LIST_KEYS.has(Buffer.concat(this.#key).toString("latin1"));
    }
    return false;
  }

  #endHead(): void {
    const head = this.#gathered.take();
    if (this.#sink.head(head)) {
      this.#state = "elements";
      return;
    }
    this.#state = "document";
    this.#gathered.add(head);
  }

  /** True where an element begins or ends, and at the end of all of them. */
  #elementByte(byte: number | undefined): boolean {
    const position = this.#position;
    switch (byte) {
      case QUOTE:
        if (position.depth === 2)
          throw new KubernetesWireError("an element of the list is no object");
        position.isInString = true;
        return false;
      case OPEN_BRACE:
        position.depth++;
        return position.depth === 3;
      case CLOSE_BRACE:
        position.depth--;
        return position.depth === 2;
      case OPEN_BRACKET:
        if (position.depth === 2)
          throw new KubernetesWireError("an element of the list is no object");
        position.depth++;
        return false;
      case CLOSE_BRACKET:
        position.depth--;
        if (position.depth > 1) return false;
        this.#state = "tail";
        return true;
      default:
        if (position.depth === 2 && byte !== COMMA && !isSpace(byte))
          throw new KubernetesWireError("an element of the list is no object");
        return false;
    }
  }
}

/** A watch: one document after the other. Throws KubernetesWireError. */
export class DocumentSplitter {
  readonly #document: (bytes: Buffer) => void;
  readonly #position = new Position();
  readonly #gathered: Gathering;

  constructor(document: (bytes: Buffer) => void, limits: SplitLimits) {
    this.#document = document;
    this.#gathered = new Gathering(() => limits.maxObjectBytes);
  }

  push(chunk: Buffer): void {
    const position = this.#position;
    let at = 0;
    let kept = 0;
    while (at < chunk.length) {
      if (position.isInString) {
        at = position.skipString(chunk, at);
        continue;
      }
      const byte = chunk[at];
      at++;
      if (byte === QUOTE && position.depth > 0) position.isInString = true;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (position.depth === 0) kept = at - 1;
        position.depth++;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        position.depth--;
        if (position.depth < 0) throw new KubernetesWireError("an event ends that did not begin");
        if (position.depth > 0) continue;
        this.#gathered.add(chunk.subarray(kept, at));
        this.#document(this.#gathered.take());
        kept = at;
      } else if (position.depth === 0) {
        if (!isSpace(byte)) throw new KubernetesWireError("there is something between two events");
        kept = at;
      }
    }
    this.#gathered.add(chunk.subarray(kept));
  }

  /** No event has begun that is not complete. */
  get isBetween(): boolean {
    return this.#position.depth === 0 && this.#gathered.isEmpty;
  }

  /** Throws when an event is not complete. */
  end(): void {
    if (!this.#gathered.isEmpty) throw new KubernetesWireError("the watch ends within an event");
  }
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
