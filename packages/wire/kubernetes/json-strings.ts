// Where the strings of a JSON text end, and how many values it has, both seen without reading it (RFC 8259): before
// anything is made of a text that its sender chose, and in a few looks at each of its characters, whatever they are.

const QUOTE = '"';
const BACKSLASH = "\\";

/** Asked for places that only grow. Of the next quote and backslash each is looked for once. */
export class StringEnds {
  readonly #text: string;
  #quote = -1;
  #backslash = -1;

  constructor(text: string) {
    this.#text = text;
  }

  /** Behind the quote that ends a string, from within it; the text's length when none does. */
  from(within: number): number {
    const { length } = this.#text;
    for (let at = within; at < length; ) {
      if (this.#quote < at) this.#quote = this.#next(QUOTE, at);
      if (this.#quote === length) return length;
      if (this.#backslash < at) this.#backslash = this.#next(BACKSLASH, at);
      if (this.#backslash > this.#quote) return this.#quote + 1;
      at = this.#backslash + 2;
    }
    return length;
  }

  #next(wanted: string, from: number): number {
    const at = this.#text.indexOf(wanted, from);
    return at < 0 ? this.#text.length : at;
  }
}

/**
 * Whether there are more values than `most` in it, lists, objects and their members counted. Of what is no JSON
 * it says nothing that can be relied on.
 */
export function hasMoreValues(text: string, most: number): boolean {
  // Each but the first needs a comma, a bracket or a brace of its own before it.
  if (text.length <= most) return false;
  const ends = new StringEnds(text);
  let count = 1;
  for (let at = 0; at < text.length; ) {
    const code = text.charCodeAt(at);
    if (code === 0x22) {
      at = ends.from(at + 1);
      continue;
    }
    if ((code === 0x2c || code === 0x5b || code === 0x7b) && ++count > most) return true;
    at++;
  }
  return false;
}
