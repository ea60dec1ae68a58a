// Cancel keys of our own: a client never learns the target's (THREATS.md, "Cancel"). A key names one
// session; the session decides whether something of it is running.

import { timingSafeEqual } from "node:crypto";
import type { RandomBytes } from "../../base/ids.ts";

export interface CancelKey {
  readonly processId: number;
  readonly key: Buffer;
}

export class CancelRegistry {
  readonly #sessions = new Map<number, { readonly key: Buffer; readonly cancel: () => void }>();
  readonly #random: RandomBytes;

  constructor(random: RandomBytes) {
    this.#random = random;
  }

  /** Protocol 3.0 has four bytes; 3.2 up to 256. The process id is random too, so it adds 31 bits. */
  register(minor: 0 | 2, cancel: () => void): CancelKey {
    let processId: number;
    do processId = this.#random(4).readUInt32BE(0) & 0x7fffffff;
    while (processId === 0 || this.#sessions.has(processId));
    const key = this.#random(minor === 2 ? 32 : 4);
    this.#sessions.set(processId, { key, cancel });
    return { processId, key };
  }

  /** No answer either way, as PostgreSQL gives none. */
  request(processId: number, key: Buffer): void {
    const session = this.#sessions.get(processId);
    if (session === undefined || session.key.length !== key.length) return;
    if (timingSafeEqual(session.key, key)) session.cancel();
  }

  remove(processId: number): void {
    this.#sessions.delete(processId);
  }
}
