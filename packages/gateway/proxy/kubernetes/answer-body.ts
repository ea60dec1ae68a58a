// The body of an API server's answer, handed on chunk by chunk as fast as it is taken. Not a stream of
// node's: what one costs for each answer is more than what the gateway does with a small one.
//
// Who owns the state: the connection that feeds it (upstream.ts, upstream-http2.ts) until somebody reads it.

import { Gathered } from "@custody/wire/bytes/gathered.ts";
import { GatewayError } from "../../base/errors.ts";

export interface AnswerBody {
  /**
   * Gives each chunk to `take`, the next one once what it gave back has settled. Settles at the end of the
   * body; rejects with what broke it or what `take` threw. At most once.
   */
  each(take: (chunk: Buffer) => Promise<void> | undefined): Promise<void>;
  /** Nobody reads it any more. */
  destroy(): void;
}

/** What a body needs of its connection. */
export interface BodyControls {
  readonly pause: () => void;
  readonly resume: () => void;
  readonly destroy: () => void;
}

/** All of it. Throws GatewayError "limit" beyond `maxBytes`. */
export async function wholeBody(body: AnswerBody, maxBytes: number): Promise<Buffer> {
  const gathered = new Gathered();
  await body.each((chunk) => {
    gathered.add(chunk);
    if (gathered.length > maxBytes) throw new GatewayError("limit", "the answer is too large");
    return undefined;
  });
  return gathered.take();
}

type Ending = { readonly error: unknown } | "ended" | undefined;

/** The end the connection has. */
export class FedBody implements AnswerBody {
  readonly #controls: BodyControls;
  /** What came before somebody read or while they took their time; bounded, for the connection pauses. */
  #waiting: Buffer[] = [];
  #take: ((chunk: Buffer) => Promise<void> | undefined) | undefined;
  #isBusy = false;
  #isPaused = false;
  #ending: Ending;
  readonly #done = Promise.withResolvers<void>();

  constructor(controls: BodyControls) {
    this.#controls = controls;
    // Who reads it is told; of one that is given up unread the error is nobody's.
    this.#done.promise.catch(() => undefined);
  }

  each(take: (chunk: Buffer) => Promise<void> | undefined): Promise<void> {
    this.#take = take;
    this.#goOn();
    return this.#done.promise;
  }

  destroy(): void {
    this.#waiting = [];
    if (this.#ending === undefined) this.#controls.destroy();
  }

  push(chunk: Buffer): void {
    if (this.#take !== undefined && !this.#isBusy && this.#waiting.length === 0) {
      this.#give(chunk);
      return;
    }
    this.#waiting.push(chunk);
    // What comes with the headers is read in a moment.
    if (this.#take === undefined && this.#waiting.length === 1) return;
    this.#isPaused = true;
    this.#controls.pause();
  }

  end(): void {
    this.#ending ??= "ended";
    this.#settle();
  }

  fail(error: unknown): void {
    this.#ending ??= { error };
    this.#waiting = [];
    this.#settle();
  }

  #give(chunk: Buffer): void {
    try {
      const wait = this.#take?.(chunk);
      if (wait === undefined) return;
      this.#isBusy = true;
      wait.then(
        () => {
          this.#isBusy = false;
          this.#goOn();
        },
        (error: unknown) => this.#giveUp(error),
      );
    } catch (error) {
      this.#giveUp(error);
    }
  }

  #giveUp(error: unknown): void {
    this.#done.reject(error);
    this.#take = () => undefined;
    this.#isBusy = false;
    this.destroy();
  }

  #goOn(): void {
    while (!this.#isBusy) {
      const chunk = this.#waiting.shift();
      if (chunk === undefined) break;
      this.#give(chunk);
    }
    if (this.#isBusy) return;
    this.#settle();
    if (!this.#isPaused || this.#ending !== undefined) return;
    this.#isPaused = false;
    this.#controls.resume();
  }

  #settle(): void {
    if (this.#ending === undefined || this.#isBusy || this.#waiting.length > 0) return;
    if (this.#ending === "ended") this.#done.resolve();
    else this.#done.reject(this.#ending.error);
  }
}
