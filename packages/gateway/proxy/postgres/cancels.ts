// Cancel keys of our own: a client never learns the target's (THREATS.md, "Cancel"). A key names one
// session; the session decides whether something of it is running.

import { timingSafeEqual } from "node:crypto";
import type { RandomBytes } from "../../base/ids.ts";

export interface CancelKey {
  readonly processId: number;
  readonly key: Uint8Array;
}

/** As the session's own client gets it. */
export interface IssuedCancelKey extends CancelKey {
  readonly key: Buffer;
}

export class CancelRegistry {
  readonly #sessions = new Map<number, { readonly key: Buffer; readonly cancel: () => void }>();
  readonly #random: RandomBytes;

  constructor(random: RandomBytes) {
    this.#random = random;
  }

  /**
   * Protocol 3.0 has four bytes; 3.2 up to 256. The process id is random too, so it adds 31 bits, unless one
   * is `wanted`: a transparent target's clients are told the server's own.
   */
  register(minor: 0 | 2, cancel: () => void, wanted = 0): IssuedCancelKey {
    let processId = wanted;
    while (processId === 0 || this.#sessions.has(processId))
      processId = this.#random(4).readUInt32BE(0) & 0x7fffffff;
    const key = this.#random(minor === 2 ? 32 : 4);
    this.#sessions.set(processId, { key, cancel });
    return { processId, key };
  }

  /** False: no session here has that key. The client gets no answer either way, as PostgreSQL gives none. */
  request(processId: number, key: Uint8Array): boolean {
    const session = this.#sessions.get(processId);
    if (session === undefined || session.key.length !== key.length) return false;
    if (!timingSafeEqual(session.key, key)) return false;
    session.cancel();
    return true;
  }

  remove(processId: number): void {
    this.#sessions.delete(processId);
  }
}
