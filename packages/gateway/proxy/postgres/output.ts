// Whole messages on their way to one peer, written once a batch. A run of messages that lie side by
// side in the chunk they came in stays one view of it: nothing is copied that nobody changes.
//
// Who owns the state: the relay that made it.

import type { Socket } from "node:net";

/** Several small pieces become one write (one TLS record); larger ones are handed over as they are. */
const JOIN_BYTES = 16_384;

export class Output {
  readonly #socket: Socket;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #run: Buffer | undefined;
  #runStart = 0;
  #runEnd = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** buffer[start,end) is one or more whole messages; the buffer is not written to again. */
  range(buffer: Buffer, start: number, end: number): void {
    if (this.#run === buffer && this.#runEnd === start) {
      this.#runEnd = end;
      return;
    }
    this.#closeRun();
    this.#run = buffer;
    this.#runStart = start;
    this.#runEnd = end;
  }

  push(message: Buffer): void {
    this.range(message, 0, message.length);
  }

  /** The pieces so far, for a write that has to wait; the output starts anew. */
  take(): Buffer[] {
    this.#closeRun();
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#bytes = 0;
    return pieces;
  }

  /** False: the peer is slower than we are, wait for "drain". */
  flush(): boolean {
    this.#closeRun();
    const bytes = this.#bytes;
    const pieces = this.#pieces;
    if (pieces.length === 0) return true;
    this.#pieces = [];
    this.#bytes = 0;
    return writePieces(this.#socket, pieces, bytes);
  }

  #closeRun(): void {
    if (this.#run === undefined) return;
    const { length } = this.#run;
    const whole = this.#runStart === 0 && this.#runEnd === length;
    this.#pieces.push(whole ? this.#run : this.#run.subarray(this.#runStart, this.#runEnd));
    this.#bytes += this.#runEnd - this.#runStart;
    this.#run = undefined;
  }
}

/** One write where that is cheap; false: wait for "drain". */
export function writePieces(socket: Socket, pieces: readonly Buffer[], bytes: number): boolean {
  if (!socket.writable) return true;
  const [first] = pieces;
  if (first === undefined) return true;
  if (pieces.length === 1) return socket.write(first);
  if (bytes <= JOIN_BYTES) return socket.write(Buffer.concat(pieces, bytes));
  socket.cork();
  let flowing = true;
  for (const piece of pieces) flowing = socket.write(piece);
  socket.uncork();
  return flowing;
}
