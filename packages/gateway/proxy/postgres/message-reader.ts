// Reading messages one by one, for the start of a connection only: sign-in is a dialogue and not worth
// a state machine. The relay takes the socket over afterwards and works on whole chunks.

import type { Socket } from "node:net";
import { FrameCursor } from "@custody/wire/postgres/frames.ts";
import { GatewayError } from "../../base/errors.ts";

/** One message; valid until the next call of `next`. */
export interface Message {
  readonly type: number;
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

export interface MessageReader {
  /** Throws GatewayError "protocol" on broken frames and `closed` when the peer closes first. */
  next(): Promise<Message>;
  /** Stops reading; the cursor keeps what has arrived. The socket is left paused. */
  release(): FrameCursor;
}

export interface MessageReaderOptions {
  readonly maxFrameBytes: number;
  /** What to say when the peer closes or the socket fails. */
  readonly closed: (cause: Error | undefined) => GatewayError;
  readonly signal: AbortSignal;
  /** What was read before, if anything. */
  readonly cursor?: FrameCursor;
}

export function readMessages(socket: Socket, options: MessageReaderOptions): MessageReader {
  const cursor = options.cursor ?? new FrameCursor({ maxFrameBytes: options.maxFrameBytes });
  let waiting:
    | { resolve: (message: Message) => void; reject: (error: unknown) => void }
    | undefined;
  let failure: unknown;

  const advance = () => {
    if (waiting === undefined) return;
    const { resolve } = waiting;
    if (!cursor.next()) {
      socket.resume();
      return;
    }
    waiting = undefined;
    resolve({ type: cursor.type, buffer: cursor.buffer, start: cursor.start, end: cursor.end });
  };
  const fail = (error: unknown) => {
    failure ??= error;
    waiting?.reject(failure);
    waiting = undefined;
  };
  const onData = (chunk: Buffer) => {
    socket.pause();
    try {
      cursor.push(chunk);
      advance();
    } catch (error) {
      fail(new GatewayError("protocol", "malformed message", { cause: error }));
    }
  };
  const onError = (error: Error) => fail(options.closed(error));
  const onClose = () => fail(options.closed(undefined));
  const onAbort = () => fail(options.signal.reason);

  socket.pause();
  socket.on("data", onData);
  socket.on("error", onError);
  socket.on("close", onClose);
  socket.on("end", onClose);
  options.signal.addEventListener("abort", onAbort, { once: true });

  return {
    next() {
      if (failure !== undefined) return Promise.reject(failure);
      return new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        try {
          advance();
        } catch (error) {
          fail(new GatewayError("protocol", "malformed message", { cause: error }));
        }
      });
    },
    release() {
      socket.pause();
      socket.off("data", onData);
      socket.off("error", onError);
      socket.off("close", onClose);
      socket.off("end", onClose);
      options.signal.removeEventListener("abort", onAbort);
      return cursor;
    },
  };
}
