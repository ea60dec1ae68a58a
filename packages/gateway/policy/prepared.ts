// Policy sets that Cedar keeps parsed. Cedar holds them by name in the memory of the WASM module, for
// the whole process and without end, so the names are a fixed number of slots that are used again.
//
// Who owns the state: this file, for the process. The slices of all policy sets share the slots.

import { preparsePolicySet } from "@cedar-policy/cedar-wasm/nodejs";
import { GatewayError } from "../base/errors.ts";
import type { Policy, PolicySet } from "./policy-set.ts";

const MAX_SLOTS = 256;
/** Policies in all slots together; one slice may be as large as its set. */
const MAX_PREPARED_POLICIES = 100_000;

interface Slot {
  readonly name: string;
  readonly size: number;
}

/** Least recently used first. */
const slots = new Map<string, Slot>();
const freeNames: string[] = Array.from({ length: MAX_SLOTS }, (_, index) => `slice-${index}`);
let preparedPolicies = 0;

/** Slices are told apart by their set and the ids in it, which are unique in the set. */
const setNumbers = new WeakMap<PolicySet, number>();
let nextSetNumber = 1;

/** The name under which Cedar has these policies of the set, parsed now if need be. */
export function prepareSlice(set: PolicySet, slice: readonly Policy[]): string {
  const key = `${numberOf(set)}\0${slice.map((policy) => policy.id).join("\0")}`;
  const found = slots.get(key);
  if (found !== undefined) {
    slots.delete(key);
    slots.set(key, found);
    return found.name;
  }
  makeRoom(slice.length);
  const name = freeNames.pop();
  if (name === undefined) throw new GatewayError("internal", "no slot for a policy slice");
  const answer = preparsePolicySet(name, {
    staticPolicies: Object.fromEntries(slice.map((policy) => [policy.id, policy.text])),
  });
  if (answer.type === "failure") {
    freeNames.push(name);
    throw new GatewayError("internal", "policies that were loaded do not parse", {
      cause: answer.errors,
    });
  }
  slots.set(key, { name, size: slice.length });
  preparedPolicies += slice.length;
  return name;
}

function makeRoom(size: number): void {
  for (const [key, slot] of slots) {
    if (freeNames.length > 0 && preparedPolicies + size <= MAX_PREPARED_POLICIES) return;
    slots.delete(key);
    freeNames.push(slot.name);
    preparedPolicies -= slot.size;
  }
}

function numberOf(set: PolicySet): number {
  const known = setNumbers.get(set);
  if (known !== undefined) return known;
  const number = nextSetNumber++;
  setNumbers.set(set, number);
  return number;
}
