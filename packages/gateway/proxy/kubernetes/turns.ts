// Turns at an API server. Each request that is answered at once has a connection to it meanwhile, which costs both
// sides more than the request does: a client that asks two thousand things in one segment gets its answers a few
// at a time, and nobody waits for it.
//
// Who owns the state: the session (http-session.ts).

export class Turns {
  readonly #most: number;
  #taken = 0;
  readonly #waiting = new Set<() => void>();

  constructor(most: number) {
    this.#most = most;
  }

  /** undefined: at once. Rejects with the signal's reason, and nothing was taken. */
  take(signal: AbortSignal): Promise<void> | undefined {
    if (this.#taken < this.#most) {
      this.#taken++;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const begin = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.delete(begin);
        reject(signal.reason);
      };
      this.#waiting.add(begin);
      signal.addEventListener("abort", leave, { once: true });
      if (signal.aborted) leave();
    });
  }

  /** Of one that was taken. */
  give(): void {
    for (const begin of this.#waiting) {
      this.#waiting.delete(begin);
      begin();
      return;
    }
    this.#taken--;
  }
}
