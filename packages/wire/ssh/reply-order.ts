// Requests of the peer that want replies, a channel's or the connection's: replies have to leave in the
// order of the requests (RFC 4254 section 4), whenever they are known. State: the slots not yet sent.

import { SshError } from "./errors.ts";
import type { ReplySlot } from "./events.ts";

export class ReplyOrder {
  readonly #max: number;
  /** Of the slots from #head on; undefined is not known yet. */
  readonly #replies: (Buffer | undefined)[] = [];
  #head = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** @throws SshError "limit" */
  open(): ReplySlot {
    if (this.#replies.length >= this.#max) {
      throw new SshError("limit", "too many requests without a reply");
    }
    this.#replies.push(undefined);
    return { order: this.#head + this.#replies.length - 1 };
  }

  /** What is to be sent now. @throws SshError "state" for a slot that is answered already */
  fill(slot: ReplySlot, reply: Buffer): Buffer[] {
    const index = slot.order - this.#head;
    if (index < 0 || index >= this.#replies.length || this.#replies[index] !== undefined) {
      throw new SshError("state", "a reply to a request that has one");
    }
    this.#replies[index] = reply;
    const ready: Buffer[] = [];
    while (this.#replies[0] !== undefined) {
      ready.push(this.#replies.shift()!);
      this.#head++;
    }
    return ready;
  }
}
