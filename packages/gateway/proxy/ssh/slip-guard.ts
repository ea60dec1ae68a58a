// Hold to run: of a line typed into a shell that policies would forbid or hold as a command, the Enter is
// held back once, and a second one lets it go. A guard against slips and nothing more: what is pasted,
// completed, recalled or put together by the shell is not read, nor what runs because of it. Nothing of what
// is typed is written down here; it may be a password.
//
// Who owns the state: one a shell.

export interface Typed {
  /** What goes on to the shell. */
  readonly keys: Buffer;
  /** For who types: why the Enter was held. */
  readonly held: string | undefined;
}

const MAX_LINE_BYTES = 4096;
/** Of what comes at once: more was pasted, and reading thousands of lines would hold up everybody else. */
const MAX_LINES_READ = 8;
const ENTER: ReadonlySet<number> = new Set([0x0a, 0x0d]);
const ERASE: ReadonlySet<number> = new Set([0x08, 0x7f]);
/** Ctrl-C, Ctrl-D, Ctrl-U. */
const START_AGAIN: ReadonlySet<number> = new Set([0x03, 0x04, 0x15]);

export class SlipGuard {
  readonly #stops: (line: string) => string | undefined;
  #line: number[] = [];
  /** Every key of it was one that means itself. */
  #isKnown = true;
  #isHeld = false;

  /** `stops`: why a line should not run by a slip; undefined: nothing is against it, or it is not read. */
  constructor(stops: (line: string) => string | undefined) {
    this.#stops = stops;
  }

  typed(keys: Buffer): Typed {
    let read = 0;
    for (const [at, key] of keys.entries()) {
      if (!ENTER.has(key)) {
        this.#isHeld = false;
        this.#add(key);
        continue;
      }
      const line = Buffer.from(this.#line).toString("utf8");
      const isRead = !this.#isHeld && this.#isKnown && line.trim() !== "" && read < MAX_LINES_READ;
      if (isRead) read += 1;
      const why = isRead ? this.#stops(line) : undefined;
      if (why !== undefined) {
        this.#isHeld = true;
        // What came with the Enter was meant for after it.
        return { keys: keys.subarray(0, at), held: why };
      }
      this.#start();
    }
    return { keys, held: undefined };
  }

  #add(key: number): void {
    if (START_AGAIN.has(key)) this.#start();
    else if (ERASE.has(key)) this.#erase();
    else if (key < 0x20 || this.#line.length >= MAX_LINE_BYTES) this.#isKnown = false;
    else this.#line.push(key);
  }

  #erase(): void {
    // The last character, however many bytes it has.
    for (let last = this.#line.pop(); last !== undefined && (last & 0xc0) === 0x80; )
      last = this.#line.pop();
  }

  #start(): void {
    this.#line = [];
    this.#isKnown = true;
    this.#isHeld = false;
  }
}
