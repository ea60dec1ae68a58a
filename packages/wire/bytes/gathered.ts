// Bytes that come in pieces of any size and are wanted as a whole. A piece of one byte takes a hundred and fifty where
// it is kept by itself, and keeps the buffer it was read into; so small pieces are put together as they come, each
// byte copied once for every factor of 64 in their number.
//
// Who owns the state: whoever reads what comes.

const AT_ONCE = 64;

export class Gathered {
  /** What came last is in the first, what is made of 64 of one is in the next. */
  #levels: Buffer[][] = [[]];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Pieces and what was made of them; for tests of what is kept. */
  get pieces(): number {
    return this.#levels.reduce((sum, level) => sum + level.length, 0);
  }

  add(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#length += bytes.length;
    let one = bytes;
    for (const level of this.#levels) {
      level.push(one);
      if (level.length < AT_ONCE) return;
      one = Buffer.concat(level.splice(0));
    }
    this.#levels.push([one]);
  }

  /** All of it, once. */
  take(): Buffer {
    const parts = this.#levels.reverse().flat();
    const [only] = parts;
    this.#levels = [[]];
    this.#length = 0;
    return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
  }
}
