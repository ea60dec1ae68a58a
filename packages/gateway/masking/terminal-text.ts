// What of a stream a terminal shows as text, and what are its control sequences (ECMA-48 section 5, and the
// strings of xterm). Sequences are of bounded length; what is no whole one is text, so that nothing hides
// behind a beginning.
//
// Who owns the state: one a stream; the bytes are the caller's, who is told places in what it has.

/** Characters that are shown, in order, and where each of them is. */
export interface ShownText {
  readonly codes: Uint8Array;
  readonly places: Int32Array;
  count: number;
}

/** The text of a string (OSC, DCS and their like), which is not shown where it stands. */
export type OnString = (from: number, to: number) => void;

const ESC = 0x1b;
const MAX_SEQUENCE_BYTES = 64;
const MAX_STRING_BYTES = 4096;

type State = "text" | "escape" | "control" | "string" | "string-escape";

export class TerminalText {
  readonly #onString: OnString;
  #state: State = "text";
  #from = 0;

  constructor(onString: OnString) {
    this.#onString = onString;
  }

  /** Where a sequence begins that is not over. */
  get pendingFrom(): number | undefined {
    return this.#state === "text" ? undefined : this.#from;
  }

  /** What is new of `bytes`; `shown` has room for all that is pending and new. */
  read(bytes: Uint8Array, from: number, shown: ShownText): void {
    for (let place = from; place < bytes.length; place += 1) {
      const code = bytes[place] ?? 0;
      if (this.#state === "text" && code >= 0x20 && code !== 0x7f) show(shown, code, place);
      else this.#next(code, place, bytes, shown);
    }
  }

  /** There is no more: what is not whole is text. */
  end(bytes: Uint8Array, shown: ShownText): void {
    while (this.#state !== "text") this.#asText(bytes.length, bytes, shown);
  }

  /** So many bytes are gone from the front. */
  forget(count: number): void {
    this.#from -= count;
  }

  #next(code: number, place: number, bytes: Uint8Array, shown: ShownText): void {
    switch (this.#state) {
      case "text":
        if (code === ESC) this.#begin(place);
        // Of the control characters those that move on are seen (ECMA-48 section 8.3); others show nothing.
        else if ((code >= 0x20 && code !== 0x7f) || (code >= 0x09 && code <= 0x0d))
          show(shown, code, place);
        return;
      case "escape":
        this.#escape(code, place, bytes, shown);
        return;
      case "control":
        if (code >= 0x40 && code <= 0x7e) this.#state = "text";
        else if (code < 0x20 || code > 0x3f || place - this.#from >= MAX_SEQUENCE_BYTES)
          this.#asText(place, bytes, shown);
        return;
      case "string":
        if (code === ESC) this.#state = "string-escape";
        // BEL, as xterm has it; CAN and SUB.
        else if (code === 0x07 || code === 0x18 || code === 0x1a) this.#endString(place);
        else if (place - this.#from >= MAX_STRING_BYTES) this.#asText(place, bytes, shown);
        return;
      case "string-escape":
        this.#endString(place - 1);
        if (code === 0x5c) return;
        // Another sequence begins, which ends the string too.
        this.#begin(place - 1);
        this.#escape(code, place, bytes, shown);
        return;
    }
  }

  #begin(place: number): void {
    this.#state = "escape";
    this.#from = place;
  }

  #escape(code: number, place: number, bytes: Uint8Array, shown: ShownText): void {
    if (code === 0x5b) this.#state = "control";
    else if (code === 0x50 || code === 0x58 || (code >= 0x5d && code <= 0x5f))
      this.#state = "string";
    else if (code >= 0x30 && code <= 0x7e) this.#state = "text";
    else if (code < 0x20 || code > 0x2f || place - this.#from >= MAX_SEQUENCE_BYTES)
      this.#asText(place, bytes, shown);
  }

  #endString(to: number): void {
    this.#state = "text";
    this.#onString(this.#from + 2, to);
  }

  /** It was no sequence: what came behind its ESC is text, up to and with this place. */
  #asText(place: number, bytes: Uint8Array, shown: ShownText): void {
    const from = this.#from + 1;
    this.#state = "text";
    for (let at = from; at <= place && at < bytes.length; at += 1)
      this.#next(bytes[at] ?? 0, at, bytes, shown);
  }
}

function show(shown: ShownText, code: number, place: number): void {
  shown.codes[shown.count] = code;
  shown.places[shown.count] = place;
  shown.count += 1;
}
