// What is to be written, in order, as few pieces: small ones are put together in a slab, large ones are
// kept as they are. Bytes handed out are never written to again.

export class OutputQueue {
  #pieces: Buffer[] = [];
  #bytes = 0;
  #slab: Buffer = EMPTY;
  /** #slab[#from,#to) is written and not yet a piece. */
  #from = 0;
  #to = 0;

  /** The bytes must not change any more. */
  push(bytes: Buffer): void {
    this.#bytes += bytes.length;
    if (bytes.length > MAX_COPIED_BYTES) {
      this.#endPiece();
      this.#pieces.push(bytes);
      return;
    }
    if (bytes.length > this.#slab.length - this.#to) {
      this.#endPiece();
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#from = 0;
      this.#to = 0;
    }
    bytes.copy(this.#slab, this.#to);
    this.#to += bytes.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  take(): Buffer[] {
    this.#endPiece();
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#bytes = 0;
    // An idle connection keeps no slab of many.
    if (this.#to > SLAB_BYTES / 2) {
      this.#slab = EMPTY;
      this.#from = 0;
      this.#to = 0;
    }
    return pieces;
  }

  #endPiece(): void {
    if (this.#to === this.#from) return;
    this.#pieces.push(this.#slab.subarray(this.#from, this.#to));
    this.#from = this.#to;
  }
}

const EMPTY = Buffer.alloc(0);
const SLAB_BYTES = 8192;
const MAX_COPIED_BYTES = 2048;
