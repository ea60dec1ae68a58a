// Calls and notices between two parts of the gateway that are in different processes, over any port that
// carries plain data (structured clone). Both sides run the same program; a message of another version, or
// one that is not what it says, closes the channel (I2).
//
// Who owns the state: each end owns the calls it made. Everything is bounded: calls without an answer, and
// messages that were handed to the port and not taken from it yet. A notice that may be lost is dropped
// when the peer is behind; one that may not closes the channel instead.

import { ERROR_CODES, type ErrorCode, GatewayError, toGatewayError } from "./errors.ts";

/** What carries the messages. */
export interface MessagePort {
  /** `taken`: the port has passed it on, or cannot. */
  send(message: unknown, taken: (error: Error | null) => void): void;
  onMessage(listener: (message: unknown) => void): void;
  onClose(listener: () => void): void;
  close(): void;
}

/** Methods by name: what each takes and gives. */
export type Methods = { readonly [name: string]: (argument: never) => unknown };

/** What this end does when asked; an argument is whatever the peer sent and is checked by the method. */
export type Handlers<Own extends Methods> = {
  readonly [Name in keyof Own]: (argument: unknown) => unknown;
};

export interface MessageChannel<Theirs extends Methods> {
  /** Throws what the method threw, or GatewayError "shutdown" when the channel closed before the answer. */
  call<Name extends keyof Theirs & string>(
    name: Name,
    argument: Parameters<Theirs[Name]>[0],
  ): Promise<Awaited<ReturnType<Theirs[Name]>>>;
  /** Nobody waits for it. It arrives in order with calls, or the channel closes. */
  tell<Name extends keyof Theirs & string>(name: Name, argument: Parameters<Theirs[Name]>[0]): void;
  /** The same, for what may be lost: false when the peer is behind and it was dropped. */
  offer<Name extends keyof Theirs & string>(
    name: Name,
    argument: Parameters<Theirs[Name]>[0],
  ): boolean;
  readonly isClosed: boolean;
  /** Settles when the channel has closed, from whichever side. */
  readonly closed: Promise<void>;
  close(): void;
}

export interface ChannelLimits {
  /** Calls without an answer. */
  readonly calls: number;
  /** Messages the port has not taken. */
  readonly queued: number;
}

export const DEFAULT_CHANNEL_LIMITS: ChannelLimits = { calls: 20_000, queued: 50_000 };

export interface ChannelOptions {
  readonly limits?: ChannelLimits;
  /** Why the channel was closed, or a notice could not be handled; never content. */
  readonly onFault: (error: GatewayError) => void;
}

const VERSION = 1;
/** From here on what may be lost is dropped: a share of what may be queued. */
const BEHIND = 0.1;
const MAX_CAUSE_LENGTH = 500;

interface ErrorData {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | undefined;
  /** For the operator's log. */
  readonly cause: string | undefined;
}

type Envelope =
  | { readonly v: 1; readonly call: number; readonly name: string; readonly argument: unknown }
  | { readonly v: 1; readonly tell: string; readonly argument: unknown }
  | { readonly v: 1; readonly answer: number; readonly value: unknown }
  | { readonly v: 1; readonly answer: number; readonly error: ErrorData };

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: GatewayError) => void;
}

export function openChannel<Own extends Methods, Theirs extends Methods>(
  port: MessagePort,
  handlers: Handlers<Own>,
  options: ChannelOptions,
): MessageChannel<Theirs> {
  const limits = options.limits ?? DEFAULT_CHANNEL_LIMITS;
  const waiting = new Map<number, Waiting>();
  const ended = Promise.withResolvers<void>();
  let lastCall = 0;
  let closed = false;

  const close = (): void => {
    if (closed) return;
    closed = true;
    port.close();
    for (const { reject } of waiting.values()) reject(gone());
    waiting.clear();
    ended.resolve();
  };
  const fail = (what: string, cause?: unknown): void => {
    if (closed) return;
    options.onFault(new GatewayError("internal", what, { cause }));
    close();
  };
  const queue = createQueue(port, limits.queued, fail);
  const send = (envelope: Envelope): void => {
    if (!closed) queue.send(envelope);
  };
  const answer = async (call: number, name: string, argument: unknown): Promise<void> => {
    try {
      send({ v: VERSION, answer: call, value: await handlerOf(handlers, name)(argument) });
    } catch (thrown) {
      send({ v: VERSION, answer: call, error: errorData(toGatewayError(thrown)) });
    }
  };
  const take = (envelope: Envelope): void => {
    if ("call" in envelope) void answer(envelope.call, envelope.name, envelope.argument);
    else if ("tell" in envelope) handlerOf(handlers, envelope.tell)(envelope.argument);
    else {
      const call = waiting.get(envelope.answer);
      if (call === undefined)
        throw new GatewayError("internal", "an answer to nothing that was asked");
      waiting.delete(envelope.answer);
      if ("error" in envelope) call.reject(errorOf(envelope.error));
      else call.resolve(envelope.value as never);
    }
  };
  port.onMessage((message) => {
    if (closed) return;
    try {
      take(envelopeOf(message));
    } catch (thrown) {
      fail("a message of the other side of the gateway could not be handled", thrown);
    }
  });
  port.onClose(close);

  return {
    call(name, argument) {
      if (closed) return Promise.reject(gone());
      if (waiting.size >= limits.calls)
        return Promise.reject(
          new GatewayError("limit", "the gateway is too busy", { hint: "try again in a moment" }),
        );
      return new Promise((resolve, reject) => {
        lastCall += 1;
        waiting.set(lastCall, { resolve, reject });
        send({ v: VERSION, call: lastCall, name, argument });
      });
    },
    tell: (name, argument) => send({ v: VERSION, tell: name, argument }),
    offer(name, argument) {
      if (closed || queue.isBehind) return false;
      send({ v: VERSION, tell: name, argument });
      return true;
    },
    get isClosed() {
      return closed;
    },
    closed: ended.promise,
    close,
  };
}

/** What the port has not taken yet, counted. */
function createQueue(
  port: MessagePort,
  limit: number,
  fail: (what: string, cause?: unknown) => void,
) {
  let queued = 0;
  return {
    get isBehind() {
      return queued >= limit * BEHIND;
    },
    send(envelope: Envelope): void {
      if (queued >= limit) {
        fail("the other side of the gateway takes no messages");
        return;
      }
      queued += 1;
      port.send(envelope, (error) => {
        queued -= 1;
        if (error !== null) fail("a message to the other side of the gateway was not taken", error);
      });
    },
  };
}

function gone(): GatewayError {
  return new GatewayError("shutdown", "the gateway is stopping", {
    hint: "connect again in a moment",
  });
}

function handlerOf<Own extends Methods>(
  handlers: Handlers<Own>,
  name: string,
): (argument: unknown) => unknown {
  if (!Object.hasOwn(handlers, name))
    throw new GatewayError("internal", "a message asks for what is not there");
  return handlers[name as keyof Own];
}

function envelopeOf(message: unknown): Envelope {
  const found = message as Partial<Record<"v" | "call" | "name" | "tell" | "answer", unknown>>;
  const isEnvelope =
    typeof message === "object" &&
    message !== null &&
    found.v === VERSION &&
    ((Number.isSafeInteger(found.call) && typeof found.name === "string") ||
      typeof found.tell === "string" ||
      Number.isSafeInteger(found.answer));
  if (!isEnvelope) throw new GatewayError("internal", "a message of another form or version");
  return message as Envelope;
}

function errorData(error: GatewayError): ErrorData {
  const { cause, code, hint, message } = error;
  const said = cause === undefined ? undefined : String(cause).slice(0, MAX_CAUSE_LENGTH);
  return { code, message, hint, cause: said };
}

function errorOf({ cause, code, hint, message }: ErrorData): GatewayError {
  const known = ERROR_CODES.includes(code) ? code : "internal";
  return new GatewayError(known, message, {
    ...(hint === undefined ? undefined : { hint }),
    ...(cause === undefined ? undefined : { cause: new Error(cause) }),
  });
}
