// What a terminal shows, kept from what is written to it (@xterm/headless), so that a long recording can be
// entered in the middle and who joins a shell is drawn all of it. Output is gathered and read by the terminal
// in one go, when a screen is due; what comes while it reads is appended as it came, so that what is given is
// exact at that place.
//
// What is shown is bounded by what was written, whoever writes it: sizes nobody has are not kept, a screen is not
// kept more often than it is worth, and a terminal that fails or takes for ever is one that is not kept.
//
// Who owns the state: one a terminal that is recorded whole, its channel's.

import type { Came, ShownScreen, TerminalSize } from "./kept-terminal.ts";
import { openTerminal, type ReadTerminal } from "./terminals.ts";

export type ScreenSize = TerminalSize;

export interface Screen {
  /** `onRoom`: once, when more may come; at once unless it comes faster than it can be read. */
  output(bytes: Buffer, onRoom: () => void): void;
  resized(size: ScreenSize): void;
  /** Calls back with all that came so far, before anything more comes; undefined: it is not kept. */
  show(callback: (screen: ShownScreen | undefined) => void): void;
  close(): void;
}

export interface ScreenOptions {
  /** Called when there was output and so much of it, or of time, since the last. */
  readonly keep: (screen: ShownScreen) => void;
  readonly everyBytes?: number;
  readonly everyMs?: number;
}

const EVERY_BYTES = 256 << 10;
const EVERY_MS = 10_000;
const MAX_PENDING_BYTES = 1 << 20;
const MAX_PENDING_PIECES = 8192;
const MAX_APPENDED_BYTES = 32 << 10;
/** Of cells: a terminal of any size can be asked for, and costs 12 bytes each. */
const MAX_CELLS = 100_000;
/** Lines are put in and taken out one by one. */
const MAX_ROWS = 500;
/** A screen that takes more than what came since the last is not worth its place in the recording. */
const WORTH = 16;
/** An escape sequence that may not have come to its end is not longer. */
const MAX_SEQUENCE_BYTES = 256;
const ESCAPE = 0x1b;
const USUAL_SIZE: ScreenSize = { columns: 80, rows: 24 };

export function createScreen(size: ScreenSize, options: ScreenOptions): Screen {
  return new TerminalScreen(size, options);
}

class TerminalScreen implements Screen {
  readonly #options: ScreenOptions;
  #size: ScreenSize;
  #terminal: ReadTerminal | undefined;
  #lastBytes = 0;
  /** What the terminal has not read yet. */
  #pending: Came[] = [];
  #pendingBytes = 0;
  #sinceBytes = 0;
  #isReading = false;
  #isOver = false;
  #waiting: ((screen: ShownScreen | undefined) => void)[] = [];
  #room: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(size: ScreenSize, options: ScreenOptions) {
    this.#size = knownSize(size);
    this.#options = options;
    this.#isOver = !isKept(this.#size);
  }

  output(bytes: Buffer, onRoom: () => void): void {
    if (this.#isOver) {
      onRoom();
      return;
    }
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    this.#sinceBytes += bytes.length;
    const most = Math.max(this.#options.everyBytes ?? EVERY_BYTES, 4 * this.#lastBytes);
    if (this.#sinceBytes >= most || this.#pending.length > MAX_PENDING_PIECES) this.#keep();
    else this.#timer ??= setTimeout(() => this.#due(), this.#options.everyMs ?? EVERY_MS).unref();
    if (this.#pendingBytes <= MAX_PENDING_BYTES && this.#pending.length <= MAX_PENDING_PIECES)
      onRoom();
    else this.#room.push(onRoom);
  }

  resized(given: ScreenSize): void {
    const size = knownSize(given);
    if (this.#isOver) return;
    if (!isKept(size)) this.close();
    else {
      // Of sizes that nothing was written at the last is as good as all.
      if (isSize(this.#pending.at(-1))) this.#pending.pop();
      this.#pending.push(size);
    }
  }

  show(callback: (screen: ShownScreen | undefined) => void): void {
    if (this.#isOver) {
      callback(undefined);
      return;
    }
    this.#waiting.push(callback);
    void this.#read();
  }

  close(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#pending = [];
    this.#terminal?.close();
    for (const callback of this.#waiting.splice(0)) callback(undefined);
    for (const onRoom of this.#room.splice(0)) onRoom();
  }

  #due(): void {
    this.#timer = undefined;
    if (this.#sinceBytes * WORTH >= this.#lastBytes) this.#keep();
  }

  #keep(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sinceBytes = 0;
    this.show((screen) => {
      if (screen !== undefined) this.#options.keep(screen);
    });
  }

  /** A size cannot be, and much is better read: no more comes than there is room for. */
  get #canBeAppended(): boolean {
    return this.#pendingBytes <= MAX_APPENDED_BYTES && !this.#pending.some(isSize);
  }

  /** Never rejects: a terminal that fails is one that is not kept. */
  async #read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      this.#terminal ??= openTerminal(this.#size);
      let shown: ShownScreen;
      do {
        const came = this.#pending;
        const rest = takeUnfinished(came);
        this.#pending = rest === undefined ? [] : [rest];
        this.#pendingBytes = rest?.length ?? 0;
        shown = await this.#terminal.read(came);
      } while (!this.#isOver && !this.#canBeAppended);
      this.#isReading = false;
      this.#tell(shown);
    } catch {
      this.close();
    }
  }

  #tell({ bytes, columns, rows }: ShownScreen): void {
    if (this.#isOver) return;
    this.#size = { columns, rows };
    this.#lastBytes = bytes.length;
    const appended = this.#pending.filter((one) => one instanceof Uint8Array);
    const shown = { ...this.#size, bytes: Buffer.concat([bytes, ...appended]) };
    for (const callback of this.#waiting.splice(0)) callback(shown);
    for (const onRoom of this.#room.splice(0)) onRoom();
  }
}

/** RFC 4254 section 6.2: zero is a size that the client does not know (ssh -tt without a terminal). */
function knownSize({ columns, rows }: ScreenSize): ScreenSize {
  return columns === 0 || rows === 0 ? USUAL_SIZE : { columns, rows };
}

function isKept({ columns, rows }: ScreenSize): boolean {
  return columns * rows <= MAX_CELLS && rows <= MAX_ROWS;
}

function isSize(came: Came | undefined): came is ScreenSize {
  return came !== undefined && !(came instanceof Uint8Array);
}

/** Takes off what may be the beginning of a sequence or character: the terminal would keep it out of sight. */
function takeUnfinished(came: Came[]): Uint8Array | undefined {
  const last = came.at(-1);
  if (last === undefined || isSize(last)) return undefined;
  const tail = last.subarray(-MAX_SEQUENCE_BYTES);
  let at = tail.lastIndexOf(ESCAPE);
  if (at < 0) {
    // At most three bytes of a character are there without its last.
    const lead = tail.subarray(-3).findLastIndex((byte) => byte >= 0xc0);
    if (lead < 0) return undefined;
    at = Math.max(0, tail.length - 3) + lead;
  }
  const from = last.length - tail.length + at;
  came[came.length - 1] = last.subarray(0, from);
  return last.subarray(from);
}
