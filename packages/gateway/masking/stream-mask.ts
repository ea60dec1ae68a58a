// Sensitive values in output that comes in pieces: what a program writes, what is read of a file. A value is
// found however it is cut over pieces, and with a terminal's control sequences (ECMA-48) inside. What may be
// the beginning of a value waits for what comes behind it; everything else goes on at once.
//
// Whether a byte is masked depends on what stands around it within `reachOf` and on nothing else, so that
// the same bytes of a file are masked in whatever ranges it is read.
//
// A net for accidents, as detect.ts: what was encoded, compressed or spelt otherwise goes through it. What is
// not text would be corrupted and is refused: a NUL ends it. So does more than MAX_WAITING_BYTES in which a
// value might begin and does not end.
//
// Who owns the state: one a stream.

import { GatewayError } from "../base/errors.ts";
import { type Detection, type Follower, type Net, netsOf } from "./nets.ts";
import { type ShownText, TerminalText } from "./terminal-text.ts";

export interface StreamMask {
  /** What may go on now. Throws GatewayError "limit" for what cannot be masked; nothing may follow. */
  push(data: Buffer): Buffer;
  /** What waited; there is no more. */
  end(): Buffer;
  /** How many values of each class were masked. */
  readonly found: ReadonlyMap<string, number>;
}

/** `label`: `[masked pii.email]`, as everywhere. `same-length`: an asterisk a byte. */
export type StreamMaskForm = "label" | "same-length";

export const MAX_WAITING_BYTES = 128 << 10;

/** How far around a byte what masks it can stand. */
export function reachOf(detections: readonly Detection[]): number {
  const longest = Math.max(
    0,
    ...detections.flatMap(({ kind }) => netsOf(kind).map((net) => net.longest)),
  );
  return longest + SEQUENCES_BYTES;
}

export function createStreamMask(
  detections: readonly Detection[],
  form: StreamMaskForm = "label",
): StreamMask {
  return new WaitingText(detections, form);
}

/** Room for control sequences around and inside of a value. */
const SEQUENCES_BYTES = 8192;
const ASTERISK = 0x2a;
/** Of a byte: 0 goes on as it is, n is of the nth detection's class, and… */
const UNSEEN = 255;
const UNSEEN_MASKED = 254;

interface Search {
  readonly net: Net;
  readonly mark: number;
  readonly follower: Follower;
  /** Every match that begins before is known. */
  searchedTo: number;
}

class WaitingText implements StreamMask {
  readonly #labels: readonly Buffer[];
  readonly #classes: readonly string[];
  readonly #form: StreamMaskForm;
  readonly #searches: readonly Search[];
  readonly #found = new Map<string, number>();
  readonly #terminal: TerminalText;
  /** What waits, and what becomes of each of its bytes. */
  #bytes: Buffer = Buffer.alloc(0);
  #marks: Buffer = Buffer.alloc(0);
  /** What is shown of it, behind one character that went on. */
  #text = "";
  #textFrom = 0;
  /** Of each character that is shown and waits, its place in `bytes`. */
  #places = new Int32Array(0);
  /** The value that is being left out. */
  #inside = 0;

  constructor(detections: readonly Detection[], form: StreamMaskForm) {
    this.#form = form;
    this.#classes = detections.map((one) => one.class);
    this.#labels = this.#classes.map((name) => Buffer.from(`[masked ${name}]`, "utf8"));
    this.#searches = detections.flatMap(({ kind }, index) =>
      netsOf(kind).map((net) => ({ net, mark: index + 1, follower: net.follow(), searchedTo: 0 })),
    );
    this.#terminal = new TerminalText((from, to) => this.#maskString(from, to));
  }

  get found(): ReadonlyMap<string, number> {
    return this.#found;
  }

  push(data: Buffer): Buffer {
    if (data.includes(0)) throw unmaskable("it is not text");
    const from = this.#bytes.length;
    this.#bytes = from === 0 ? data : Buffer.concat([this.#bytes, data]);
    this.#marks = Buffer.concat([this.#marks, Buffer.alloc(data.length, UNSEEN)]);
    return this.#letGo(false, (shown) => this.#terminal.read(this.#bytes, from, shown));
  }

  end(): Buffer {
    return this.#letGo(true, (shown) => this.#terminal.end(this.#bytes, shown));
  }

  /** A title or a link's address: shown elsewhere, so a text of its own. */
  #maskString(from: number, to: number): void {
    const text = this.#bytes.toString("latin1", from, to);
    for (const { mark, net } of this.#searches)
      forEachMatch(net, text, 0, text.length, (start, end) => {
        if (this.#marks[from + start] !== UNSEEN_MASKED) this.#count(mark);
        this.#marks.fill(UNSEEN_MASKED, from + start, from + end);
      });
  }

  #letGo(isEnd: boolean, read: (shown: ShownText) => void): Buffer {
    const waiting = this.#places.length;
    const places = new Int32Array(waiting + this.#bytes.length);
    places.set(this.#places);
    const codes = new Uint8Array(this.#bytes.length);
    const shown = { codes, places: places.subarray(waiting), count: 0 };
    read(shown);
    this.#places = places.subarray(0, waiting + shown.count);
    const marks = this.#marks;
    for (let index = 0; index < shown.count; index += 1) marks[shown.places[index] ?? 0] = 0;
    const fresh = codes.subarray(0, shown.count);
    const at = this.#textFrom + this.#text.length;
    for (const { follower } of this.#searches) follower.read(fresh, at);
    this.#text += Buffer.from(fresh.buffer, 0, shown.count).toString("latin1");
    const end = at + shown.count;
    let settled = end;
    for (const search of this.#searches)
      settled = Math.min(settled, this.#search(search, end, isEnd));
    // The first character that still waits, or else all but a sequence that is not over.
    const firstWaiting = this.#places.length - (end - settled);
    const until = this.#places[firstWaiting] ?? this.#terminal.pendingFrom ?? this.#bytes.length;
    const out = this.#masked(until);
    this.#forget(until, firstWaiting, settled);
    if (this.#bytes.length > MAX_WAITING_BYTES) throw unmaskable("a value in it does not end");
    return out;
  }

  /** Marks what is found; every match that begins before what this returns is known. */
  #search(search: Search, end: number, isEnd: boolean): number {
    const { follower, mark, net } = search;
    const certain = Math.max(follower.openFrom ?? end, end - net.longest - 1);
    const to = isEnd ? end : Math.max(search.searchedTo, certain);
    const waitsFrom = end - this.#places.length;
    forEachMatch(
      net,
      this.#text,
      search.searchedTo - this.#textFrom,
      to - this.#textFrom,
      (start, stop) => {
        for (let at = start + this.#textFrom; at < stop + this.#textFrom; at += 1) {
          const place = this.#places[at - waitsFrom] ?? 0;
          const before = this.#marks[place] ?? 0;
          if (before === 0 || before > mark) this.#marks[place] = mark;
        }
      },
    );
    search.searchedTo = to;
    return to;
  }

  #masked(until: number): Buffer {
    const bytes = this.#bytes.subarray(0, until);
    if (this.#form === "same-length") return this.#sameLength(bytes);
    const pieces: Buffer[] = [];
    let from = 0;
    for (let place = 0; place < until; place += 1) {
      const mark = this.#marks[place] ?? 0;
      if (mark === UNSEEN) continue;
      if (mark === 0) {
        this.#inside = 0;
        continue;
      }
      pieces.push(bytes.subarray(from, place));
      from = place + 1;
      if (mark === UNSEEN_MASKED) pieces.push(Buffer.of(ASTERISK));
      else this.#begin(mark, () => pieces.push(this.#labels[mark - 1] ?? bytes.subarray(0, 0)));
    }
    if (from === 0) return bytes;
    pieces.push(bytes.subarray(from));
    return Buffer.concat(pieces);
  }

  #sameLength(bytes: Buffer): Buffer {
    let out = bytes;
    for (let place = 0; place < bytes.length; place += 1) {
      const mark = this.#marks[place] ?? 0;
      if (mark === 0) this.#inside = 0;
      if (mark === 0 || mark === UNSEEN) continue;
      if (out === bytes) out = Buffer.from(bytes);
      out[place] = ASTERISK;
      if (mark !== UNSEEN_MASKED) this.#begin(mark, () => undefined);
    }
    return out;
  }

  #begin(mark: number, onFirst: () => void): void {
    if (this.#inside === 0) {
      this.#count(mark);
      onFirst();
    }
    this.#inside = mark;
  }

  #count(mark: number): void {
    const name = this.#classes[mark - 1] ?? "";
    this.#found.set(name, (this.#found.get(name) ?? 0) + 1);
  }

  #forget(until: number, firstWaiting: number, settled: number): void {
    this.#bytes = this.#bytes.subarray(until);
    this.#marks = this.#marks.subarray(until);
    this.#places = this.#places.slice(firstWaiting);
    for (let index = 0; index < this.#places.length; index += 1)
      this.#places[index] = (this.#places[index] ?? 0) - until;
    this.#terminal.forget(until);
    const keepFrom = Math.max(this.#textFrom, settled - 1);
    this.#text = this.#text.slice(keepFrom - this.#textFrom);
    this.#textFrom = keepFrom;
  }
}

/** Wherever one begins, also inside of another: what is found does not depend on where reading began. */
function forEachMatch(
  { find, mayHold }: Net,
  text: string,
  from: number,
  to: number,
  found: (start: number, end: number) => void,
): void {
  if (from >= to || !mayHold(text)) return;
  for (let place = find(text, from, to); place; place = find(text, place.next, to))
    found(place.start, place.end);
}

function unmaskable(why: string): GatewayError {
  return new GatewayError("limit", `what is written here cannot be masked: ${why}`);
}
