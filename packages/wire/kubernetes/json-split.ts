// JSON from an API server, cut into its objects while it arrives, so that a list of any length is looked
// at one object at a time: a list (`items`, or `rows` of a Table) element by element, a watch event by
// event (RFC 8259; one document after the other). Bytes are handed on as they came, elements and events as the
// JSON objects they were seen to be (json-scan.ts); nothing is kept but the object that is not complete yet.
//
// Who owns the state: one splitter a response.

import { Gathered } from "../bytes/gathered.ts";
import { KubernetesWireError } from "./errors.ts";
import { JsonScanner } from "./json-scan.ts";

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
  /** Several elements that came together, with the commas between them. False: they come one by one. */
  readonly run?: (bytes: Buffer, count: number) => boolean;
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
const MAX_KEY_LENGTH = 16;

/** Bytes of the object that is being read, over as many chunks as it takes. */
class Gathering {
  readonly #gathered = new Gathered();
  readonly #limit: () => number;

  constructor(limit: () => number) {
    this.#limit = limit;
  }

  add(bytes: Buffer): void {
    this.#gathered.add(bytes);
    if (this.#gathered.length > this.#limit()) throw tooLarge();
  }

  take(): Buffer {
    return this.#gathered.take();
  }
}

/** A list or one document. `end` after the last byte. Throws KubernetesWireError. */
export class ListSplitter {
  readonly #sink: ListSink;
  readonly #limits: SplitLimits;
  readonly #head = new HeadReader();
  readonly #scanner = new JsonScanner();
  readonly #gathered: Gathering;
  #state: "head" | "elements" | "tail" | "document" = "head";
  /** An element may come: at the beginning, and after a comma. */
  #isExpected = true;

  constructor(sink: ListSink, limits: SplitLimits) {
    this.#sink = sink;
    this.#limits = limits;
    this.#gathered = new Gathering(() =>
      this.#state === "tail" ? limits.maxFrameBytes : limits.maxObjectBytes,
    );
  }

  push(chunk: Buffer): void {
    let at = 0;
    if (this.#state === "head") {
      at = this.#head.read(chunk);
      this.#gathered.add(chunk.subarray(0, at));
      if (this.#head.isAtList) this.#endHead();
    }
    if (this.#state === "elements") at = this.#elements(chunk, at);
    if (at < chunk.length) this.#gathered.add(chunk.subarray(at));
  }

  end(): void {
    const rest = this.#gathered.take();
    if (this.#state === "elements")
      throw new KubernetesWireError("the list ends within its elements");
    if (this.#state === "tail") this.#sink.tail(rest);
    else this.#sink.document(rest);
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

  /** Where the tail begins, or the chunk's end. */
  #elements(chunk: Buffer, from: number): number {
    let at = from;
    if (this.#scanner.isWithin) {
      at = this.#scanner.read(chunk, from);
      this.#gathered.add(chunk.subarray(from, at));
      if (this.#scanner.isWithin) return at;
      this.#sink.element(this.#gathered.take());
    }
    const ends: number[] = [];
    while (at < chunk.length) {
      const byte = chunk[at];
      const isElement = byte === OPEN_BRACE && this.#isExpected;
      if (isElement) {
        const begin = at;
        at = this.#scanner.read(chunk, begin);
        this.#isExpected = false;
        if (!this.#scanner.isWithin) ends.push(begin, at);
        else {
          this.#whole(chunk, ends);
          this.#gathered.add(chunk.subarray(begin, at));
          return at;
        }
      } else if (byte === COMMA && !this.#isExpected) {
        this.#isExpected = true;
        at++;
      } else if (isSpace(byte)) at++;
      else if (byte === CLOSE_BRACKET) break;
      else throw new KubernetesWireError("an element of the list is no object");
    }
    this.#whole(chunk, ends);
    if (at < chunk.length) this.#state = "tail";
    return at;
  }

  /** Elements that are within one chunk, by where they begin and end. */
  #whole(chunk: Buffer, ends: readonly number[]): void {
    const { element, run } = this.#sink;
    const together = chunk.subarray(ends[0], ends.at(-1));
    const isRun = ends.length > 2 && together.length <= this.#limits.maxObjectBytes;
    if (isRun && run?.(together, ends.length / 2) === true) return;
    for (let index = 0; index < ends.length; index += 2) {
      const bytes = chunk.subarray(ends[index], ends[index + 1]);
      if (bytes.length > this.#limits.maxObjectBytes) throw tooLarge();
      element(bytes);
    }
  }
}

/** Finds the "[" of a list's elements, which are a member of the document itself. */
class HeadReader {
  isAtList = false;
  #depth = 0;
  #isInString = false;
  #isEscaped = false;
  /** The last string at depth 1, where a key of the list itself is, with its quotes; as long as it may be one. */
  #key = "";

  /** The index after it, or the chunk's end. */
  read(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.length) {
      if (this.#isInString) {
        at = this.#string(chunk, at);
        continue;
      }
      const byte = chunk[at++];
      if (byte === QUOTE) {
        this.#isInString = true;
        if (this.#depth === 1) this.#key = '"';
      } else if (byte === OPEN_BRACE) this.#depth++;
      else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) this.#depth--;
      else if (byte === OPEN_BRACKET) {
        this.#depth++;
        this.isAtList = this.#depth === 2 && LIST_KEYS.has(this.#key);
        if (this.isAtList) return at;
      }
    }
    return at;
  }

  /** From a byte within a string: the index after its closing quote, or the end. */
  #string(chunk: Buffer, from: number): number {
    let at = from;
    if (this.#isEscaped) {
      this.#isEscaped = false;
      at++;
    }
    while (this.#isInString && at < chunk.length) {
      const quote = chunk.indexOf(QUOTE, at);
      const end = quote < 0 ? chunk.length : quote;
      let slashes = 0;
      while (end - slashes - 1 >= at && chunk[end - slashes - 1] === BACKSLASH) slashes++;
      const isEscaping = slashes % 2 === 1;
      if (quote < 0) this.#isEscaped = isEscaping;
      else this.#isInString = isEscaping;
      at = quote < 0 ? end : quote + 1;
    }
    if (this.#depth === 1 && this.#key.length < MAX_KEY_LENGTH)
      this.#key += chunk.toString("latin1", from, Math.min(at, from + MAX_KEY_LENGTH));
    return at;
  }
}

/** A watch: one document after the other. Throws KubernetesWireError. */
export class DocumentSplitter {
  readonly #document: (bytes: Buffer) => void;
  readonly #scanner = new JsonScanner();
  readonly #gathered: Gathering;

  constructor(document: (bytes: Buffer) => void, limits: SplitLimits) {
    this.#document = document;
    this.#gathered = new Gathering(() => limits.maxObjectBytes);
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (!this.#scanner.isWithin) {
        const byte = chunk[at];
        if (isSpace(byte)) {
          at++;
          continue;
        }
        if (byte !== OPEN_BRACE && byte !== OPEN_BRACKET)
          throw new KubernetesWireError("there is something between two events");
      }
      const from = at;
      at = this.#scanner.read(chunk, from);
      this.#gathered.add(chunk.subarray(from, at));
      if (!this.#scanner.isWithin) this.#document(this.#gathered.take());
    }
  }

  /** No event has begun that is not complete. */
  get isBetween(): boolean {
    return !this.#scanner.isWithin;
  }

  /** Throws when an event is not complete. */
  end(): void {
    if (!this.isBetween) throw new KubernetesWireError("the watch ends within an event");
  }
}

function tooLarge(): KubernetesWireError {
  return new KubernetesWireError("an object of the answer is too large");
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
