// What goes to the client, in order, each batch only when what was recorded of it is as far on its way to the
// disk as the policies of its commands ask (recording/ahead.ts). Nearly always that is at once; a batch that
// waits makes those behind it wait, and the target is not read meanwhile.
//
// Who owns the state: the relay that made it.

import type { Socket } from "node:net";
import type { Recorder } from "../../recording/recorder.ts";
import { Output, writePieces } from "./output.ts";

interface Batch {
  readonly pieces: readonly Buffer[];
  isReady: boolean;
}

export class Delivery {
  readonly #socket: Socket;
  readonly #recorder: Pick<Recorder, "delivery" | "room">;
  readonly #onFree: () => void;
  readonly #output: Output;
  #waiting: Batch[] = [];
  #isFull = false;
  #isClosed = false;

  /** `onFree`: the disk has what was waited for. */
  constructor(socket: Socket, recorder: Pick<Recorder, "delivery" | "room">, onFree: () => void) {
    this.#socket = socket;
    this.#recorder = recorder;
    this.#onFree = onFree;
    this.#output = new Output(socket);
  }

  range(buffer: Buffer, start: number, end: number): void {
    this.#output.range(buffer, start, end);
  }

  push(message: Buffer): void {
    this.#output.push(message);
  }

  /** Whether more may be read of who answers; if not, `onFree` or the socket's "drain" is when to ask again. */
  get mayRead(): boolean {
    return this.#waiting.length === 0 && this.hasRoom && !this.#socket.writableNeedDrain;
  }

  /** Whether anything more may be recorded; if not, `onFree` is when to ask again. */
  get hasRoom(): boolean {
    if (!this.#isFull) this.#isFull = !this.#recorder.room(this.#onRoom);
    return !this.#isFull;
  }

  /** What came in one turn; all of it was recorded. */
  flush(): void {
    const batch: Batch = { pieces: this.#output.take(), isReady: false };
    if (batch.pieces.length > 0 && !this.#isClosed) this.#give(batch);
  }

  /** Nothing more is written: what was to be on disk before is not given without it. */
  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
  }

  #give(batch: Batch): void {
    batch.isReady = this.#recorder.delivery(() => {
      batch.isReady = true;
      this.#release();
    });
    if (batch.isReady && this.#waiting.length === 0) this.#write(batch);
    else this.#waiting.push(batch);
  }

  #write({ pieces }: Batch): void {
    let bytes = 0;
    for (const piece of pieces) bytes += piece.length;
    writePieces(this.#socket, pieces, bytes);
  }

  #release(): void {
    if (this.#isClosed) return;
    for (let batch = this.#waiting[0]; batch?.isReady; batch = this.#waiting[0]) {
      this.#waiting.shift();
      this.#write(batch);
    }
    this.#onFree();
  }

  readonly #onRoom = (): void => {
    this.#isFull = false;
    if (!this.#isClosed) this.#onFree();
  };
}
