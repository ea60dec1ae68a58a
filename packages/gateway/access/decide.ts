// One decision, from what grants carry and policies answer. Everything is looked at before anything is
// said, so that the reason told is the one that helps most (denial.ts), and so that a hold asks for all
// consents at once.

import { actionNamed } from "../delegation/actions.ts";
import { type GrantLimits, strictestLimits } from "../delegation/grant.ts";
import { RECORDING_LEVELS, type RecordingLevel, strictestMode } from "../policy/annotations.ts";
import type { Policy } from "../policy/policy-set.ts";
import { resourceFacts } from "../policy/question.ts";
import type { Protocol } from "../target/target.ts";
import { decideTouches } from "./classes.ts";
import { DenialChoice, denied, forbidden, labelHop } from "./denial.ts";
import {
  type DecisionInput,
  type Findings,
  grantEntries,
  isImplied,
  takeAnswer,
} from "./findings.ts";
import type {
  Decision,
  Denial,
  Effect,
  Obligations,
  Operation,
  Requirement,
  Resource,
} from "./operation.ts";
import { issuePermit } from "./permit.ts";

/** `met`: ids of the policies whose requirements recorded votes meet. */
export function decideOperation(input: DecisionInput, met: ReadonlySet<string>): Decision {
  const { subject, operation, policyVersion } = input;
  const findings: Findings = {
    denials: new DenialChoice(),
    missing: new Set(),
    permits: new Set(),
    met,
  };
  const sessionLimits = decideEffect(input, connectTo(subject.target), findings);
  let limits: GrantLimits = {};
  for (const effect of operation.effects) {
    limits = strictestLimits(limits, decideEffect(input, effect, findings));
  }
  // Where no entry was needed for an effect, the bounds of all that apply here hold.
  if (!operation.effects.some((effect) => !isImplied(effect) && effect.byWay === undefined))
    limits = sessionLimits;
  const unmask = decideTouches(input, findings);
  const masking = [...findings.permits].find(({ terms }) => terms.mask.length > 0);
  if (masking !== undefined && operation.maskable !== true)
    findings.denials.add(unmasked(operation, masking));
  const filtering = [...findings.permits].find(({ terms }) => terms.filter);
  if (filtering !== undefined && operation.filterable !== true)
    findings.denials.add(unfiltered(operation, filtering));
  const denial = findings.denials.chosen;
  if (denial !== undefined) return { verdict: "deny", denial, policyVersion };
  if (findings.missing.size > 0) {
    const requirements = [...findings.missing].map(requirementOf);
    return { verdict: "hold", requirements, what: operation.summary, policyVersion };
  }
  const permit = issuePermit({
    operation,
    obligations: obligationsOf([...findings.permits], limits, unmask),
    policyIds: [...findings.permits].map((policy) => policy.id),
    policyVersion,
  });
  return { verdict: "permit", permit };
}

/** What a session that opens asks for; every other operation asks for it too. */
export function operationToConnect(protocol: Protocol, target: string): Operation {
  const summary = `connect on target ${target}`;
  return { protocol, effects: [], touches: [], summary, maskable: true };
}

/** Being connected is asked again with each command, so that a changed policy ends it there too. */
function connectTo(target: string): Effect {
  const resource: Resource = {
    type: "Custody::Target",
    id: target,
    path: "",
    label: `target ${target}`,
    parent: undefined,
    implied: false,
  };
  return { action: "connect", resource };
}

/** Asks grant and policies at each hop; returns the limits of the grants that carry the effect. */
function decideEffect(input: DecisionInput, effect: Effect, findings: Findings): GrantLimits {
  const { subject, pairs } = input;
  const { denials } = findings;
  const what = describeEffect(effect);
  const action = actionNamed(effect.action);
  if (action === undefined) {
    denials.add(denied("unknown", what, "what it does is not known", undefined, undefined));
    return {};
  }
  const resource = resourceFacts(effect.resource, subject.target);
  let limits: GrantLimits = {};
  subject.chain.hops.forEach((hop, depth) => {
    if (hop.grant !== undefined && !isImplied(effect) && effect.byWay === undefined) {
      const entries = grantEntries(input.subject, effect, hop.grant);
      if (entries.length === 0) {
        const message = `the grant of ${labelHop(hop, depth)} does not carry ${effect.action} on ${effect.resource.path || subject.target}`;
        denials.add(denied("not_granted", what, message, hop, depth));
      }
      for (const entry of entries) limits = strictestLimits(limits, entry.limits);
    }
    const answer = pairs.ask(hop, action.cedar, resource);
    if (takeAnswer(answer, findings)) return;
    if (answer.verdict === "fault" || answer.verdict === "unknown") {
      denials.add(denied(answer.verdict, what, answer.message, hop, depth));
    } else if (answer.verdict === "deny" && answer.forbid !== undefined) {
      denials.add(forbidden(what, answer.forbid, hop, depth));
    } else if (effect.byWay === undefined) {
      const message = `no policy permits it for ${labelHop(hop, depth)}`;
      denials.add(denied("not_permitted", what, message, hop, depth));
    }
  });
  return limits;
}

/** `drop on table public.orders` */
function describeEffect(effect: Effect): string {
  return `${effect.action.replace(/^[^:]*:/, "")} on ${effect.resource.label}`;
}

/** What a permit asks for cannot be done: then it permits nothing (I2). */
function unmasked({ maskable, summary }: Operation, { id }: Policy): Denial {
  const why = maskable ?? "what this answers cannot be masked";
  const message = `policy ${id} permits it with masks only: ${why}`;
  return { ...denied("classified", summary, message, undefined, undefined), policyId: id };
}

function unfiltered({ filterable, summary }: Operation, { id }: Policy): Denial {
  const why = filterable ?? "this lists nothing";
  const message = `policy ${id} permits what can be judged item by item only: ${why}`;
  return { ...denied("not_permitted", summary, message, undefined, undefined), policyId: id };
}

function requirementOf(policy: Policy): Requirement {
  const { message, quorum, approvers, approvalTtlMs, justificationRequired } = policy.terms;
  return {
    policyId: policy.id,
    message,
    quorum,
    approvers,
    ttlMs: approvalTtlMs,
    justificationRequired,
  };
}

function moreRecorded(
  a: RecordingLevel | undefined,
  b: RecordingLevel | undefined,
): RecordingLevel | undefined {
  return RECORDING_LEVELS.find((level) => level === a || level === b);
}

/** Where several apply, the strictest wins. */
function obligationsOf(
  permits: readonly Policy[],
  granted: GrantLimits,
  unmask: ReadonlySet<string>,
): Obligations {
  let limits = granted;
  let record: Obligations["record"];
  let recordMode: Obligations["recordMode"];
  const mask = new Set<string>();
  for (const { terms } of permits) {
    for (const name of terms.mask) mask.add(name);
    limits = strictestLimits(limits, {
      ...(terms.maxRows === undefined ? {} : { maxRows: terms.maxRows }),
      ...(terms.maxBytes === undefined ? {} : { maxBytes: terms.maxBytes }),
      ...(terms.timeoutMs === undefined ? {} : { timeoutMs: terms.timeoutMs }),
    });
    record = moreRecorded(record, terms.record);
    recordMode = strictestMode(recordMode, terms.recordMode);
  }
  return {
    unmask,
    maxRows: limits.maxRows,
    maxBytes: limits.maxBytes,
    timeoutMs: limits.timeoutMs,
    record,
    ...(recordMode === undefined ? {} : { recordMode }),
    ...(mask.size > 0 ? { mask: [...mask].sort() } : {}),
    ...(permits.some(({ terms }) => terms.filter) ? { filter: true } : {}),
  };
}
