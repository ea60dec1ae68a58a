// Bytes that came, until as many are there as somebody needs. What lies whole in one chunk is not
// copied; what is split is assembled in a buffer that grows with what arrives, never with what is
// announced.

export class ByteQueue {
  #chunk: Buffer = EMPTY;
  #at = 0;
  /** Came while #chunk was not used up. */
  #later: Buffer[] = [];
  #laterBytes = 0;
  /** #held[0,#heldBytes) comes before what is left of #chunk. */
  #held: Buffer = EMPTY;
  #heldBytes = 0;

  /** The queue takes the chunk over. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    if (this.#at === this.#chunk.length && this.#later.length === 0) {
      this.#chunk = chunk;
      this.#at = 0;
      return;
    }
    this.#laterBytes += chunk.length;
    const last = this.#later.at(-1);
    // Many small chunks would cost more than their bytes.
    if (last !== undefined && last.length + chunk.length <= MAX_JOINED_BYTES) {
      this.#later[this.#later.length - 1] = Buffer.concat([last, chunk]);
    } else {
      this.#later.push(chunk);
    }
  }

  get bytes(): number {
    return this.#heldBytes + this.#chunk.length - this.#at + this.#laterBytes;
  }

  /** A view of the next `size` bytes, which stay in the queue; undefined when fewer are there. */
  peek(size: number): Buffer | undefined {
    if (this.#heldBytes === 0 && this.#chunk.length - this.#at >= size) {
      return this.#chunk.subarray(this.#at, this.#at + size);
    }
    if (!this.#assemble(size)) return undefined;
    return this.#held.subarray(0, size);
  }

  /** The next `size` bytes; undefined when fewer are there. They are not written to again. */
  take(size: number): Buffer | undefined {
    const view = this.peek(size);
    if (view === undefined) return undefined;
    if (this.#heldBytes === 0) {
      this.#at += size;
      if (this.#at === this.#chunk.length) this.#nextChunk();
      return view;
    }
    const left = this.#held.subarray(size, this.#heldBytes);
    this.#held = EMPTY;
    this.#heldBytes = 0;
    // A peek of more than was taken: what is left goes in front of the rest again.
    if (left.length > 0) {
      const rest = this.#chunk.subarray(this.#at);
      if (rest.length > 0) {
        this.#later.unshift(rest);
        this.#laterBytes += rest.length;
      }
      this.#chunk = left;
      this.#at = 0;
    }
    return view;
  }

  #assemble(size: number): boolean {
    while (this.#heldBytes < size) {
      const available = this.#chunk.length - this.#at;
      if (available === 0) return false;
      const taken = Math.min(size - this.#heldBytes, available);
      const needed = this.#heldBytes + taken;
      if (needed > this.#held.length) {
        const room = Math.max(needed, Math.min(size, Math.max(FIRST_HELD_BYTES, 2 * needed)));
        const grown = Buffer.allocUnsafeSlow(room);
        this.#held.copy(grown, 0, 0, this.#heldBytes);
        this.#held = grown;
      }
      this.#chunk.copy(this.#held, this.#heldBytes, this.#at, this.#at + taken);
      this.#heldBytes = needed;
      this.#at += taken;
      if (this.#at === this.#chunk.length) this.#nextChunk();
    }
    return true;
  }

  #nextChunk(): void {
    this.#chunk = this.#later.shift() ?? EMPTY;
    this.#laterBytes -= this.#chunk.length;
    this.#at = 0;
  }
}

const EMPTY = Buffer.alloc(0);
const FIRST_HELD_BYTES = 1024;
const MAX_JOINED_BYTES = 4096;
