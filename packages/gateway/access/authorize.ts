// The one place where a command is allowed: every effect, for every hop, must be carried by the hop's
// grant and permitted by policy (I3), and a classified value is either masked or every hop may see it
// (I6). Protocols supply operations and wording; none decides.
//
// Who owns the state: the Access object made here owns its caches. Nothing is kept about a session
// that was forgotten, and nothing outlives the policies it was decided under.

import type { Clock } from "../base/clock.ts";
import type { PolicySet } from "../policy/policy-set.ts";
import { decideOperation } from "./decide.ts";
import { BoundedMap, ByOperation, holdsAt, type Validity } from "./decision-cache.ts";
import { denied } from "./denial.ts";
import type { Access, Decision, Operation, Subject } from "./operation.ts";
import { createPairs, type PairCache } from "./pairs.ts";

export interface AccessLimits {
  /** Decisions kept a session. */
  readonly decisionsPerSession: number;
  /** Sessions decisions are kept for. */
  readonly sessions: number;
  /** (principal, situation) combinations answers of policies are kept for. */
  readonly pairSubjects: number;
  /** Answers kept for each. */
  readonly pairsPerSubject: number;
}

export const DEFAULT_ACCESS_LIMITS: AccessLimits = {
  decisionsPerSession: 512,
  sessions: 10_000,
  pairSubjects: 1000,
  pairsPerSubject: 1000,
};

export interface AccessDeps {
  /** The set that holds now. */
  readonly policies: () => PolicySet;
  readonly clock: Clock;
  readonly limits: AccessLimits;
}

/** A decision with what it was made from, where that can change within a session. */
interface CachedDecision {
  readonly decision: Decision;
  readonly policies: PolicySet;
  readonly validity: Validity;
  readonly subject: Subject;
}

export function createAccess(deps: AccessDeps): Access {
  const { limits, clock } = deps;
  const sessions = new BoundedMap<string, ByOperation<CachedDecision>>(limits.sessions);
  let pairs: PairCache = new BoundedMap(limits.pairSubjects);
  let pairPolicies: PolicySet | undefined;

  function decide(subject: Subject, operation: Operation, met: ReadonlySet<string> | undefined) {
    const policies = deps.policies();
    if (policies !== pairPolicies) {
      pairs = new BoundedMap(limits.pairSubjects);
      pairPolicies = policies;
    }
    const asked = createPairs({
      policies,
      situation: {
        chain: subject.chain,
        nowMs: clock.nowMs(),
        target: { name: subject.target, tags: subject.targetTags },
        session: {
          account: subject.account,
          protocol: operation.protocol,
          address: subject.clientAddress,
          justification: subject.justification,
        },
      },
      // What people consented to is evaluated afresh.
      cache: met === undefined ? pairs : undefined,
      newCache: () => new BoundedMap(limits.pairsPerSubject),
    });
    const decision = decideOperation(
      { subject, operation, pairs: asked, policyVersion: policies.version },
      met ?? new Set(),
    );
    return { decision, policies, validity: asked.validity, subject };
  }

  function fault(operation: Operation): Decision {
    return {
      verdict: "deny",
      denial: denied("fault", operation.summary, "the policy engine failed", undefined, undefined),
      policyVersion: deps.policies().version,
    };
  }

  return {
    authorize(subject, operation) {
      try {
        let decisions = sessions.get(subject.sessionId);
        const cached = decisions?.get(operation);
        if (
          cached !== undefined &&
          cached.policies === deps.policies() &&
          isSameSubject(cached.subject, subject) &&
          holdsAt(cached.validity, clock.nowMs())
        ) {
          return cached.decision;
        }
        const made = decide(subject, operation, undefined);
        if (decisions === undefined) {
          decisions = new ByOperation(limits.decisionsPerSession);
          sessions.set(subject.sessionId, decisions);
        }
        if (!isFault(made.decision)) decisions.set(operation, made);
        return made.decision;
      } catch {
        return fault(operation);
      }
    },
    authorizeApproved(subject, operation, met) {
      try {
        return decide(subject, operation, new Set(met)).decision;
      } catch {
        return fault(operation);
      }
    },
    get policyVersion() {
      return deps.policies().version;
    },
    forget(sessionId) {
      sessions.delete(sessionId);
    },
  };
}

/** The chain is a value: a renewed or changed one is another object. */
function isSameSubject(one: Subject, other: Subject): boolean {
  return (
    one === other ||
    (one.chain === other.chain &&
      one.target === other.target &&
      one.account === other.account &&
      one.targetTags === other.targetTags &&
      one.clientAddress === other.clientAddress &&
      one.justification === other.justification)
  );
}

function isFault(decision: Decision): boolean {
  return decision.verdict === "deny" && decision.denial.kind === "fault";
}
