// A sign-in that its provider vouches for again: the same root, so that everything below it and every
// session goes on, with the groups the provider names now and the time they are good for.
//
// Never to somebody else's, never backwards: a token made before the one the root has would bring back
// a group that was taken away since.

import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Principal } from "../identity/principal.ts";
import type { DelegationNode, DelegationStore } from "./node.ts";

export interface Refreshed {
  readonly node: DelegationNode;
  readonly groupsChanged: boolean;
}

/** Throws GatewayError: not_found, forbidden, unauthenticated, invalid. Called within the tree's transaction. */
export function refreshRoot(
  deps: { readonly store: DelegationStore; readonly clock: Clock; readonly signInTtlMs: number },
  id: string,
  principal: Principal,
): Refreshed {
  const nowMs = deps.clock.nowMs();
  const node = deps.store.find(id);
  if (node === undefined || node.parentId !== undefined)
    throw new GatewayError("not_found", `${id} is not a sign-in`);
  if (node.revocation !== undefined || node.expiresAtMs <= nowMs)
    throw new GatewayError("unauthenticated", `the sign-in ${id} has ended`, {
      hint: "sign in again: custody login",
    });
  if (principal.subject !== node.subject || principal.id !== node.entityId)
    throw new GatewayError("forbidden", `the token is of another principal than ${id}`);
  if (principal.verifiedAtMs < node.groupsAtMs)
    throw new GatewayError("invalid", `the token is older than what ${id} has already`);
  const untilMs = signInUntil(principal, nowMs, deps.signInTtlMs);
  const next = {
    groups: principal.groups,
    groupsAtMs: principal.verifiedAtMs,
    // Never earlier: what was promised to the hops below still holds for them.
    expiresAtMs: Math.max(node.expiresAtMs, untilMs),
    renewableUntilMs: Math.max(node.renewableUntilMs, untilMs),
  };
  deps.store.refreshRoot(id, next);
  return { node: { ...node, ...next }, groupsChanged: !isSameSet(node.groups, next.groups) };
}

/** How long a sign-in may last: the gateway's limit, or until its groups are too old. */
export function signInUntil(principal: Principal, nowMs: number, signInTtlMs: number): number {
  return Math.min(nowMs + signInTtlMs, principal.groupsUntilMs ?? Number.POSITIVE_INFINITY);
}

function isSameSet(one: readonly string[], other: readonly string[]): boolean {
  return new Set(one).symmetricDifference(new Set(other)).size === 0;
}
