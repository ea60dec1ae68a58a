// What a decision is put together from, pair by pair; decide.ts and classes.ts fill it.

import { actionNamed } from "../delegation/actions.ts";
import { coveringEntries, type GrantEntry } from "../delegation/grant.ts";
import type { PairAnswer } from "../policy/engine.ts";
import type { Policy } from "../policy/policy-set.ts";
import type { DenialChoice } from "./denial.ts";
import type { Effect, Operation, Subject } from "./operation.ts";
import type { Pairs } from "./pairs.ts";

export interface DecisionInput {
  readonly subject: Subject;
  readonly operation: Operation;
  readonly pairs: Pairs;
  readonly policyVersion: string;
}

export interface Findings {
  readonly denials: DenialChoice;
  /** Policies whose approval is still missing. */
  readonly missing: Set<Policy>;
  /** Permits that let something pass. */
  readonly permits: Set<Policy>;
  /** Ids of the policies whose requirements recorded votes meet. */
  readonly met: ReadonlySet<string>;
}

/** Puts one pair's answer into the findings; false when it neither passes nor waits for consent. */
export function takeAnswer(answer: PairAnswer, findings: Findings): boolean {
  if (answer.verdict !== "permit" && answer.verdict !== "hold") return false;
  for (const policy of missingApprovals(answer, findings)) findings.missing.add(policy);
  for (const policy of answer.permits) findings.permits.add(policy);
  return true;
}

/**
 * Reading what every client reads to work at all: policies judge it, grants need not name it. Only
 * reading: whoever changes the catalogue needs a grant that says so.
 */
export function isImplied(effect: Effect): boolean {
  if (!effect.resource.implied) return false;
  // SQL says it of relations, whatever is done to them: reading is implied, no more. Others say it of what
  // is asked: a cluster's discovery, a question about oneself.
  if (!effect.action.startsWith("sql:")) return true;
  return actionNamed(effect.action)?.groups.includes("sql:read") === true;
}

/** The entries of a hop's grant that carry the effect, on the subject's target and account. */
export function grantEntries(
  subject: Subject,
  effect: Effect,
  grant: readonly GrantEntry[],
): readonly GrantEntry[] {
  return coveringEntries(grant, {
    target: subject.target,
    account: subject.account,
    action: effect.action,
    resource: effect.resource.path,
  });
}

/** The approvals a pair still needs: consent counts only where all that this very pair asks is there. */
export function missingApprovals(answer: PairAnswer, findings: Findings): readonly Policy[] {
  if (answer.verdict !== "hold") return [];
  return answer.approvals.filter((policy) => !findings.met.has(policy.id));
}
