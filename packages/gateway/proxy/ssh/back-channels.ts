// What a session's host may open to the client of its own accord: channels to the client's agent or
// display, while a channel of the session holds the permit for it. Everything else is refused.
//
// Who owns the state: one a session.

import type { Permitted } from "./judge.ts";

export type BackKind = "agent" | "x11";

interface Allowed {
  readonly kind: BackKind;
  readonly verdict: Permitted;
  /** RFC 4254 section 6.3.1: one connection only. */
  readonly isSingle: boolean;
}

export class BackChannels {
  readonly #allowed = new Set<Allowed>();

  /** Until the function that it gives is called. */
  allow(kind: BackKind, verdict: Permitted, isSingle: boolean): () => void {
    const allowed = { kind, verdict, isSingle };
    this.#allowed.add(allowed);
    return () => void this.#allowed.delete(allowed);
  }

  /** The permit that a channel of this kind is opened under; undefined: there is none. */
  take(kind: BackKind): Permitted | undefined {
    // The host does not say for which of its channels: the newest.
    const found = [...this.#allowed].findLast((one) => one.kind === kind);
    if (found?.isSingle === true) this.#allowed.delete(found);
    return found?.verdict;
  }
}
