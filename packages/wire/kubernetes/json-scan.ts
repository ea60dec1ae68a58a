// Where a JSON object or array ends, and that it is one (RFC 8259): read once, byte by byte as it arrives, by
// the grammar as a table. Stricter than a search for brackets, so that nobody has to parse what nothing is to be
// masked in: whatever is no JSON is refused here. That it is UTF-8 is for others to see, on all of it at once.
//
// Who owns the state: one scanner a response.

import { KubernetesWireError } from "./errors.ts";

/** As deep as Go's encoding/json goes. */
const MAX_DEPTH = 10_000;

// States: what may come next.
const FAULT = 0;
const VALUE = 1;
const VALUE_OR_END = 2;
const KEY = 3;
const KEY_OR_END = 4;
const COLON = 5;
const AFTER = 6;
const STRING = 7;
const ESCAPE = 8;
/** Four digits are to come; three, two, one in the states below. */
const HEX = 12;
const MINUS = 13;
const ZERO = 14;
const INTEGER = 15;
const POINT = 16;
const FRACTION = 17;
const EXPONENT = 18;
const EXPONENT_SIGN = 19;
const EXPONENT_DIGITS = 20;
/** Letters of the three words, each a state of its own. */
const WORDS = 21;
// Moves that do more than go to a state.
const OPEN_OBJECT = 40;
const OPEN_ARRAY = 41;
const CLOSE_OBJECT = 42;
const CLOSE_ARRAY = 43;
const NEXT = 44;
const BEGIN_KEY = 45;
const BEGIN_TEXT = 46;
const END_STRING = 47;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Bytes of a string for which a view of the chunk is not worth it. */
const FEW = 48;
const ONES = 0x01010101;

/** By state and byte: the next state, or a move. */
const MOVES = movesOfJson();

export class JsonScanner {
  #state = VALUE;
  #depth = 0;
  #isKey = false;
  /** 1 for an object, by depth. */
  #kinds: Uint8Array = new Uint8Array(64);

  /** An object or array has begun that has not ended. */
  get isWithin(): boolean {
    return this.#depth > 0;
  }

  /**
   * From the first byte of an object or array, or from where its next bytes are: the index after its end, or
   * the chunk's end while `isWithin`. Throws KubernetesWireError.
   */
  read(chunk: Uint8Array, from: number): number {
    const { length } = chunk;
    let kinds = this.#kinds;
    let depth = this.#depth;
    let state = depth === 0 ? VALUE : this.#state;
    let isKey = this.#isKey;
    let at = from;
    while (at < length) {
      if (state === STRING) {
        // Most bytes are in strings, and most of these say nothing.
        at = plainEnd(chunk, at);
        if (at === length) break;
      }
      const move = MOVES[(state << 8) + (chunk[at++] as number)] as number;
      if (move < OPEN_OBJECT) {
        if (move === FAULT) throw new KubernetesWireError("the answer is no JSON");
        state = move;
        continue;
      }
      switch (move) {
        case OPEN_OBJECT:
        case OPEN_ARRAY:
          if (depth === kinds.length) kinds = this.#deeper();
          kinds[depth++] = move === OPEN_OBJECT ? 1 : 0;
          state = move === OPEN_OBJECT ? KEY_OR_END : VALUE_OR_END;
          break;
        case CLOSE_OBJECT:
        case CLOSE_ARRAY:
          if (depth === 0 || kinds[--depth] !== (move === CLOSE_OBJECT ? 1 : 0))
            throw new KubernetesWireError("the answer is no JSON");
          if (depth === 0) {
            this.#depth = 0;
            return at;
          }
          state = AFTER;
          break;
        case NEXT:
          state = kinds[depth - 1] === 1 ? KEY : VALUE;
          break;
        case END_STRING:
          state = isKey ? COLON : AFTER;
          break;
        default:
          isKey = move === BEGIN_KEY;
          state = STRING;
      }
    }
    this.#state = state;
    this.#depth = depth;
    this.#isKey = isKey;
    return at;
  }

  #deeper(): Uint8Array {
    if (this.#kinds.length >= MAX_DEPTH)
      throw new KubernetesWireError("the answer is nested too deeply");
    const more = new Uint8Array(Math.min(MAX_DEPTH, this.#kinds.length * 4));
    more.set(this.#kinds);
    this.#kinds = more;
    return more;
  }
}

/** The index of the first byte that ends a string, escapes or has no place in one; or the chunk's end. */
function plainEnd(chunk: Uint8Array, from: number): number {
  const { length } = chunk;
  let at = from;
  const near = Math.min(length, from + FEW);
  while (at < near && isPlain(chunk[at] as number)) at++;
  if (at < near || at === length) return at;
  // Long ones four at a time: none is a quote, a backslash or below a space.
  const view = new DataView(chunk.buffer, chunk.byteOffset, length);
  for (; at + 4 <= length; at += 4) {
    const four = view.getInt32(at);
    const told = (four - 0x20202020) | ((four ^ 0x22222222) - ONES) | ((four ^ 0x5c5c5c5c) - ONES);
    if ((told & ~four & 0x80808080) !== 0) break;
  }
  while (at < length && isPlain(chunk[at] as number)) at++;
  return at;
}

function isPlain(byte: number): boolean {
  return byte !== QUOTE && byte >= 0x20 && byte !== BACKSLASH;
}

function movesOfJson(): Uint8Array {
  const moves = new Uint8Array(64 << 8);
  const on = (states: readonly number[], bytes: string, move: number) => {
    for (const state of states)
      for (const byte of bytes) moves[(state << 8) + byte.charCodeAt(0)] = move;
  };
  const digits = "0123456789";
  const values = [VALUE, VALUE_OR_END];
  for (const state of [...values, KEY, KEY_OR_END, COLON, AFTER]) on([state], " \n\r\t", state);
  on(values, "{", OPEN_OBJECT);
  on(values, "[", OPEN_ARRAY);
  on(values, '"', BEGIN_TEXT);
  on([KEY, KEY_OR_END], '"', BEGIN_KEY);
  on([COLON], ":", VALUE);
  // Strings: any byte but control characters; which of them are UTF-8 is not looked at.
  for (let byte = 0x20; byte < 0x100; byte++) moves[(STRING << 8) + byte] = STRING;
  on([STRING], '"', END_STRING);
  on([STRING], "\\", ESCAPE);
  on([ESCAPE], '"\\/bfnrt', STRING);
  on([ESCAPE], "u", HEX);
  for (let left = 0; left < 4; left++)
    on([HEX - left], `${digits}abcdefABCDEF`, left === 3 ? STRING : HEX - left - 1);
  numbers(on, values, digits);
  let word = WORDS;
  for (const letters of ["true", "false", "null"]) {
    on(values, letters.charAt(0), word);
    for (let index = 1; index < letters.length; index++)
      on([word++], letters.charAt(index), index === letters.length - 1 ? AFTER : word);
  }
  // A number ends with what comes after it.
  const ends = [AFTER, ZERO, INTEGER, FRACTION, EXPONENT_DIGITS];
  on(ends, " \n\r\t", AFTER);
  on(ends, ",", NEXT);
  on([...ends, KEY_OR_END], "}", CLOSE_OBJECT);
  on([...ends, VALUE_OR_END], "]", CLOSE_ARRAY);
  return moves;
}

function numbers(
  on: (states: readonly number[], bytes: string, move: number) => void,
  values: readonly number[],
  digits: string,
): void {
  on(values, "-", MINUS);
  on([...values, MINUS], "0", ZERO);
  on([...values, MINUS], "123456789", INTEGER);
  on([INTEGER], digits, INTEGER);
  on([ZERO, INTEGER], ".", POINT);
  on([POINT, FRACTION], digits, FRACTION);
  on([ZERO, INTEGER, FRACTION], "eE", EXPONENT);
  on([EXPONENT], "+-", EXPONENT_SIGN);
  on([EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS], digits, EXPONENT_DIGITS);
}
