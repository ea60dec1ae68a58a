// A node of the delegation tree as it is stored, and what the tree asks of a store. The tree
// (tree.ts) is the only caller; the store implements (store/delegations.ts).

import type { HopKind, Provenance } from "./chain.ts";
import type { Grant } from "./grant.ts";
import type { PublicKey } from "./key.ts";

export interface DelegationNode {
  readonly id: string;
  readonly parentId: string | undefined;
  readonly rootId: string;
  readonly depth: number;
  readonly kind: HopKind;
  /** The entity's id in policies; see chain.ts. */
  readonly entityId: string;
  readonly name: string;
  readonly subject: string;
  readonly groups: readonly string[];
  /** When the provider vouched for the groups. */
  readonly groupsAtMs: number;
  readonly provenance: Provenance;
  /** undefined at the root only. */
  readonly grant: Grant | undefined;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  /** No renewal goes past this: the root's maximum. */
  readonly renewableUntilMs: number;
  /** SHA-256 of the handle's secret (handles.ts); undefined when the delegation is a JWT. */
  readonly handleVerifier: Uint8Array | undefined;
  /** What a proof of the handle is held against (handle-proof.ts); undefined: there can be none. */
  readonly proofKeys: Uint8Array | undefined;
  /** Who uses the delegation has to prove this key; undefined: whoever shows it may use it. */
  readonly key: PublicKey | undefined;
  /** The parent's signed word about this hop (hop-statement.ts): there whenever the parent has a key. */
  readonly statement: string | undefined;
  /** At a root: delegations below it may be signed by their parents without asking (offline.ts). */
  readonly offlineChildren: boolean;
  readonly revocation: Revocation | undefined;
}

export type RefreshedRoot = Pick<
  DelegationNode,
  "groups" | "groupsAtMs" | "expiresAtMs" | "renewableUntilMs"
>;

export interface Revocation {
  readonly atMs: number;
  /** The entity id of who revoked. */
  readonly by: string;
  readonly reason: string | undefined;
}

/** All synchronous; each may throw GatewayError "dependency_unavailable" and has then changed nothing. */
export interface DelegationStore {
  /** All of `work` or nothing of it. */
  atomically<Result>(work: () => Result): Result;
  insert(node: DelegationNode): void;
  find(id: string): DelegationNode | undefined;
  /** From the root to `id`; empty when there is no such node. */
  path(id: string): readonly DelegationNode[];
  /** Children that are neither revoked nor expired. */
  countLiveChildren(parentId: string, nowMs: number): number;
  countLiveRoots(subject: string, nowMs: number): number;
  /** `id` and everything below it, parents first; undefined: all trees. At most `limit`. */
  subtree(id: string | undefined, limit: number): readonly DelegationNode[];
  /** Marks what is not revoked yet at or below `id`; returns these ids. */
  revokeSubtree(id: string, revocation: Revocation): readonly string[];
  extend(id: string, expiresAtMs: number): void;
  /** The root's row as it is now, and with its maximum that of the whole tree. */
  refreshRoot(id: string, next: RefreshedRoot): void;
}
