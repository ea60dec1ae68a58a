// JSON read so that a name is the name that is written there. V8 from 12.8 on (nodejs/node#63785) takes a name
// with an escape in it for another one that it read before and that begins with the same characters: after an
// object with the name `d\u0` one with `"d\u0061ta"` has that name again, and no `data`. Texts with such
// names are read here, all others by V8 (RFC 8259).

import { StringEnds } from "./json-strings.ts";

/** Names are a few, and lists are not nested by the thousand. */
const MAX_DEPTH = 1000;
const QUOTE = 0x22;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORDS: readonly (readonly [string, boolean | null])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
];

export type OfNumber = (value: number, source: string) => unknown;

/**
 * As JSON.parse: of a name given twice the last value counts. `ofNumber` is given each number and how it is
 * written, and gives what stands for it. Throws SyntaxError; RangeError for a text with escapes in names that is
 * nested deeper than 1,000.
 */
export function readJson(text: string, ofNumber?: OfNumber): unknown {
  if (hasEscapedName(text)) return new Reading(text, ofNumber ?? Number).document();
  if (ofNumber === undefined) return JSON.parse(text);
  return JSON.parse(text, (_name, value: unknown, context?: { readonly source?: string }) =>
    typeof value === "number" && context?.source !== undefined
      ? ofNumber(value, context.source)
      : value,
  );
}

/** Of what is JSON; of anything else either. */
function hasEscapedName(text: string): boolean {
  const ends = new StringEnds(text);
  let at = text.indexOf("\\");
  while (at >= 0) {
    let next = ends.from(at);
    while (isSpace(text.charCodeAt(next))) next++;
    if (text[next] === ":") return true;
    at = text.indexOf("\\", next);
  }
  return false;
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

class Reading {
  readonly #text: string;
  readonly #ofNumber: OfNumber;
  readonly #ends: StringEnds;
  #at = 0;
  #depth = 0;

  constructor(text: string, ofNumber: OfNumber) {
    this.#text = text;
    this.#ofNumber = ofNumber;
    this.#ends = new StringEnds(text);
  }

  document(): unknown {
    const value = this.#value();
    this.#space();
    if (this.#at < this.#text.length) throw this.#wrong();
    return value;
  }

  #value(): unknown {
    this.#space();
    const code = this.#text.charCodeAt(this.#at);
    if (code === QUOTE) return this.#string();
    if (this.#takes("{")) return this.#nested(() => this.#object());
    if (this.#takes("[")) return this.#nested(() => this.#list());
    for (const [word, value] of WORDS)
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    return this.#number();
  }

  #nested<T>(read: () => T): T {
    this.#depth++;
    if (this.#depth > MAX_DEPTH) throw new RangeError("JSON is nested too deeply");
    const value = read();
    this.#depth--;
    return value;
  }

  #object(): object {
    const object = {};
    this.#space();
    if (this.#takes("}")) return object;
    do {
      this.#space();
      if (this.#text.charCodeAt(this.#at) !== QUOTE) throw this.#wrong();
      const name = this.#string();
      this.#space();
      if (!this.#takes(":")) throw this.#wrong();
      const own = { value: this.#value(), writable: true, enumerable: true, configurable: true };
      Object.defineProperty(object, name, own);
      this.#space();
    } while (this.#takes(","));
    if (!this.#takes("}")) throw this.#wrong();
    return object;
  }

  #list(): unknown[] {
    const list: unknown[] = [];
    this.#space();
    if (this.#takes("]")) return list;
    do {
      list.push(this.#value());
      this.#space();
    } while (this.#takes(","));
    if (!this.#takes("]")) throw this.#wrong();
    return list;
  }

  /** One string by itself is read as it is written. */
  #string(): string {
    const from = this.#at;
    this.#at = this.#ends.from(from + 1);
    return JSON.parse(this.#text.slice(from, this.#at)) as string;
  }

  #number(): unknown {
    NUMBER.lastIndex = this.#at;
    const source = NUMBER.exec(this.#text)?.[0];
    if (source === undefined) throw this.#wrong();
    this.#at += source.length;
    return this.#ofNumber(Number(source), source);
  }

  #space(): void {
    while (isSpace(this.#text.charCodeAt(this.#at))) this.#at++;
  }

  #takes(one: string): boolean {
    if (this.#text[this.#at] !== one) return false;
    this.#at++;
    return true;
  }

  #wrong(): SyntaxError {
    return new SyntaxError(`JSON is not well formed at character ${this.#at}`);
  }
}
