// Frames of the PostgreSQL protocol 3 after start-up: a type byte, a length that counts itself but not
// the type (PostgreSQL documentation, section 54.7 "Message Formats"), the body. The cursor finds them
// in a stream of chunks. A frame that lies whole in one chunk is not copied; one that is split is
// assembled in a buffer of its own that grows with what arrives, never with what is announced.
//
// State: the chunk being read, and the incomplete frame. One cursor per direction of a connection.

import { WireError } from "./errors.ts";

export interface FrameLimits {
  /** Largest frame, header included. */
  readonly maxFrameBytes: number;
}

/** Type and length. */
export const FRAME_HEADER_BYTES = 5;

export class FrameCursor {
  /** The current frame's type byte. */
  type = 0;
  /**
   * The current frame is buffer[start,end), header included. Frames that follow each other in one
   * chunk share `buffer`, so a run of them can be forwarded in one piece. Valid until `next()` says
   * false; an assembled frame's buffer is never written to again.
   */
  buffer: Buffer = EMPTY;
  start = 0;
  end = 0;

  readonly #maxFrameBytes: number;
  #chunk: Buffer = EMPTY;
  #at = 0;
  #held: Buffer = EMPTY;
  #heldBytes = 0;

  constructor(limits: FrameLimits) {
    this.#maxFrameBytes = limits.maxFrameBytes;
  }

  /** @throws WireError "state" while the previous chunk still holds bytes `next()` has not been through. */
  push(chunk: Buffer): void {
    if (this.#at < this.#chunk.length) {
      throw new WireError("state", "the previous chunk is not used up");
    }
    this.#chunk = chunk;
    this.#at = 0;
  }

  /**
   * To the next whole frame; false when more bytes are needed: then everything pushed has been taken
   * over and the chunk may be reused by its owner.
   * @throws WireError "length" or "limit", again at every further call.
   */
  next(): boolean {
    if (this.#heldBytes > 0) return this.#assemble();
    const chunk = this.#chunk;
    const at = this.#at;
    const available = chunk.length - at;
    if (available >= FRAME_HEADER_BYTES) {
      const bytes = this.#frameBytes(chunk, at);
      if (bytes <= available) {
        this.type = chunk[at]!;
        this.buffer = chunk;
        this.start = at;
        this.end = at + bytes;
        this.#at = at + bytes;
        return true;
      }
      this.#hold(available, bytes);
    } else if (available > 0) {
      this.#hold(available, FRAME_HEADER_BYTES);
    }
    return this.#wait();
  }

  /**
   * Lets the current frame reach over the whole frames of its type that follow it in the chunk, and says
   * how many there are now: what need not be looked at one by one.
   * @throws WireError "length" or "limit", as `next` does.
   */
  takeRun(): number {
    const chunk = this.#chunk;
    if (this.buffer !== chunk || chunk === EMPTY) return 1;
    let count = 1;
    let at = this.#at;
    while (chunk.length - at >= FRAME_HEADER_BYTES && chunk[at] === this.type) {
      const next = at + this.#frameBytes(chunk, at);
      if (next > chunk.length) break;
      at = next;
      count++;
    }
    this.#at = at;
    this.end = at;
    return count;
  }

  /** Bytes of an incomplete frame are held. */
  get partial(): boolean {
    return this.#heldBytes > 0;
  }

  /** How many bytes of an incomplete frame are held. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  #frameBytes(buffer: Buffer, at: number): number {
    const length = buffer.readInt32BE(at + 1);
    if (length < 4) throw new WireError("length", `message length ${length}`);
    if (length >= this.#maxFrameBytes) {
      throw new WireError(
        "limit",
        `message of ${length} bytes, at most ${this.#maxFrameBytes - 1}`,
      );
    }
    return length + 1;
  }

  #assemble(): boolean {
    if (this.#heldBytes < FRAME_HEADER_BYTES) {
      this.#hold(FRAME_HEADER_BYTES - this.#heldBytes, FRAME_HEADER_BYTES);
      if (this.#heldBytes < FRAME_HEADER_BYTES) return this.#wait();
    }
    const bytes = this.#frameBytes(this.#held, 0);
    this.#hold(bytes - this.#heldBytes, bytes);
    if (this.#heldBytes < bytes) return this.#wait();
    this.type = this.#held[0]!;
    this.buffer = this.#held;
    this.start = 0;
    this.end = bytes;
    this.#held = EMPTY;
    this.#heldBytes = 0;
    return true;
  }

  /** Takes up to `wanted` bytes of the chunk over into a buffer that will need `finalBytes`. */
  #hold(wanted: number, finalBytes: number): void {
    const taken = Math.min(wanted, this.#chunk.length - this.#at);
    const needed = this.#heldBytes + taken;
    if (needed > this.#held.length) {
      const doubled = Math.max(needed, this.#held.length * 2, FIRST_HELD_BYTES);
      const grown = Buffer.allocUnsafe(Math.max(needed, Math.min(finalBytes, doubled)));
      this.#held.copy(grown, 0, 0, this.#heldBytes);
      this.#held = grown;
    }
    this.#chunk.copy(this.#held, this.#heldBytes, this.#at, this.#at + taken);
    this.#heldBytes = needed;
    this.#at += taken;
  }

  /** Lets go of the chunk, so that an idle connection keeps none alive. */
  #wait(): boolean {
    this.#chunk = EMPTY;
    this.#at = 0;
    this.buffer = EMPTY;
    this.start = 0;
    this.end = 0;
    this.type = 0;
    return false;
  }
}

const EMPTY = Buffer.alloc(0);
const FIRST_HELD_BYTES = 1024;
