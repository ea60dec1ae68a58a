// What goes to the target, in order, each batch only when its intents are as durable as they must be
// (I1). Batches are what one turn of reading the client gave; a strict one waits for the disk, and an
// ordered one behind it waits with it, since the target must see them in the client's order.

import type { Socket } from "node:net";
import type { Durability, Journal } from "../../audit/journal.ts";
import { Output, writePieces } from "./output.ts";

interface Batch {
  readonly pieces: readonly Buffer[];
  ready: boolean;
}

export class ForwardQueue {
  readonly #socket: Socket;
  readonly #journal: Journal;
  readonly #output: Output;
  readonly #onDrained: () => void;
  #waiting: Batch[] = [];
  #durability: Durability | undefined;
  #closed = false;

  constructor(socket: Socket, journal: Journal, onDrained: () => void) {
    this.#socket = socket;
    this.#journal = journal;
    this.#output = new Output(socket);
    this.#onDrained = onDrained;
  }

  range(buffer: Buffer, start: number, end: number): void {
    this.#output.range(buffer, start, end);
  }

  push(message: Buffer): void {
    this.#output.push(message);
  }

  /** An intent of this batch was appended; the batch goes out when the journal has it. */
  requires(durability: Durability): void {
    if (this.#durability !== "strict") this.#durability = durability;
  }

  /** Batches that wait for the journal. */
  get depth(): number {
    return this.#waiting.length;
  }

  endBatch(): void {
    const durability = this.#durability;
    this.#durability = undefined;
    if (durability === undefined && this.#waiting.length === 0) {
      if (!this.#closed) this.#output.flush();
      return;
    }
    const pieces = this.#output.take();
    if (pieces.length === 0 && durability === undefined) return;
    const batch: Batch = { pieces, ready: durability === undefined };
    this.#waiting.push(batch);
    if (durability !== undefined)
      this.#journal.barrier(durability, () => {
        batch.ready = true;
        this.#release();
      });
  }

  /** Nothing more is written, not even what the journal already has. */
  close(): void {
    this.#closed = true;
    this.#waiting = [];
  }

  #release(): void {
    if (this.#closed) return;
    let released = 0;
    for (const batch of this.#waiting) {
      if (!batch.ready) break;
      released += 1;
      let bytes = 0;
      for (const piece of batch.pieces) bytes += piece.length;
      writePieces(this.#socket, batch.pieces, bytes);
    }
    if (released === 0) return;
    this.#waiting.splice(0, released);
    this.#onDrained();
  }
}
