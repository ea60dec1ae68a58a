// A chain that a provider's token brings along: nested `act` claims (RFC 8693 section 4.1), the current
// actor outermost. Dropping it would hide who acts, so it is read whole or the token is refused. What it
// names is asserted: good for people to read, to be judged as a hop of its own, and to exclude a person
// from approving; never an identity.

import type { JWTPayload } from "jose";
import { type NameResult, providerId } from "./names.ts";
import type { Principal } from "./principal.ts";

export type ActorsResult =
  | { readonly ok: true; readonly actors: NonNullable<Principal["actors"]> }
  | { readonly ok: false; readonly why: string };

const MAX_ACTORS = 16;
const MAX_NAME_LENGTH = 64;

/** Oldest first; empty when the token names none. */
export function actorsOf(provider: string, payload: JWTPayload): ActorsResult {
  const actors: { subject: string; name: string }[] = [];
  let outer: unknown = payload.act;
  while (outer !== undefined) {
    if (typeof outer !== "object" || outer === null || Array.isArray(outer))
      return { ok: false, why: 'claim "act" is not an object' };
    if (actors.length >= MAX_ACTORS)
      return { ok: false, why: `claim "act" names more than ${MAX_ACTORS} actors` };
    const { sub, act }: { sub?: unknown; act?: unknown } = outer;
    const subject: NameResult = providerId(provider, sub, "act.sub");
    if (!subject.ok) return subject;
    actors.unshift({ subject: subject.id, name: shownName(String(sub)) });
    outer = act;
  }
  return { ok: true, actors };
}

/** Of an agent's form, so that a claimed name is not read as a user's or a workload's. */
function shownName(claimed: string): string {
  return `asserted ${claimed}`.replace(/[^A-Za-z0-9 ._:-]/g, "_").slice(0, MAX_NAME_LENGTH);
}
