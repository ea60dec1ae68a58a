// The body of a request, whole, since it is judged as a whole. Bounded in length, in time and in its number of pieces:
// a body that drips would keep its place, and what it was shown with, for as long as its sender likes, and one of a
// byte in each piece takes the time of a hundred that are not. It is taken from the beginning on, so that none of
// that waits unseen; of a stranger's no more than a little is.
//
// Who owns the state: one intake a request; the room of a session, and of all, is the door's (listener.ts).

import { Gathered } from "@custody/wire/bytes/gathered.ts";
import { GatewayError } from "../../base/errors.ts";

export interface IntakeLimits {
  readonly maxBytes: number;
  /** For the beginning; then a sender has to keep up with MIN_BYTES_PER_MS. */
  readonly startMs: number;
}

export interface Incoming {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Of HTTP/2. */
  readonly stream?: { readonly endAfterHeaders: boolean };
  on(event: "data", listener: (chunk: Buffer) => void): unknown;
  on(event: "end" | "close" | "error", listener: () => void): unknown;
  pause(): unknown;
  resume(): unknown;
  destroy(): unknown;
}

export interface Intake {
  /**
   * All of it, from somebody who is known. Rejects with GatewayError: limit for one that is too slow or has no room,
   * invalid for one that is too large, protocol for one that breaks off.
   */
  whole(room: BodyRoom): Promise<Buffer>;
  /** Nobody wants it any more: what it took of the room is given back. */
  end(): void;
}

/** 16 KB/s */
const MIN_BYTES_PER_MS = 16;
/** Of a body whose sender is not known yet. */
const STRANGERS_BYTES = 16 << 10;
/** Pieces: so many, and one more for each so many bytes. */
const FREE_PIECES = 256;
const MIN_PIECE_BYTES = 64;

/** How many bytes there may be at once, here and in what is around it. */
export class BodyRoom {
  readonly #most: number;
  readonly #outer: BodyRoom | undefined;
  #taken = 0;

  constructor(most: number, outer?: BodyRoom) {
    this.#most = most;
    this.#outer = outer;
  }

  /** False: there is none for so many. */
  take(bytes: number): boolean {
    if (this.#taken + bytes > this.#most || this.#outer?.take(bytes) === false) return false;
    this.#taken += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#taken -= bytes;
    this.#outer?.give(bytes);
  }
}

/** undefined: the request has no body. Throws GatewayError "invalid" for one that is compressed. */
export function beginIntake(request: Incoming, limits: IntakeLimits): Intake | undefined {
  if (request.headers["content-encoding"] !== undefined)
    throw new GatewayError("invalid", "a body that is compressed is not taken");
  return isOver(request) ? undefined : new Taking(request, limits);
}

/** Whether nothing comes after the headers (RFC 9112 section 6.3, RFC 9113 section 8.1). */
export function isOver({ headers, stream }: Pick<Incoming, "headers" | "stream">): boolean {
  if (stream !== undefined) return stream.endAfterHeaders;
  return headers["content-length"] === undefined && headers["transfer-encoding"] === undefined;
}

class Taking implements Intake {
  readonly #request: Incoming;
  readonly #limits: IntakeLimits;
  readonly #gathered = new Gathered();
  readonly #done = Promise.withResolvers<Buffer>();
  readonly #begunMs = performance.now();
  #timer: NodeJS.Timeout;
  #pieces = 0;
  #room: BodyRoom | undefined;
  #taken = 0;
  #isOver = false;

  constructor(request: Incoming, limits: IntakeLimits) {
    this.#request = request;
    this.#limits = limits;
    // Of a request that is refused before anybody wants its body this is nobody's.
    this.#done.promise.catch(() => undefined);
    this.#timer = setTimeout(() => this.#tooSlow(), limits.startMs);
    request.on("data", (chunk) => this.#take(chunk));
    request.on("end", () => this.#settle(undefined));
    for (const event of ["close", "error"] as const)
      request.on(event, () =>
        this.#settle(new GatewayError("protocol", "the body breaks off before its end")),
      );
  }

  whole(room: BodyRoom): Promise<Buffer> {
    this.#room = room;
    this.#takeRoom(this.#gathered.length);
    if (!this.#isOver) this.#request.resume();
    return this.#done.promise;
  }

  end(): void {
    this.#settle(new GatewayError("protocol", "nobody wants it any more"));
    this.#room?.give(this.#taken);
    this.#taken = 0;
  }

  #take(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#gathered.add(chunk);
    const { length } = this.#gathered;
    const { maxBytes, startMs } = this.#limits;
    // Not "limit", which says that it may be asked again.
    if (length > maxBytes)
      this.#settle(new GatewayError("invalid", `the body is larger than ${maxBytes} bytes`));
    else if (++this.#pieces > FREE_PIECES + length / MIN_PIECE_BYTES) {
      this.#settle(new GatewayError("protocol", "the body comes in crumbs"));
      // Others of what came with it are on their way through the parser.
      this.#request.destroy();
    } else if (this.#room !== undefined) this.#takeRoom(chunk.length);
    else if (length > STRANGERS_BYTES) this.#request.pause();
    if (this.#isOver) return;
    clearTimeout(this.#timer);
    const leftMs = startMs + length / MIN_BYTES_PER_MS - (performance.now() - this.#begunMs);
    this.#timer = setTimeout(() => this.#tooSlow(), Math.max(0, leftMs));
  }

  #takeRoom(bytes: number): void {
    if (this.#room?.take(bytes) === true) this.#taken += bytes;
    else this.#settle(new GatewayError("limit", "too much is sent at once; try it in a moment"));
  }

  #tooSlow(): void {
    this.#settle(new GatewayError("limit", "the body comes too slowly"));
  }

  #settle(error: GatewayError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    if (error === undefined) {
      this.#done.resolve(this.#gathered.take());
      return;
    }
    this.#gathered.take();
    this.#request.pause();
    this.#done.reject(error);
  }
}
