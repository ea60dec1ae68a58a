// What the control side asks: may this chain approve, replay, administer, delegate? The same engine
// and the same rule as for commands, every hop must be permitted, and three rules no policy can change:
// approving and administering take a user who acts for themself, replaying somebody who acts for
// themself (no grant can name it), and nothing here can be had by consent.

import type { Clock } from "../base/clock.ts";
import { type Chain, depthOf, rootOf } from "../delegation/chain.ts";
import { evaluatePair } from "../policy/engine.ts";
import type { PolicySet } from "../policy/policy-set.ts";
import {
  classFacts,
  gatewayFacts,
  principalFacts,
  type ResourceFacts,
  type SessionFacts,
  type Situation,
  type TargetFacts,
  targetFacts,
} from "../policy/question.ts";
import { DenialChoice, denied, forbidden } from "./denial.ts";
import type { Denial, Requirement } from "./operation.ts";

export type ControlAction = "approve" | "replay" | "join" | "moderate" | "administer" | "delegate";

export interface ControlAnswer {
  readonly allowed: boolean;
  /** @ids of the permits that let it pass. */
  readonly policyIds: readonly string[];
  /** Why not; undefined exactly when allowed. */
  readonly denial: Denial | undefined;
}

export interface ApproveAnswer extends ControlAnswer {
  /** Policy ids of the requirements this person's vote counts for. */
  readonly countsFor: readonly string[];
}

/** Never throws; a fault is a denial of kind "fault". */
export interface ControlAccess {
  /**
   * `target` is the resource of approve, replay, join and moderate; the gateway itself is that of administer and
   * delegate, which take undefined.
   */
  evaluateAction(
    chain: Chain,
    action: ControlAction,
    target: TargetFacts | undefined,
  ): ControlAnswer;
  /**
   * May this person vote on a hold of that target, and for which of its requirements: those whose
   * approvers they belong to. Whether they stand behind the chain is for approval/ to say.
   */
  mayApprove(
    chain: Chain,
    target: TargetFacts,
    requirements: readonly Requirement[],
  ): ApproveAnswer;
  mayReplay(chain: Chain, target: TargetFacts): ControlAnswer;
  /**
   * See values of the class that a recording of that target shows, as in a session there with this account.
   * Who may replay is asked apart.
   */
  mayUnmask(
    chain: Chain,
    place: { readonly target: TargetFacts; readonly session: SessionFacts },
    className: string,
  ): ControlAnswer;
  mayAdminister(chain: Chain): ControlAnswer;
  mayDelegate(chain: Chain): ControlAnswer;
}

export interface ControlAccessDeps {
  readonly policies: () => PolicySet;
  readonly clock: Clock;
}

const ON_TARGET: ReadonlySet<ControlAction> = new Set(["approve", "replay", "join", "moderate"]);

export function createControlAccess(deps: ControlAccessDeps): ControlAccess {
  function evaluateAction(
    chain: Chain,
    action: ControlAction,
    target: TargetFacts | undefined,
  ): ControlAnswer {
    const what = target === undefined ? action : `${action} on target ${target.name}`;
    if (ON_TARGET.has(action) !== (target !== undefined)) {
      return refused(
        denied("unknown", what, "that is not what it is asked on", undefined, undefined),
      );
    }
    const rule = whatever(chain, action);
    if (rule !== undefined) {
      return refused(denied("forbidden", what, rule, rootOf(chain), 0));
    }
    try {
      const resource = target === undefined ? gatewayFacts() : targetFacts(target.name);
      return askHops(chain, action, { target, session: undefined }, resource, what);
    } catch {
      return refused(denied("fault", what, "the policy engine failed", undefined, undefined));
    }
  }

  function askHops(
    chain: Chain,
    action: ControlAction | "unmask",
    place: Pick<Situation, "target" | "session">,
    resource: ResourceFacts,
    what: string,
  ): ControlAnswer {
    const policies = deps.policies();
    const situation = { chain, nowMs: deps.clock.nowMs(), ...place };
    const denials = new DenialChoice();
    const permits = new Set<string>();
    chain.hops.forEach((hop, depth) => {
      const uid = { type: "Custody::Action", id: action };
      const answer = evaluatePair(policies, situation, hop, uid, resource);
      if (answer.verdict === "permit") {
        for (const policy of answer.permits) permits.add(policy.id);
      } else if (answer.verdict === "fault" || answer.verdict === "unknown") {
        denials.add(denied(answer.verdict, what, answer.message, hop, depth));
      } else {
        const forbid = answer.verdict === "hold" ? answer.approvals[0] : answer.forbid;
        denials.add(
          forbid === undefined
            ? denied("not_permitted", what, "no policy permits it", hop, depth)
            : forbidden(what, forbid, hop, depth),
        );
      }
    });
    const denial = denials.chosen;
    if (denial !== undefined) return refused(denial);
    return { allowed: true, policyIds: [...permits], denial: undefined };
  }

  return {
    evaluateAction,
    mayApprove(chain, target, requirements) {
      const answer = evaluateAction(chain, "approve", target);
      if (!answer.allowed) return { ...answer, countsFor: [] };
      const countsFor = requirements
        .filter((requirement) => isApprover(chain, requirement))
        .map((requirement) => requirement.policyId);
      if (countsFor.length > 0) return { ...answer, countsFor };
      const groups = [...new Set(requirements.flatMap((requirement) => requirement.approvers))];
      const what = `approve on target ${target.name}`;
      const message = `it takes a member of ${groups.join(" or ")}`;
      return {
        ...refused(denied("forbidden", what, message, rootOf(chain), 0)),
        countsFor: [],
      };
    },
    mayReplay: (chain, target) => evaluateAction(chain, "replay", target),
    mayUnmask(chain, place, className) {
      const what = `unmask ${className} on target ${place.target.name}`;
      const rule = whatever(chain, "replay");
      if (rule !== undefined) return refused(denied("forbidden", what, rule, rootOf(chain), 0));
      try {
        return askHops(chain, "unmask", place, classFacts(className), what);
      } catch {
        return refused(denied("fault", what, "the policy engine failed", undefined, undefined));
      }
    },
    mayAdminister: (chain) => evaluateAction(chain, "administer", undefined),
    mayDelegate: (chain) => evaluateAction(chain, "delegate", undefined),
  };
}

/** What holds whatever policies say; undefined when nothing stands against it. */
function whatever(chain: Chain, action: ControlAction): string | undefined {
  if (action === "delegate") return undefined;
  if (depthOf(chain) > 0) return `an agent may never ${action}`;
  if (action !== "replay" && rootOf(chain).kind !== "user") return `only a person may ${action}`;
  return undefined;
}

function isApprover(chain: Chain, requirement: Requirement): boolean {
  if (requirement.approvers.length === 0) return true;
  const groups = principalFacts(rootOf(chain)).ancestors.map((group) => group.id);
  return requirement.approvers.some((group) => groups.includes(group));
}

function refused(denial: Denial): ControlAnswer {
  return { allowed: false, policyIds: [], denial };
}
