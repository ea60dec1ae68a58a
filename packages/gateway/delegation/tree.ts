// The delegation tree: the authority for every chain. Tokens and handles only point at its nodes.
//
// What holds for every node but a root (I3, I9): its grant is a subset of its parent's, it expires no
// later than its parent, its root is its parent's root, and it is revoked when its parent is. These are
// made true when a node is made and checked again whenever a chain is read, so that a store somebody
// edited gives an error and not a chain.
//
// Owns no state but the store's. Synchronous: a check and the write it allows are one transaction.

import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { newId, type RandomBytes } from "../base/ids.ts";
import type { Secret } from "../base/secret.ts";
import type { Principal } from "../identity/principal.ts";
import type { Chain, Hop, HopKind, Provenance } from "./chain.ts";
import { type Grant, isSubset, narrowGrant } from "./grant.ts";
import { newHandle } from "./handles.ts";
import type { DelegationNode, DelegationStore } from "./node.ts";

export interface TreeLimits {
  /** Hops below the root. */
  readonly delegationDepth: number;
  /** Live children of one node. */
  readonly delegationFanOut: number;
  /** A child's life where none is asked for. */
  readonly delegationTtlMs: number;
  readonly delegationMaxTtlMs: number;
  /** The longest life of a root, renewals included. */
  readonly signInTtlMs: number;
}

export interface TreeDeps {
  readonly store: DelegationStore;
  readonly clock: Clock;
  readonly random: RandomBytes;
  readonly limits: TreeLimits;
}

export type Shape = "jwt" | "handle";

/** Who acts at a new hop. */
export type NewActor =
  | { readonly kind: "agent"; readonly name: string }
  | { readonly kind: "workload"; readonly principal: Principal };

export interface Minted {
  readonly node: DelegationNode;
  readonly chain: Chain;
  /** Set when the shape asked for is a handle: the only time it can be had. */
  readonly handle: Secret | undefined;
}

/** Not a fault: what was asked cannot be had, and why. */
export interface Refused {
  readonly refused: "grant" | "expiry" | "limit";
  readonly message: string;
}

export type NodeStatus = "active" | "expired" | "revoked";

export interface Tree {
  signIn(principal: Principal, ttlMs: number | undefined, shape: Shape): Minted | Refused;
  delegate(parentId: string, child: ChildRequest): Minted | Refused;
  /** Throws GatewayError "unauthenticated" unless every hop is alive. */
  chain(id: string): Chain;
  /** Until when the chain lives, as the tree has it now; undefined: revoked, or unknown. */
  aliveUntil(id: string): number | undefined;
  find(id: string): DelegationNode | undefined;
  path(id: string): readonly DelegationNode[];
  /** At or below `id`, parents first; undefined: everything. */
  subtree(id: string | undefined, limit: number): readonly DelegationNode[];
  status(node: DelegationNode): NodeStatus;
  /** Ids revoked by this call; empty when all were before. */
  revoke(id: string, by: string, reason: string | undefined): readonly string[];
  /** The same node with a later expiry; never past its parent's or the root's maximum. */
  renew(id: string, ttlMs: number | undefined): DelegationNode | Refused;
}

export interface ChildRequest {
  readonly actor: NewActor;
  readonly grant: Grant;
  readonly ttlMs: number | undefined;
  readonly shape: Shape;
}

const ID_LENGTH = 12;
/** Live sign-ins of one subject: a job that signs in in a loop fills no store. */
const MAX_ROOTS_PER_SUBJECT = 1000;

export function createTree(deps: TreeDeps): Tree {
  const { store, clock } = deps;
  return {
    signIn: (principal, ttlMs, shape) =>
      store.atomically(() => signIn(deps, principal, ttlMs, shape)),
    delegate: (parentId, child) => store.atomically(() => delegate(deps, parentId, child)),
    chain: (id) => chainOf(store.path(id), id, clock.nowMs()),
    aliveUntil: (id) => aliveUntil(store.path(id)),
    find: (id) => store.find(id),
    path: (id) => store.path(id),
    subtree: (id, limit) => store.subtree(id, limit),
    status: (node) => statusOf(node, clock.nowMs()),
    revoke: (id, by, reason) => store.revokeSubtree(id, { atMs: clock.nowMs(), by, reason }),
    renew: (id, ttlMs) => store.atomically(() => renew(deps, id, ttlMs)),
  };
}

export function isRefused(result: object): result is Refused {
  return "refused" in result;
}

function signIn(
  deps: TreeDeps,
  principal: Principal,
  ttlMs: number | undefined,
  shape: Shape,
): Minted | Refused {
  const { limits } = deps;
  const nowMs = deps.clock.nowMs();
  if (ttlMs !== undefined && ttlMs > limits.signInTtlMs)
    return tooLong("a sign-in lives", limits.signInTtlMs);
  if (deps.store.countLiveRoots(principal.subject, nowMs) >= MAX_ROOTS_PER_SUBJECT)
    return {
      refused: "limit",
      message: `${principal.id} is signed in ${MAX_ROOTS_PER_SUBJECT} times; revoke some first`,
    };
  const id = newId("d", ID_LENGTH, deps.random);
  return mint(deps, shape, [], {
    id,
    parentId: undefined,
    rootId: id,
    depth: 0,
    kind: principal.kind,
    entityId: principal.id,
    name: principal.name,
    subject: principal.subject,
    groups: principal.groups,
    groupsAtMs: principal.verifiedAtMs,
    provenance: "attested",
    grant: undefined,
    createdAtMs: nowMs,
    expiresAtMs: nowMs + (ttlMs ?? limits.signInTtlMs),
    renewableUntilMs: nowMs + limits.signInTtlMs,
    handleVerifier: undefined,
    revocation: undefined,
  });
}

function delegate(deps: TreeDeps, parentId: string, child: ChildRequest): Minted | Refused {
  const { limits, store } = deps;
  const nowMs = deps.clock.nowMs();
  const path = store.path(parentId);
  const above = chainOf(path, parentId, nowMs);
  const parent = path[path.length - 1];
  if (parent === undefined) throw unknownDelegation();
  if (parent.depth + 1 > limits.delegationDepth)
    return {
      refused: "limit",
      message: `the chain is ${parent.depth} deep already; at most ${limits.delegationDepth} is allowed`,
    };
  if (store.countLiveChildren(parentId, nowMs) >= limits.delegationFanOut)
    return {
      refused: "limit",
      message: `${parentId} has ${limits.delegationFanOut} live children, which is the limit`,
    };
  const narrowed = narrowGrant(parent.grant, child.grant);
  if (!narrowed.ok) return { refused: "grant", message: narrowed.first };
  const expiry = childExpiry(limits, parent, child.ttlMs, nowMs);
  if (typeof expiry !== "number") return expiry;
  const id = newId("d", ID_LENGTH, deps.random);
  return mint(deps, child.shape, above.hops, {
    id,
    parentId,
    rootId: parent.rootId,
    depth: parent.depth + 1,
    ...actorFields(child.actor, id, nowMs),
    grant: narrowed.grant,
    createdAtMs: nowMs,
    expiresAtMs: expiry,
    renewableUntilMs: parent.renewableUntilMs,
    handleVerifier: undefined,
    revocation: undefined,
  });
}

type ActorFields = Pick<
  DelegationNode,
  "kind" | "entityId" | "name" | "subject" | "groups" | "groupsAtMs" | "provenance"
>;

function actorFields(actor: NewActor, id: string, nowMs: number): ActorFields {
  if (actor.kind === "workload") {
    const { principal } = actor;
    return {
      kind: "workload" satisfies HopKind,
      entityId: principal.id,
      name: principal.name,
      subject: principal.subject,
      groups: principal.groups,
      groupsAtMs: principal.verifiedAtMs,
      provenance: "attested" satisfies Provenance,
    };
  }
  // A claimed name is for people to read; the identity is the delegation itself.
  return {
    kind: "agent",
    entityId: id,
    name: actor.name,
    subject: id,
    groups: [],
    groupsAtMs: nowMs,
    provenance: "bearer",
  };
}

function mint(deps: TreeDeps, shape: Shape, above: readonly Hop[], draft: DelegationNode): Minted {
  const made = shape === "handle" ? newHandle(draft.id, deps.random) : undefined;
  const node: DelegationNode = { ...draft, handleVerifier: made?.verifier };
  deps.store.insert(node);
  const [first, ...rest] = [...above, hopOf(node)];
  return { node, chain: { hops: [first ?? hopOf(node), ...rest] }, handle: made?.handle };
}

function childExpiry(
  limits: TreeLimits,
  parent: DelegationNode,
  ttlMs: number | undefined,
  nowMs: number,
): number | Refused {
  if (ttlMs === undefined) return Math.min(nowMs + limits.delegationTtlMs, parent.expiresAtMs);
  if (ttlMs > limits.delegationMaxTtlMs)
    return tooLong("a delegation lives", limits.delegationMaxTtlMs);
  if (nowMs + ttlMs > parent.expiresAtMs)
    return {
      refused: "expiry",
      message: `expires_in ${seconds(ttlMs)} is more than the ${seconds(parent.expiresAtMs - nowMs)} the parent ${parent.id} has left`,
    };
  return nowMs + ttlMs;
}

function renew(deps: TreeDeps, id: string, ttlMs: number | undefined): DelegationNode | Refused {
  const nowMs = deps.clock.nowMs();
  const path = deps.store.path(id);
  const node = path[path.length - 1];
  if (node === undefined) throw unknownDelegation();
  if (node.revocation !== undefined)
    return { refused: "limit", message: `${id} was revoked; a new delegation is needed` };
  const parent = path[path.length - 2];
  // The node itself may have expired: renewing it is its parent's to do, and the parent is alive.
  if (parent !== undefined) chainOf(path.slice(0, -1), parent.id, nowMs);
  const bound = Math.min(parent?.expiresAtMs ?? Number.POSITIVE_INFINITY, node.renewableUntilMs);
  const wanted = nowMs + (ttlMs ?? node.expiresAtMs - node.createdAtMs);
  if (ttlMs !== undefined && wanted > bound)
    return {
      refused: "expiry",
      message: `${seconds(ttlMs)} is more than ${id} can have: ${seconds(Math.max(0, bound - nowMs))} are left ${parent === undefined ? "of the sign-in" : `above it`}`,
    };
  const expiresAtMs = Math.max(node.expiresAtMs, Math.min(wanted, bound));
  deps.store.extend(id, expiresAtMs);
  return { ...node, expiresAtMs };
}

/** The chain of a path, or why there is none. */
function chainOf(path: readonly DelegationNode[], id: string, nowMs: number): Chain {
  const [root, ...below] = path;
  if (root === undefined || path[path.length - 1]?.id !== id) throw unknownDelegation();
  if (root.parentId !== undefined || root.grant !== undefined || root.rootId !== root.id)
    throw broken(root);
  assertAlive(root, nowMs);
  let parent = root;
  for (const node of below) {
    assertBelow(node, parent);
    assertAlive(node, nowMs);
    parent = node;
  }
  return { hops: [hopOf(root), ...below.map(hopOf)] };
}

function aliveUntil(path: readonly DelegationNode[]): number | undefined {
  if (path.length === 0 || path.some(({ revocation }) => revocation !== undefined))
    return undefined;
  return Math.min(...path.map(({ expiresAtMs }) => expiresAtMs));
}

function assertAlive(node: DelegationNode, nowMs: number): void {
  const status = statusOf(node, nowMs);
  if (status === "active") return;
  const who = node.kind === "agent" ? `agent ${node.name} (${node.id})` : node.id;
  const hint =
    node.depth === 0
      ? "sign in again: custody login"
      : status === "expired"
        ? "ask the parent to renew it: custody renew"
        : "ask the parent for a new delegation";
  const at = new Date(node.revocation?.atMs ?? node.expiresAtMs).toISOString();
  const message =
    status === "expired"
      ? `the delegation of ${who} expired at ${at}`
      : `the delegation of ${who} was revoked at ${at}`;
  throw new GatewayError("unauthenticated", message, { hint });
}

function assertBelow(node: DelegationNode, parent: DelegationNode): void {
  const sound =
    node.parentId === parent.id &&
    node.rootId === parent.rootId &&
    node.depth === parent.depth + 1 &&
    node.expiresAtMs <= parent.expiresAtMs &&
    node.grant !== undefined &&
    isSubset(node.grant, parent.grant).ok;
  if (!sound) throw broken(node);
}

function statusOf(node: DelegationNode, nowMs: number): NodeStatus {
  if (node.revocation !== undefined) return "revoked";
  return node.expiresAtMs <= nowMs ? "expired" : "active";
}

function hopOf(node: DelegationNode): Hop {
  return {
    delegationId: node.id,
    kind: node.kind,
    id: node.entityId,
    name: node.name,
    subject: node.subject,
    groups: node.groups,
    provenance: node.provenance,
    grant: node.grant,
    expiresAtMs: node.expiresAtMs,
  };
}

function unknownDelegation(): GatewayError {
  return new GatewayError("unauthenticated", "this credential is not one of this gateway's");
}

function broken(node: DelegationNode): GatewayError {
  return new GatewayError(
    "internal",
    `the stored delegation ${node.id} breaks the rules of a chain`,
  );
}

function tooLong(what: string, maximumMs: number): Refused {
  return { refused: "expiry", message: `${what} at most ${seconds(maximumMs)}` };
}

function seconds(durationMs: number): string {
  return `${Math.floor(durationMs / 1000)} s`;
}
