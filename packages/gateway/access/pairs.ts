// The answer of policies for one (hop, action, resource), from the cache or from Cedar. One of these
// is made for each cold decision; it knows the subject and collects how long the decision may be kept.

import type { Hop } from "../delegation/chain.ts";
import { evaluatePair, type PairAnswer } from "../policy/engine.ts";
import type { PolicySet } from "../policy/policy-set.ts";
import { contextOf, type ResourceFacts, type Situation } from "../policy/question.ts";
import type { EntityUid } from "../policy/schema.ts";
import {
  ALWAYS,
  type BoundedMap,
  holdsAt,
  shorter,
  shortKey,
  type Validity,
  validityOf,
} from "./decision-cache.ts";

interface CachedPair {
  readonly answer: PairAnswer;
  readonly validity: Validity;
}

/** First by what the subject is, then by what is asked about. */
export type PairCache = BoundedMap<string, BoundedMap<string, CachedPair>>;

export interface Pairs {
  ask(hop: Hop, action: EntityUid, resource: ResourceFacts): PairAnswer;
  /** Of everything asked so far. */
  readonly validity: Validity;
}

export interface PairsDeps {
  readonly policies: PolicySet;
  readonly situation: Situation;
  /** undefined: ask Cedar each time. */
  readonly cache: PairCache | undefined;
  readonly newCache: () => BoundedMap<string, CachedPair>;
}

export function createPairs(deps: PairsDeps): Pairs {
  const { policies, situation, cache } = deps;
  let validity = ALWAYS;
  const subject = cache === undefined ? "" : describeSituation(situation);

  function cached(hop: Hop): BoundedMap<string, CachedPair> | undefined {
    if (cache === undefined) return undefined;
    const key = shortKey(JSON.stringify([hop.kind, hop.id, hop.groups, subject]));
    const found = cache.get(key);
    if (found !== undefined) return found;
    const made = deps.newCache();
    cache.set(key, made);
    return made;
  }

  return {
    ask(hop, action, resource) {
      const answers = cached(hop);
      const key = answers === undefined ? "" : shortKey(describeQuestion(action, resource));
      const found = answers?.get(key);
      if (found !== undefined && holdsAt(found.validity, situation.nowMs)) {
        validity = shorter(validity, found.validity);
        return found.answer;
      }
      const answer = evaluatePair(policies, situation, hop, action, resource);
      const made = { answer, validity: validityOf(answer.clock, situation.nowMs) };
      validity = shorter(validity, made.validity);
      if (answer.verdict !== "fault") answers?.set(key, made);
      return answer;
    },
    get validity() {
      return validity;
    },
  };
}

/** Everything of the situation that policies can read, but the clock. */
function describeSituation(situation: Situation): string {
  const { time: _, ...context } = contextOf(situation);
  const root = situation.chain.hops[0];
  return JSON.stringify([context, root.groups, situation.target]);
}

function describeQuestion(action: EntityUid, resource: ResourceFacts): string {
  return JSON.stringify([action, resource.uid, resource.attributes, resource.ancestors]);
}
