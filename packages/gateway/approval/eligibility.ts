// Who may vote on a request (I8): a linked person at the head of their own chain, who is none of the
// persons behind the chain that asks, whom policies let approve, and who is in a group that a
// requirement names. Pure: everything it needs is handed in.

import type { Requirement } from "../access/operation.ts";
import { type Chain, depthOf, type Hop, rootOf } from "../delegation/chain.ts";
import type { People } from "../identity/people.ts";
import type { ApprovalRequest } from "./request.ts";

export type Eligibility =
  | {
      readonly ok: true;
      readonly person: string;
      readonly approver: Hop;
      /** The requirements, by policy id, that this person's approval counts for. */
      readonly policyIds: readonly string[];
    }
  | { readonly ok: false; readonly why: string; readonly policyId: string | undefined };

/** The policy question, for everything about the request that a policy may read. */
export type MayApprove = (
  approver: Chain,
  request: ApprovalRequest,
) => { readonly allowed: boolean; readonly message?: string; readonly policyId?: string };

export function eligibility(
  approver: Chain,
  request: ApprovalRequest,
  people: People,
  mayApprove: MayApprove,
): Eligibility {
  const hop = rootOf(approver);
  if (depthOf(approver) !== 0 || hop.kind !== "user")
    return no("only a person who signed in approves: no agent and no workload, for anybody");
  if (hop.provenance === "asserted") return no("an identity that is only asserted cannot approve");
  const person = people.personOf(hop);
  if (person === undefined)
    return no(`the account ${hop.id} is not linked to a person, so it cannot approve`);
  // Every account of every hop, whatever its provenance: a claim is enough to be excluded.
  for (const behind of request.chain.hops) {
    if (behind.id === hop.id || behind.subject === hop.subject)
      return no("nobody approves what was asked on their own behalf");
    // What a provider's token asserted may be a subject or a name of an account: either excludes it.
    const claimed = { id: behind.subject, subject: behind.subject };
    if (behind.provenance === "asserted" && behind.subject === hop.id)
      return no("nobody approves what was asked on their own behalf");
    if (people.personOf(behind) === person || people.personOf(claimed) === person)
      return no("nobody approves what was asked on their own behalf, with another account either");
  }
  const policyIds = request.requirements
    .filter((requirement) => names(requirement, hop))
    .map(({ policyId }) => policyId);
  if (policyIds.length === 0) {
    const groups = new Set(request.requirements.flatMap(({ approvers }) => approvers));
    return no(`this waits for a member of ${[...groups].join(" or ")}`);
  }
  const verdict = mayApprove(approver, request);
  if (!verdict.allowed)
    return no(verdict.message ?? "policies do not let you approve this", verdict.policyId);
  return { ok: true, person, approver: hop, policyIds };
}

function names(requirement: Requirement, hop: Hop): boolean {
  const { approvers } = requirement;
  return approvers.length === 0 || approvers.some((group) => hop.groups.includes(group));
}

function no(why: string, policyId?: string): Eligibility {
  return { ok: false, why, policyId };
}
