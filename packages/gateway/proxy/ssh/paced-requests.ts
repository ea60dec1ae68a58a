// What a client asks of what runs: a new size of its terminal, a signal. No window bounds it. While the host
// does not read, or the disk does not take what is recorded of it, it is kept once: the last size, and of each
// signal one, as systems keep signals that nobody has taken yet.
//
// Who owns the state: one a running channel.

import type { ChannelRequest } from "@custody/wire/ssh/requests.ts";

export interface PacedRequestsDeps {
  /** true: now. Else it calls back once, when it may be worth asking again. */
  readonly isFree: (again: () => void) => boolean;
  /** Records it and asks the host. */
  readonly pass: (request: ChannelRequest) => void;
}

/** There are a dozen names of signals; a client may make up more. */
const MAX_WAITING = 32;

export class PacedRequests {
  readonly #deps: PacedRequestsDeps;
  readonly #waiting = new Map<string, ChannelRequest>();

  constructor(deps: PacedRequestsDeps) {
    this.#deps = deps;
  }

  /** false: too many others wait. */
  take(request: ChannelRequest): boolean {
    const name = request.kind === "signal" ? `signal ${request.signal}` : request.kind;
    const isFirst = this.#waiting.size === 0;
    if (!this.#waiting.has(name) && this.#waiting.size >= MAX_WAITING) return false;
    this.#waiting.set(name, request);
    if (isFirst) this.#pass();
    return true;
  }

  close(): void {
    this.#waiting.clear();
  }

  #pass(): void {
    for (const [name, request] of this.#waiting) {
      if (!this.#deps.isFree(() => this.#pass())) return;
      this.#waiting.delete(name);
      this.#deps.pass(request);
    }
  }
}
