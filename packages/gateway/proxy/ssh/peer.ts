// One SSH connection on one socket: bytes in, events out, and what the codec has to say written in as
// few writes as there are turns. A peer that does not read what it is sent is not read either, and one that
// asks for much at once has it looked at a little a turn, so that others have theirs. Whatever is thrown on
// the way in from the socket ends this connection, is logged, and goes no further.
//
// Who owns the state: the peer owns the socket from here on; the codec (wire/ssh) all of the protocol's.

import type { Socket } from "node:net";
import type { SshConnection } from "@custody/wire/ssh/connection.ts";
import type { SshEvent } from "@custody/wire/ssh/events.ts";

export interface PeerHandler {
  onEvent(event: SshEvent): void;
  /** Once: the connection is over, whoever ended it. */
  onGone(why: string): void;
}

export type LogFault = (message: string, error?: unknown) => void;

/** Beyond this the other side's windows are not opened further. */
const CONGESTED_BYTES = 1 << 20;
/** Beyond this nothing more is read of a peer whose answers pile up. */
const STUCK_BYTES = 4 << 20;
/** Of what has to be decided on, however many of it one segment holds. */
const DEAR_A_TURN = 2;
/** For the last words to be read. */
const LINGER_MS = 2000;

export class SshPeer {
  readonly connection: SshConnection;
  readonly #socket: Socket;
  readonly #log: LogFault;
  readonly #drained = new Set<() => void>();
  #handler: PeerHandler | undefined;
  #isScheduled = false;
  #isPumping = false;
  /** Until the next turn nothing is taken, and nothing more is read. */
  #isResting = false;
  /** Why it is gone once it rests no more. */
  #leaving: string | undefined;
  #isGone = false;
  #why = "";

  constructor(socket: Socket, connection: SshConnection, log: LogFault) {
    this.#socket = socket;
    this.connection = connection;
    this.#log = log;
    socket.on("data", (chunk: Buffer) => {
      if (this.#isGone) return;
      connection.receive(chunk);
      this.pump();
      if (socket.writableLength > STUCK_BYTES) socket.pause();
    });
    socket.on("drain", () => this.#guarded(() => this.#onDrain()));
    socket.on("end", () => {
      if (this.#isGone) return;
      connection.inputEnded();
      this.#leave("the connection ended");
    });
    socket.on("error", (error) => this.#gone(error.message));
    socket.on("close", () => this.#leave("the connection was closed"));
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  get isCongested(): boolean {
    return this.#socket.writableLength > CONGESTED_BYTES;
  }

  /** Whoever handles the events from now on; what waited is handled at once. */
  handle(handler: PeerHandler): void {
    this.#handler = handler;
    if (this.#isGone) handler.onGone(this.#why);
    else this.touch();
  }

  /** Until somebody else handles them, events wait. */
  pause(): void {
    this.#handler = undefined;
  }

  /** Handles what there is; to be called after an answer that lets the peer go on. */
  pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#guarded(() => this.#takeEvents());
    this.#isPumping = false;
    this.#guarded(() => this.#write());
  }

  /** Something was said to the codec: it is written at the end of this turn. */
  touch(): void {
    if (this.#isScheduled || this.#isGone) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.pump();
    });
  }

  /** Calls back once, when the peer has read enough of what it was sent; at once when it has. */
  whenDrained(callback: () => void): void {
    if (this.isCongested && !this.#isGone) this.#drained.add(callback);
    else callback();
  }

  /** RFC 4253 section 11.1; the reason's text is the last thing the peer reads. */
  disconnect(reason: number, text: string): void {
    if (this.#isGone) return;
    this.connection.disconnect(reason, text);
    this.destroySoon(text);
  }

  /** When the peer has read what it was sent, or soon. */
  destroySoon(why = "the connection was closed"): void {
    this.#write();
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
    this.#gone(why);
  }

  destroy(): void {
    this.#socket.destroy();
    this.#gone("the connection was closed");
  }

  #takeEvents(): void {
    let dear = 0;
    while (!this.#isResting) {
      const handler = this.#handler;
      if (handler === undefined) return;
      const event = this.connection.next();
      if (event === undefined) return;
      handler.onEvent(event);
      if (event.kind === "failed") this.destroySoon(event.error.message);
      if (event.kind === "disconnected") this.destroySoon(event.text || "the peer disconnected");
      if (isDear(event)) dear += 1;
      if (dear >= DEAR_A_TURN) this.#rest();
    }
  }

  #rest(): void {
    this.#isResting = true;
    this.#socket.pause();
    setImmediate(() => {
      this.#isResting = false;
      if (!this.#isGone) this.pump();
      if (this.#leaving !== undefined) this.#leave(this.#leaving);
      if (this.#socket.writableLength <= STUCK_BYTES) this.#readOn();
    });
  }

  /** The peer says nothing more: gone once all it said is taken. */
  #leave(why: string): void {
    if (!this.#isResting && !this.#isGone) this.pump();
    if (this.#isResting) this.#leaving ??= why;
    else this.#gone(why);
  }

  #readOn(): void {
    if (!this.#isResting) this.#socket.resume();
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (thrown) {
      this.#log("an SSH connection ended by a fault", thrown);
      this.#socket.destroy();
      this.#gone("internal error");
    }
  }

  #write(): void {
    if (this.connection.outputBytes === 0 || this.#socket.destroyed) return;
    this.#socket.cork();
    for (const bytes of this.connection.takeOutput()) this.#socket.write(bytes);
    this.#socket.uncork();
  }

  #onDrain(): void {
    if (this.#isGone) return;
    const waiting = [...this.#drained];
    this.#drained.clear();
    for (const callback of waiting) callback();
    this.#readOn();
  }

  #gone(why: string): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#why = why;
    this.#drained.clear();
    try {
      this.#handler?.onGone(why);
    } catch (thrown) {
      this.#log("the end of an SSH connection was a fault", thrown);
    }
  }
}

/** Whether grants and policies are asked about it. Of what follows a decision the windows are the bound. */
function isDear(event: SshEvent): boolean {
  switch (event.kind) {
    case "channel-open":
      return event.open.kind !== "session";
    case "channel-request":
      return DECIDED.has(event.request.kind);
    case "global-request":
      return true;
    default:
      return false;
  }
}

const DECIDED: ReadonlySet<string> = new Set([
  ...["exec", "shell", "subsystem", "env"],
  ...["auth-agent-req@openssh.com", "x11-req"],
]);
