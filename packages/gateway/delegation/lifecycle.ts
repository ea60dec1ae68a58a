// Revoking and renewing: who may, what follows, and the leaf that says so.
//
// Revocation is cascade by construction: the store marks the whole subtree in one transaction, then
// `onRevoked` ends what lives on it, synchronously, before anybody is told that it is done (I9).

import type { Journal } from "../audit/journal.ts";
import { GatewayError } from "../base/errors.ts";
import type { Chain, Hop } from "./chain.ts";
import { leafOf } from "./chain.ts";
import { leafChain } from "./leaf-chain.ts";
import type { DelegationNode } from "./node.ts";
import { hopOf, isRefused, type Tree } from "./tree.ts";

export interface LifecycleDeps {
  readonly tree: Tree;
  readonly journal: Journal;
  /** A User at depth 0 whom policies let administer. */
  readonly mayAdminister: (chain: Chain) => boolean;
  /** Ends what lives at or below the delegation; returns how many sessions. */
  readonly onRevoked: (delegationId: string, reason: string | undefined) => number;
  readonly onRenewed: (delegationId: string) => void;
}

export interface Revoked {
  readonly node: DelegationNode;
  readonly revoked: number;
  readonly sessionsEnded: number;
}

export interface Lifecycle {
  /** Throws GatewayError: not_found (also for what the caller may not see), dependency_unavailable. */
  revoke(caller: Chain, id: string, reason: string | undefined): Revoked;
  /** Throws GatewayError: not_found, forbidden, invalid, unauthenticated, dependency_unavailable. */
  renew(caller: Chain, id: string, ttlMs: number | undefined): DelegationNode;
  /** The node, if the caller is at or above it or administers; throws GatewayError "not_found". */
  visible(caller: Chain, id: string): DelegationNode;
}

export function createLifecycle(deps: LifecycleDeps): Lifecycle {
  return {
    revoke: (caller, id, reason) => revoke(deps, caller, id, reason),
    renew: (caller, id, ttlMs) => renew(deps, caller, id, ttlMs),
    visible: (caller, id) => visible(deps, caller, id).node,
  };
}

function revoke(
  deps: LifecycleDeps,
  caller: Chain,
  id: string,
  reason: string | undefined,
): Revoked {
  const { path } = visible(deps, caller, id);
  const by = leafOf(caller).id;
  const ids = deps.tree.revoke(id, by, reason);
  const sessionsEnded = deps.onRevoked(id, reason);
  if (ids.length > 0)
    deps.journal.append({
      event: "delegation.revoked",
      chain: leafChain({ hops: hopsOf(path) }),
      // The reason is a person's words: it stays in the store, where it can be erased.
      detail: { by: leafOf(caller).subject, revoked: ids.length, sessionsEnded },
    });
  const node = deps.tree.find(id);
  if (node === undefined) throw notFound(id);
  return { node, revoked: ids.length, sessionsEnded };
}

function renew(
  deps: LifecycleDeps,
  caller: Chain,
  id: string,
  ttlMs: number | undefined,
): DelegationNode {
  const { path, relation } = visible(deps, caller, id);
  const isRoot = path.length === 1;
  // Its own time is what a delegation was given by the one above: it does not lengthen that itself.
  if (relation !== "above" && !(relation === "self" && isRoot))
    throw new GatewayError(
      "forbidden",
      `${id} can be renewed by who is above it in its chain only`,
      {
        hint: "ask the parent to renew it: custody renew",
      },
    );
  const result = deps.tree.renew(id, ttlMs);
  if (isRefused(result)) throw new GatewayError("invalid", result.message);
  deps.onRenewed(id);
  deps.journal.append({
    event: "delegation.renewed",
    chain: leafChain({ hops: hopsOf(path) }),
    detail: { by: leafOf(caller).subject, expires: result.expiresAtMs },
  });
  return result;
}

type Relation = "self" | "above" | "administrator";

function visible(
  deps: LifecycleDeps,
  caller: Chain,
  id: string,
): { node: DelegationNode; path: readonly DelegationNode[]; relation: Relation } {
  const path = deps.tree.path(id);
  const node = path[path.length - 1];
  const me = leafOf(caller).delegationId;
  if (node !== undefined && path.some((step) => step.id === me))
    return { node, path, relation: me === id ? "self" : "above" };
  if (node !== undefined && deps.mayAdminister(caller))
    return { node, path, relation: "administrator" };
  throw notFound(id);
}

// For the leaf only: a path may hold revoked nodes, of which no Chain to act with is made.
function hopsOf(path: readonly DelegationNode[]): readonly [Hop, ...Hop[]] {
  return path.map(hopOf) as [Hop, ...Hop[]];
}

function notFound(id: string): GatewayError {
  return new GatewayError("not_found", `there is no delegation ${id} at or below yours`);
}
