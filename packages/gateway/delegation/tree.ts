// The delegation tree: the authority for every chain. Tokens and handles only point at its nodes.
//
// What holds for every node but a root (I3, I9): its grant is a subset of its parent's, it expires no
// later than its parent, its root is its parent's root, it is revoked when its parent is, and it has its
// parent's signed word when the parent holds a key (hop-statement.ts). These are made true when a node is
// made and checked again whenever a chain is read, so that a store somebody edited gives an error and not
// a chain.
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
import { type HopStatement, whyUnfit } from "./hop-statement.ts";
import type { PublicKey } from "./key.ts";
import type { DelegationNode, DelegationStore } from "./node.ts";
import { type Refreshed, refreshRoot, signInUntil } from "./sign-in-refresh.ts";

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
  readonly refused: "grant" | "expiry" | "limit" | "statement";
  readonly message: string;
}

export type NodeStatus = "active" | "expired" | "revoked";

export interface Tree {
  /**
   * A root; below it one asserted hop for each actor the provider's token names, the last of which is
   * what is minted.
   */
  signIn(
    principal: Principal,
    ttlMs: number | undefined,
    shape: Shape,
    binding?: RootBinding,
  ): Minted | Refused;
  delegate(parentId: string, child: ChildRequest): Minted | Refused;
  /** Throws GatewayError "unauthenticated" unless every hop is alive. */
  chain(id: string): Chain;
  /** The chain even if a hop has expired; undefined: one was revoked, or it is unknown. */
  unrevoked(id: string): Chain | undefined;
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
  /** A root that its provider vouches for again; throws as sign-in-refresh.ts says. */
  refresh(id: string, principal: Principal): Refreshed;
}

export interface ChildRequest {
  readonly actor: NewActor;
  readonly grant: Grant;
  readonly ttlMs: number | undefined;
  readonly shape: Shape;
  /** The child's own, proved; with a statement, the one that it names. */
  readonly key?: PublicKey | undefined;
  /** Its signature was checked with the parent's key; whether it fits the parent is checked here. */
  readonly statement?: HopStatement | undefined;
  /** The gateway was not asked before: only where the root allows it, and only with a statement. */
  readonly offline?: boolean;
}

export interface RootBinding {
  readonly key: PublicKey | undefined;
  readonly offlineChildren: boolean;
}

const ID_LENGTH = 12;
/** Live sign-ins of one subject: a job that signs in in a loop fills no store. */
const MAX_ROOTS_PER_SUBJECT = 1000;

export function createTree(deps: TreeDeps): Tree {
  const { store, clock } = deps;
  return {
    signIn: (principal, ttlMs, shape, binding = UNBOUND) =>
      store.atomically(() => signIn(deps, principal, ttlMs, shape, binding)),
    delegate: (parentId, child) => store.atomically(() => delegate(deps, parentId, child)),
    chain: (id) => chainOf(store.path(id), id, clock.nowMs()),
    unrevoked: (id) => unrevoked(store.path(id)),
    aliveUntil: (id) => aliveUntil(store.path(id)),
    find: (id) => store.find(id),
    path: (id) => store.path(id),
    subtree: (id, limit) => store.subtree(id, limit),
    status: (node) => statusOf(node, clock.nowMs()),
    revoke: (id, by, reason) => store.revokeSubtree(id, { atMs: clock.nowMs(), by, reason }),
    renew: (id, ttlMs) => store.atomically(() => renew(deps, id, ttlMs)),
    refresh: (id, principal) =>
      store.atomically(() =>
        refreshRoot({ store, clock, signInTtlMs: deps.limits.signInTtlMs }, id, principal),
      ),
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
  binding: RootBinding,
): Minted | Refused {
  const { limits } = deps;
  const nowMs = deps.clock.nowMs();
  const actors = principal.actors ?? [];
  if (actors.length > limits.delegationDepth)
    return {
      refused: "limit",
      message: `the token names ${actors.length} actors; at most ${limits.delegationDepth} hops are allowed`,
    };
  if (binding.offlineChildren && binding.key === undefined)
    return { refused: "statement", message: "offline children need a sign-in bound to a key" };
  if (ttlMs !== undefined && ttlMs > limits.signInTtlMs)
    return tooLong("a sign-in lives", limits.signInTtlMs);
  const untilMs = signInUntil(principal, nowMs, limits.signInTtlMs);
  if (untilMs <= nowMs)
    return { refused: "expiry", message: "the groups in this token are too old; take a new one" };
  if (deps.store.countLiveRoots(principal.subject, nowMs) >= MAX_ROOTS_PER_SUBJECT)
    return {
      refused: "limit",
      message: `${principal.id} is signed in ${MAX_ROOTS_PER_SUBJECT} times; revoke some first`,
    };
  const id = newId("d", ID_LENGTH, deps.random);
  const root: DelegationNode = {
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
    expiresAtMs: Math.min(nowMs + (ttlMs ?? limits.signInTtlMs), untilMs),
    renewableUntilMs: untilMs,
    handleVerifier: undefined,
    proofKeys: undefined,
    key: actors.length === 0 ? binding.key : undefined,
    statement: undefined,
    offlineChildren: binding.offlineChildren,
    revocation: undefined,
  };
  if (actors.length === 0) return mint(deps, shape, [], root);
  return mintAsserted(deps, shape, root, actors, binding.key);
}

const UNBOUND: RootBinding = { key: undefined, offlineChildren: false };

/** What a claimed actor may do is what the root may, except to see what is masked. */
const ASSERTED_GRANT: Grant = [
  { targets: ["*"], accounts: ["*"], actions: ["*"], resources: ["*"], unmask: [], limits: {} },
];

/** The actors a provider's token names between its subject and whoever shows it, oldest first. */
function mintAsserted(
  deps: TreeDeps,
  shape: Shape,
  root: DelegationNode,
  actors: NonNullable<Principal["actors"]>,
  key: PublicKey | undefined,
): Minted {
  let minted = mint(deps, "jwt", [], root);
  for (const [index, actor] of actors.entries()) {
    const id = newId("d", ID_LENGTH, deps.random);
    const isLast = index === actors.length - 1;
    minted = mint(deps, isLast ? shape : "jwt", minted.chain.hops, {
      ...root,
      id,
      parentId: minted.node.id,
      depth: index + 1,
      kind: "agent",
      // A name that somebody claimed is no identity; it only excludes its person from approving.
      entityId: id,
      name: actor.name,
      subject: actor.subject,
      groups: [],
      provenance: "asserted",
      grant: ASSERTED_GRANT,
      key: isLast ? key : undefined,
      offlineChildren: false,
    });
  }
  return minted;
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
  const { statement } = child;
  const unstated = whyNotStated(deps, path, parent, child, nowMs);
  if (unstated !== undefined) return { refused: "statement", message: unstated };
  const narrowed = narrowGrant(parent.grant, statement?.grant ?? child.grant);
  if (!narrowed.ok) return { refused: "grant", message: narrowed.first };
  const expiry = childExpiry(limits, parent, child, nowMs);
  if (typeof expiry !== "number") return expiry;
  const id = statement?.delegationId ?? newId("d", ID_LENGTH, deps.random);
  const key = statement === undefined ? child.key : statement.key;
  return mint(deps, child.shape, above.hops, {
    id,
    parentId,
    rootId: parent.rootId,
    depth: parent.depth + 1,
    ...actorFields(child.actor, id, key, nowMs),
    grant: narrowed.grant,
    // A grandchild may have been signed before the child was ever shown.
    createdAtMs: child.offline === true ? (statement?.issuedAtMs ?? nowMs) : nowMs,
    expiresAtMs: expiry,
    // No renewal goes past what the parent signed: that would be the gateway's word alone.
    renewableUntilMs: Math.min(
      parent.renewableUntilMs,
      statement?.expiresAtMs ?? Number.POSITIVE_INFINITY,
    ),
    handleVerifier: undefined,
    proofKeys: undefined,
    key,
    statement: statement?.text,
    offlineChildren: false,
    revocation: undefined,
  });
}

/** A parent that holds a key says itself what its children are; one that holds none cannot. */
function whyNotStated(
  deps: TreeDeps,
  path: readonly DelegationNode[],
  parent: DelegationNode,
  child: ChildRequest,
  nowMs: number,
): string | undefined {
  const { statement } = child;
  if (child.offline === true && path[0]?.offlineChildren !== true)
    return "this sign-in does not allow delegations that were signed offline";
  if (statement === undefined)
    return parent.key === undefined && child.offline !== true
      ? undefined
      : `${parent.id} is bound to a key: its children need a hop statement signed with it`;
  if (parent.key === undefined) return `${parent.id} has no key that a hop statement could fit`;
  if (deps.store.find(statement.delegationId) !== undefined)
    return "this hop statement was used before: sign a new one for another child";
  // Signed at the gateway, it may say how far the child can be renewed: the child itself ends with its
  // parent all the same. Offline there is no renewal.
  const boundMs = child.offline === true ? parent.expiresAtMs : parent.renewableUntilMs;
  return whyUnfit(statement, { ...parent, boundMs }, nowMs);
}

type ActorFields = Pick<
  DelegationNode,
  "kind" | "entityId" | "name" | "subject" | "groups" | "groupsAtMs" | "provenance"
>;

function actorFields(
  actor: NewActor,
  id: string,
  key: PublicKey | undefined,
  nowMs: number,
): ActorFields {
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
    provenance: key === undefined ? "bearer" : "possession",
  };
}

function mint(deps: TreeDeps, shape: Shape, above: readonly Hop[], draft: DelegationNode): Minted {
  const made = shape === "handle" ? newHandle(draft.id, deps.random) : undefined;
  const { verifier: handleVerifier, proofKeys } = made ?? {};
  const node: DelegationNode = { ...draft, handleVerifier, proofKeys };
  deps.store.insert(node);
  const [first, ...rest] = [...above, hopOf(node)];
  return { node, chain: { hops: [first ?? hopOf(node), ...rest] }, handle: made?.handle };
}

function childExpiry(
  limits: TreeLimits,
  parent: DelegationNode,
  { ttlMs, statement }: Pick<ChildRequest, "ttlMs" | "statement">,
  nowMs: number,
): number | Refused {
  if (statement !== undefined) {
    // How far it may be renewed was checked with the rest of the statement.
    if ((ttlMs ?? statement.expiresAtMs - nowMs) > limits.delegationMaxTtlMs)
      return tooLong("a delegation lives", limits.delegationMaxTtlMs);
    const askedMs = nowMs + (ttlMs ?? limits.delegationMaxTtlMs);
    return Math.min(statement.expiresAtMs, parent.expiresAtMs, askedMs);
  }
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

function unrevoked(path: readonly DelegationNode[]): Chain | undefined {
  const leaf = path[path.length - 1];
  if (leaf === undefined || path.some(({ revocation }) => revocation !== undefined))
    return undefined;
  // As of before anything in it could have expired: everything else that holds of a chain is checked.
  return chainOf(path, leaf.id, Number.NEGATIVE_INFINITY);
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
    (node.statement === undefined) === (parent.key === undefined) &&
    node.grant !== undefined &&
    isSubset(node.grant, parent.grant).ok;
  if (!sound) throw broken(node);
}

function statusOf(node: DelegationNode, nowMs: number): NodeStatus {
  if (node.revocation !== undefined) return "revoked";
  return node.expiresAtMs <= nowMs ? "expired" : "active";
}

/** A node as a hop, whatever its status: a chain to act with is made of living ones only. */
export function hopOf(node: DelegationNode): Hop {
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
    ...(node.key === undefined ? {} : { jkt: node.key.jkt }),
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
