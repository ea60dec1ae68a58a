// Asks Cedar, once per (hop, effect), and makes a hold out of the difference between two answers.
//
// A hold is not a verdict of the policy language: a pair is evaluated with `approved` false; if that
// denies, with `approved` true; if that permits, the forbids of the first evaluation are exactly the
// approvals it needs. load.ts admits only `forbid … unless { context.approved }`, so `approved` can
// only ever take forbids away.
//
// Cedar skips a policy that errs. Here any error in an answer is a fault of the whole pair (I2).

import {
  type CedarValueJson,
  type EntityJson,
  statefulIsAuthorized,
} from "@cedar-policy/cedar-wasm/nodejs";
import type { Hop } from "../delegation/chain.ts";
import type { ClockReading } from "./conditions.ts";
import type { Policy, PolicySet } from "./policy-set.ts";
import { prepareSlice } from "./prepared.ts";
import {
  contextOf,
  entitiesOf,
  principalFacts,
  type ResourceFacts,
  type Situation,
} from "./question.ts";
import { describeEntity, type EntityUid, entityKey, SCHEMA_ACTIONS } from "./schema.ts";

export type PairVerdict =
  /** `permits`: the policies that let it pass. */
  | { readonly verdict: "permit"; readonly permits: readonly Policy[] }
  /** `approvals`: the forbids people's consent takes away; `permits`: what then lets it pass. */
  | {
      readonly verdict: "hold";
      readonly approvals: readonly Policy[];
      readonly permits: readonly Policy[];
    }
  /** `forbid`: the policy that forbids it; undefined when none permits it. */
  | { readonly verdict: "deny"; readonly forbid: Policy | undefined }
  /** Not something policies can be asked about. */
  | { readonly verdict: "unknown"; readonly message: string }
  | { readonly verdict: "fault"; readonly message: string };

export type PairAnswer = PairVerdict & {
  /** How long the answer holds: the clock the policies that could match read. */
  readonly clock: ClockReading;
};

/** Never throws. */
export function evaluatePair(
  set: PolicySet,
  situation: Situation,
  hop: Hop,
  action: EntityUid,
  resource: ResourceFacts,
): PairAnswer {
  const principal = principalFacts(hop);
  const known = SCHEMA_ACTIONS.get(entityKey(action));
  if (
    known === undefined ||
    !known.principalTypes.has(principal.uid.type) ||
    !known.resourceTypes.has(resource.uid.type)
  ) {
    const asked = `${describeEntity(action)} by a ${principal.uid.type} on a ${resource.uid.type}`;
    return { verdict: "unknown", message: `policies do not know ${asked}`, clock: "none" };
  }
  try {
    const slice = set.slice(principal, action, resource);
    const clock = strictestClock(slice);
    // Without a policy there is nothing to ask.
    if (slice.length === 0) return { verdict: "deny", forbid: undefined, clock };
    const question: CedarQuestion = {
      principal: principal.uid,
      action,
      resource: resource.uid,
      context: readMembers(slice, contextOf(situation)),
      entities: entitiesOf(situation, principal, action, resource),
    };
    return { ...decide(set, slice, question), clock };
  } catch {
    return { verdict: "fault", message: "the policy engine failed", clock: "none" };
  }
}

interface CedarQuestion {
  readonly principal: EntityUid;
  readonly action: EntityUid;
  readonly resource: EntityUid;
  readonly context: Readonly<Record<string, CedarValueJson>>;
  readonly entities: EntityJson[];
}

function decide(set: PolicySet, slice: readonly Policy[], question: CedarQuestion): PairVerdict {
  const before = ask(set, slice, question, false);
  if (before.kind === "fault") return { verdict: "fault", message: before.message };
  if (before.allowed) return { verdict: "permit", permits: before.policies };
  const stands = before.policies.find((policy) => !policy.asksApproval);
  // No forbid, or one that consent does not take away: `approved` would change nothing.
  if (before.policies.length === 0 || stands !== undefined) {
    return { verdict: "deny", forbid: stands };
  }
  const after = ask(set, slice, question, true);
  if (after.kind === "fault") return { verdict: "fault", message: after.message };
  if (!after.allowed) return { verdict: "deny", forbid: after.policies[0] };
  return { verdict: "hold", approvals: before.policies, permits: after.policies };
}

type CedarAnswer =
  | { readonly kind: "answer"; readonly allowed: boolean; readonly policies: readonly Policy[] }
  | { readonly kind: "fault"; readonly message: string };

function ask(
  set: PolicySet,
  slice: readonly Policy[],
  question: CedarQuestion,
  approved: boolean,
): CedarAnswer {
  const asksApproval = slice.some((policy) => policy.asksApproval);
  const answer = statefulIsAuthorized({
    ...question,
    context: asksApproval ? { ...question.context, approved } : question.context,
    preparsedPolicySetId: prepareSlice(set, slice),
    validateRequest: false,
  });
  if (answer.type === "failure") {
    return { kind: "fault", message: "the policy engine could not take the question" };
  }
  const { decision, diagnostics } = answer.response;
  const erring = diagnostics.errors[0];
  if (erring !== undefined) {
    return { kind: "fault", message: `policy "${erring.policyId}" failed to evaluate` };
  }
  const reasons = new Set(diagnostics.reason);
  const policies = slice.filter((policy) => reasons.has(policy.id));
  if (policies.length !== reasons.size) {
    return { kind: "fault", message: "the policy engine named a policy it was not given" };
  }
  return { kind: "answer", allowed: decision === "allow", policies };
}

/**
 * Only what the policies at hand read: taking the context in is most of what a question costs Cedar.
 * conditions.ts knows the members exactly, and a test compares with the whole context.
 */
function readMembers(
  slice: readonly Policy[],
  context: Readonly<Record<string, CedarValueJson>>,
): Readonly<Record<string, CedarValueJson>> {
  const read = Object.entries(context).filter(([name]) =>
    slice.some((policy) => policy.members.has(name)),
  );
  return Object.fromEntries(read);
}

function strictestClock(slice: readonly Policy[]): ClockReading {
  if (slice.some((policy) => policy.clock === "minute")) return "minute";
  return slice.some((policy) => policy.clock === "hour") ? "hour" : "none";
}
