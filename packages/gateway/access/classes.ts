// Classified values a statement touches. Seeing one is a pair of its own, (hop, unmask on the class):
// an approval of the statement says nothing about it.
//
// - output: shown when every hop may see it, masked otherwise; never a reason to deny.
// - match: also passes when every hop may compare the class with a constant.
// - inner: the server would compute with it, so every hop must be allowed to see it.
//
// A class `never` is for columns nobody reads here: any use of one is denied, its bare value too.

import { GatewayError } from "../base/errors.ts";
import type { Hop } from "../delegation/chain.ts";
import { unmasks } from "../delegation/grant.ts";
import type { PairAnswer } from "../policy/engine.ts";
import type { Policy } from "../policy/policy-set.ts";
import { classFacts } from "../policy/question.ts";
import type { EntityUid } from "../policy/schema.ts";
import { denied } from "./denial.ts";
import {
  type DecisionInput,
  type Findings,
  grantEntries,
  isImplied,
  missingApprovals,
  takeAnswer,
} from "./findings.ts";
import type { ClassTouch, ClassUse, Denial, Subject } from "./operation.ts";

const UNMASK: EntityUid = { type: "Custody::Action", id: "unmask" };
const MATCH: EntityUid = { type: "Custody::Action", id: "match" };

/** The class of columns nobody reads through the gateway, masked neither; not granted at the target either. */
export const OUT_OF_REACH = "never";

/** What asks most first. */
const USE_RANK: Readonly<Record<ClassUse, number>> = { inner: 0, match: 1, output: 2 };

/** What all hops together may do with a class. */
type ClassAnswer =
  /** Allowed by these answers, some of which may ask for consent first. */
  | { readonly allowed: true; readonly answers: readonly PairAnswer[] }
  | {
      readonly allowed: false;
      readonly fault: string | undefined;
      readonly forbid: Policy | undefined;
      readonly hop: number;
    };

/** Returns the classes whose values may be shown. */
export function decideTouches(input: DecisionInput, findings: Findings): ReadonlySet<string> {
  const shown = new Set<string>();
  const byClass = Map.groupBy(input.operation.touches, (touch) => touch.class);
  for (const [name, touches] of byClass) {
    if (decideClass(input, findings, name, touches)) shown.add(name);
  }
  return shown;
}

/** True when values of the class may be shown. */
function decideClass(
  input: DecisionInput,
  findings: Findings,
  name: string,
  touches: readonly ClassTouch[],
): boolean {
  if (name === OUT_OF_REACH) {
    const what = `use of ${worstUse(touches).column}`;
    const message = "it is classified never: out of reach, whatever policies say";
    findings.denials.add(denied("classified", what, message, undefined, undefined));
    return false;
  }
  const unmask = askHops(input, UNMASK, name, (hop) => hopGrantsUnmask(input, hop, name));
  if (unmask.allowed && unmask.answers.every((answer) => isMet(answer, findings))) {
    for (const answer of unmask.answers) takeAnswer(answer, findings);
    return true;
  }
  const worst = worstUse(touches);
  if (!unmask.allowed && unmask.fault !== undefined) {
    // Even where a mask would do: a policy that fails is never passed over (I2).
    findings.denials.add(refuse(input.subject, worst, unmask));
    return false;
  }
  if (worst.use === "match") {
    const match = askHops(input, MATCH, name, () => true);
    if (match.allowed) {
      for (const answer of match.answers) takeAnswer(answer, findings);
      return false;
    }
    if (!unmask.allowed) findings.denials.add(refuse(input.subject, worst, match));
  } else if (worst.use === "inner" && !unmask.allowed) {
    findings.denials.add(refuse(input.subject, worst, unmask));
  }
  // Seeing it would take consent, so consent is asked for.
  if (unmask.allowed) for (const answer of unmask.answers) takeAnswer(answer, findings);
  return false;
}

function isMet(answer: PairAnswer, findings: Findings): boolean {
  return missingApprovals(answer, findings).length === 0;
}

function worstUse(touches: readonly ClassTouch[]): ClassTouch {
  const first = touches.toSorted((one, other) => USE_RANK[one.use] - USE_RANK[other.use])[0];
  if (first === undefined) throw new GatewayError("internal", "a class that nothing touches");
  return first;
}

/** Asks every hop, unless one of them ends it. */
function askHops(
  input: DecisionInput,
  action: EntityUid,
  name: string,
  isGranted: (hop: Hop) => boolean,
): ClassAnswer {
  const resource = classFacts(name);
  const answers: PairAnswer[] = [];
  let refused: ClassAnswer | undefined;
  for (const [depth, hop] of input.subject.chain.hops.entries()) {
    const answer = input.pairs.ask(hop, action, resource);
    answers.push(answer);
    if (answer.verdict === "fault" || answer.verdict === "unknown") {
      return { allowed: false, fault: answer.message, forbid: undefined, hop: depth };
    }
    if (answer.verdict === "deny" || !isGranted(hop)) {
      const forbid = answer.verdict === "deny" ? answer.forbid : undefined;
      refused ??= { allowed: false, fault: undefined, forbid, hop: depth };
    }
  }
  return refused ?? { allowed: true, answers };
}

/**
 * Does the hop's grant name the class wherever it carries one of the statement's effects? All of them,
 * since a touch does not say through which resource the value was reached.
 */
function hopGrantsUnmask(input: DecisionInput, hop: Hop, name: string): boolean {
  const grant = hop.grant;
  if (grant === undefined) return true;
  const effects = input.operation.effects.filter((effect) => !isImplied(effect));
  return (
    effects.length > 0 &&
    effects.every((effect) =>
      grantEntries(input.subject, effect, grant).some((entry) => unmasks(entry, name)),
    )
  );
}

function refuse(
  subject: Subject,
  touch: ClassTouch,
  answer: Extract<ClassAnswer, { readonly allowed: false }>,
): Denial {
  const hop = subject.chain.hops[answer.hop];
  const what = `use of ${touch.column}`;
  if (answer.fault !== undefined) return denied("fault", what, answer.fault, hop, answer.hop);
  const message =
    touch.use === "match"
      ? `${touch.column} is classified ${touch.class} and may not be compared`
      : `${touch.column} is classified ${touch.class} and may only be selected as it is, to be masked`;
  const denial = denied("classified", what, message, hop, answer.hop);
  if (answer.forbid === undefined) return denial;
  const { id, terms } = answer.forbid;
  return { ...denial, policyId: id, message: terms.message ?? message };
}
