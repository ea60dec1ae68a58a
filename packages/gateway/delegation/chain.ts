// The chain: the path from the root (the original requestor) to the leaf that holds a session.
// Plain data, made by the delegation tree (tree.ts) and by nothing else; everything that decides,
// records or writes names upstream reads it from here.

import type { Grant } from "./grant.ts";

/** How strongly a hop is known, strongest first. */
export const PROVENANCES = ["attested", "possession", "bearer", "asserted"] as const;
export type Provenance = (typeof PROVENANCES)[number];

export type HopKind = "user" | "workload" | "agent";

export interface Hop {
  /** The node of the delegation tree, `d-…`. */
  readonly delegationId: string;
  readonly kind: HopKind;
  /**
   * The entity's id in policies. Users and workloads: `<provider>/<name the provider vouches for>`.
   * Agents: the delegation id, since a claimed name is never an identity.
   */
  readonly id: string;
  /** What people read: the user's name, the agent's claimed name. Never used to decide. */
  readonly name: string;
  /** `<provider>/<stable subject id>`; agents: the delegation id. Goes into every audit leaf. */
  readonly subject: string;
  /** `<provider>/<group>`; empty for agents. */
  readonly groups: readonly string[];
  readonly provenance: Provenance;
  /** undefined at the root only: the root may ask for whatever policies permit it. */
  readonly grant: Grant | undefined;
  readonly expiresAtMs: number;
  /** Thumbprint of the key it is bound to (RFC 7638); absent: to none. */
  readonly jkt?: string;
}

export interface Chain {
  /** Root first, leaf last. At least one. */
  readonly hops: readonly [Hop, ...Hop[]];
}

export function rootOf(chain: Chain): Hop {
  return chain.hops[0];
}

export function leafOf(chain: Chain): Hop {
  return chain.hops[chain.hops.length - 1] ?? chain.hops[0];
}

/** 0 for a person or workload that acts for itself. */
export function depthOf(chain: Chain): number {
  return chain.hops.length - 1;
}

export function weakestProvenance(chain: Chain): Provenance {
  let weakest = 0;
  for (const hop of chain.hops) weakest = Math.max(weakest, PROVENANCES.indexOf(hop.provenance));
  return PROVENANCES[weakest] ?? "asserted";
}

/** The chain ends when its first hop does: no hop outlives one above it. */
export function expiryOf(chain: Chain): number {
  let expiresAtMs = Number.POSITIVE_INFINITY;
  for (const hop of chain.hops) expiresAtMs = Math.min(expiresAtMs, hop.expiresAtMs);
  return expiresAtMs;
}

/** `corp/engineer@example.com > ci-job > sub-agent`: for messages and names upstream. */
export function describeChain(chain: Chain): string {
  return chain.hops.map((hop) => (hop.kind === "agent" ? hop.name : hop.id)).join(" > ");
}
