// Which denial is told when several apply, and in what words. A policy somebody wrote on purpose says
// more than a grant that is too narrow, and that more than the absence of a permit; among equals the
// earliest hop is the one that has to be helped first.

import type { Hop } from "../delegation/chain.ts";
import type { Policy } from "../policy/policy-set.ts";
import type { Denial, DenyKind } from "./operation.ts";

const RANK: Readonly<Record<DenyKind, number>> = {
  fault: 0,
  unknown: 1,
  forbidden: 2,
  not_granted: 3,
  not_permitted: 4,
  classified: 5,
};

/** Keeps the denial to be told out of those it is shown. */
export class DenialChoice {
  #chosen: Denial | undefined;

  add(denial: Denial): void {
    const chosen = this.#chosen;
    if (chosen === undefined || precedes(denial, chosen)) this.#chosen = denial;
  }

  get chosen(): Denial | undefined {
    return this.#chosen;
  }
}

function precedes(one: Denial, other: Denial): boolean {
  if (RANK[one.kind] !== RANK[other.kind]) return RANK[one.kind] < RANK[other.kind];
  return (one.hop ?? -1) < (other.hop ?? -1);
}

/** `depth 2, agent reviewer` */
export function labelHop(hop: Hop, depth: number): string {
  return `depth ${depth}, ${hop.kind} ${hop.kind === "agent" ? hop.name : hop.id}`;
}

export function forbidden(what: string, policy: Policy, hop: Hop, depth: number): Denial {
  return {
    kind: "forbidden",
    what,
    policyId: policy.id,
    message: policy.terms.message ?? `policy ${policy.id} forbids it`,
    hop: depth,
    hopLabel: labelHop(hop, depth),
  };
}

export function denied(
  kind: DenyKind,
  what: string,
  message: string,
  hop: Hop | undefined,
  depth: number | undefined,
): Denial {
  const hopLabel = hop === undefined || depth === undefined ? undefined : labelHop(hop, depth);
  return { kind, what, policyId: undefined, message, hop: depth, hopLabel };
}
