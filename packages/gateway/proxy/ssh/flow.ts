// The data of one channel in one direction, from one peer to the other, in order: normal and extended
// data, then its end. Until there is somewhere to go it waits, and since nothing of it counts as
// consumed the sender's window closes: that is how input is held without bound in time and bounded in
// memory.
//
// Who owns the state: one a direction of a channel; the windows are the codec's.

import { type Gathering, gather } from "./gather.ts";
import type { SshPeer } from "./peer.ts";

export interface ChannelEnd {
  readonly peer: SshPeer;
  readonly channel: number;
}

interface Piece extends Gathering {
  /** How much of it the source still waits to have consumed. */
  owed: number;
  /** Whether it may go: what was recorded of it is far enough on its way to disk. */
  isReady: boolean;
  /** Instead of data: what is said at this place. */
  readonly act?: () => void;
}

/** Of recording/recorder.ts; `delivery` for what goes to a client. */
export interface FlowRecorder {
  readonly room: (done: () => void) => boolean;
  readonly delivery?: (done: () => void) => boolean;
}

export class Flow {
  readonly #recorder: FlowRecorder;
  #source: ChannelEnd | undefined;
  #sink: ChannelEnd | undefined;
  #queue: Piece[] = [];
  #owed = 0;
  #isSettling = false;
  #hasEnded = false;
  /** What comes now is the gateway's own. */
  #isLast = false;
  #hasSentEof = false;
  #afterwards: (() => void) | undefined;

  constructor(recorder: FlowRecorder) {
    this.#recorder = recorder;
  }

  get sink(): ChannelEnd | undefined {
    return this.#sink;
  }

  /** It has not ended, and nothing waits to be taken. */
  get isFree(): boolean {
    return !this.#hasEnded && this.#queue.length === 0;
  }

  /** Whose window the data counts against; until then it is the gateway's own. */
  from(source: ChannelEnd): this {
    this.#source = source;
    return this;
  }

  to(sink: ChannelEnd): this {
    this.#sink = sink;
    this.advance();
    return this;
  }

  /** `owed`: what of the source's window goes with it. */
  push(stream: number, data: Buffer, owed: number): void {
    if (data.length === 0 || this.#hasEnded) {
      this.#owe(owed);
      return;
    }
    this.#add({ stream, data, owed, isReady: false });
  }

  /** After what was pushed, and when that may go. */
  inOrder(act: () => void): void {
    if (this.#hasSentEof) act();
    else this.#add({ stream: 0, data: NOTHING, owed: 0, isReady: false, act });
  }

  /** No more data, but the other direction goes on. */
  end(): void {
    this.#hasEnded = true;
    this.advance();
  }

  /** What was pushed is let out first. */
  finish(afterwards: () => void): void {
    this.#afterwards = afterwards;
    this.advance();
  }

  /** The session ends: what may not go yet never goes; why it ended still does, and an end that was not said after it. */
  dropHeld(): void {
    this.#isLast = true;
    this.#hasEnded = this.#hasSentEof;
    for (const piece of this.#queue) if (!piece.isReady) this.#owed += piece.owed;
    this.#queue = this.#queue.filter((piece) => piece.isReady);
    this.#owe(0);
  }

  /** Nobody wants what is left: the source may go on all the same, into nothing. */
  drop(): void {
    for (const piece of this.#queue) this.#owed += piece.owed;
    this.#queue = [];
    this.#owe(0);
  }

  /** As much as the sink takes now. */
  advance(): void {
    const sink = this.#sink;
    if (sink === undefined) return;
    for (let piece = this.#queue[0]; piece?.isReady; piece = this.#queue[0]) {
      if (piece.act !== undefined) {
        this.#queue.shift();
        piece.act();
        continue;
      }
      const taken = sink.peer.connection.sendData(sink.channel, piece.data, piece.stream);
      if (taken === piece.data.length) {
        this.#queue.shift();
        this.#owed += piece.owed;
        continue;
      }
      const paid = Math.min(taken, piece.owed);
      this.#owed += paid;
      piece.owed -= paid;
      piece.data = piece.data.subarray(taken);
      break;
    }
    sink.peer.touch();
    this.#owe(0);
    if (this.#queue.length > 0) return;
    if (this.#hasEnded && !this.#hasSentEof) {
      this.#hasSentEof = true;
      sink.peer.connection.sendEof(sink.channel);
    }
    const { peer } = sink;
    const afterwards = this.#afterwards;
    this.#afterwards = undefined;
    afterwards?.();
    peer.touch();
  }

  #add(piece: Piece): void {
    const { delivery } = this.#recorder;
    piece.isReady =
      this.#isLast ||
      delivery === undefined ||
      delivery(() => {
        piece.isReady = true;
        this.advance();
      });
    const last = this.#queue.at(-1);
    if (
      last !== undefined &&
      isPlain(last) &&
      isPlain(piece) &&
      gather(this.#queue, piece.stream, piece.data)
    )
      last.owed += piece.owed;
    else this.#queue.push(piece);
    this.advance();
  }

  // The window opens again only as fast as the sink's socket empties, whatever window the sink gave.
  #owe(bytes: number): void {
    this.#owed += bytes;
    if (this.#owed === 0 || this.#isSettling || this.#source === undefined) return;
    this.#isSettling = true;
    const settle = () => {
      if (!this.#recorder.room(settle)) return;
      this.#isSettling = false;
      const owed = this.#owed;
      this.#owed = 0;
      const source = this.#source;
      if (source === undefined || owed === 0) return;
      source.peer.connection.consumed(source.channel, owed);
      source.peer.touch();
    };
    if (this.#sink === undefined) settle();
    else this.#sink.peer.whenDrained(settle);
  }
}

/** Data that may go, and waits for the sink alone. */
function isPlain({ act, isReady }: Piece): boolean {
  return isReady && act === undefined;
}

const NOTHING = Buffer.alloc(0);
