// A loaded, validated set of policies, indexed so that one question meets only the policies whose
// head can match it.
//
// Cedar evaluates a policy's head (principal, action, resource) before its conditions, and a head that
// does not match makes the policy neither satisfied nor erring. The heads are a small closed language;
// evaluating them here exactly is what makes a slice give the same answer as the whole set. A property
// test compares the two.

import type {
  ActionConstraint,
  EntityUidJson,
  PolicyJson,
  PrincipalConstraint,
  ResourceConstraint,
} from "@cedar-policy/cedar-wasm/nodejs";
import { policiesDigest } from "@custody/evidence/core/bundle.ts";
import { nodeSha256 } from "@custody/evidence/node/node-sha256.ts";
import { GatewayError } from "../base/errors.ts";
import type { PolicyTerms } from "./annotations.ts";
import type { ClockReading } from "./conditions.ts";
import { type EntityUid, entityKey, SCHEMA_ACTIONS, SCHEMA_VERSION } from "./schema.ts";

export interface Policy {
  /** Its `@id`, and its id in Cedar. */
  readonly id: string;
  readonly effect: "permit" | "forbid";
  readonly text: string;
  readonly terms: PolicyTerms;
  /** `forbid … unless { context.approved }` */
  readonly asksApproval: boolean;
  readonly clock: ClockReading;
  /** Members of the context its conditions read. */
  readonly members: ReadonlySet<string>;
  readonly head: PolicyHead;
}

/** Who or what a head's part admits. */
export interface Scope {
  /** Entity type it must have; undefined: any. */
  readonly type: string | undefined;
  /** Key of the entity it must be, or be in; undefined: any. */
  readonly entity: string | undefined;
  /** False: must be that very entity. */
  readonly orIn: boolean;
}

export interface PolicyHead {
  readonly principal: Scope;
  /** Keys of the actions it is about, groups resolved. */
  readonly actions: ReadonlySet<string>;
  readonly resource: Scope;
}

/** An entity as a question brings it: itself and everything it is in. */
export interface EntityFacts {
  readonly uid: EntityUid;
  readonly ancestors: readonly EntityUid[];
}

export interface PolicySet {
  /** SHA-256, hex, of the texts and the schema. */
  readonly digest: string;
  /** Its first 12 digits: what decisions and messages name. */
  readonly version: string;
  readonly policies: readonly Policy[];
  /** The policies that can match, in a stable order. */
  slice(principal: EntityFacts, action: EntityUid, resource: EntityFacts): readonly Policy[];
}

const VERSION_DIGITS = 12;

interface ActionIndex {
  /** Policies about one principal or group. */
  readonly byEntity: Map<string, number[]>;
  /** Policies about principals of a type, by it; under "" those about anybody. */
  readonly byType: Map<string, number[]>;
}

export function createPolicySet(policies: readonly Policy[]): PolicySet {
  const index = new Map<string, ActionIndex>();
  policies.forEach((policy, position) => {
    for (const action of policy.head.actions) {
      const entry = getOrAdd(index, action, () => ({ byEntity: new Map(), byType: new Map() }));
      const { type, entity } = policy.head.principal;
      const positions =
        entity === undefined
          ? getOrAdd(entry.byType, type ?? "", () => [])
          : getOrAdd(entry.byEntity, entity, () => []);
      positions.push(position);
    }
  });
  const texts = policies.map((policy) => policy.text).sort();
  const digest = policiesDigest(nodeSha256, { schema: SCHEMA_VERSION, policies: texts });
  return {
    digest,
    version: digest.slice(0, VERSION_DIGITS),
    policies,
    slice(principal, action, resource) {
      const entry = index.get(entityKey(action));
      if (entry === undefined) return [];
      const who = keysOf(principal);
      const what = keysOf(resource);
      const candidates = [
        ...(entry.byType.get("") ?? []),
        ...(entry.byType.get(principal.uid.type) ?? []),
      ];
      for (const key of who) candidates.push(...(entry.byEntity.get(key) ?? []));
      return candidates
        .sort((one, other) => one - other)
        .map((position) => policies[position])
        .filter(
          (policy) =>
            policy !== undefined &&
            admits(policy.head.principal, principal.uid, who) &&
            admits(policy.head.resource, resource.uid, what),
        )
        .filter((policy) => policy !== undefined);
    },
  };
}

/** The head of a static policy; templates were refused before. */
export function readHead(policy: PolicyJson): PolicyHead {
  return {
    principal: readScope(policy.principal),
    actions: readActions(policy.action),
    resource: readScope(policy.resource),
  };
}

function admits(scope: Scope, uid: EntityUid, keys: ReadonlySet<string>): boolean {
  if (scope.type !== undefined && scope.type !== uid.type) return false;
  if (scope.entity === undefined) return true;
  return scope.orIn ? keys.has(scope.entity) : scope.entity === entityKey(uid);
}

function keysOf(facts: EntityFacts): ReadonlySet<string> {
  return new Set([entityKey(facts.uid), ...facts.ancestors.map(entityKey)]);
}

function readScope(constraint: PrincipalConstraint | ResourceConstraint): Scope {
  switch (constraint.op) {
    case "All":
      return { type: undefined, entity: undefined, orIn: false };
    case "==":
      return { type: undefined, entity: constrainedEntity(constraint), orIn: false };
    case "in":
      return { type: undefined, entity: constrainedEntity(constraint), orIn: true };
    case "is":
      return {
        type: constraint.entity_type,
        entity: constraint.in === undefined ? undefined : constrainedEntity(constraint.in),
        orIn: true,
      };
  }
}

function constrainedEntity(
  constraint: { readonly entity: EntityUidJson } | { readonly slot: string },
): string {
  if (!("entity" in constraint)) throw new GatewayError("internal", "a policy has a slot");
  return entityKey(plainUid(constraint.entity));
}

function readActions(constraint: ActionConstraint): ReadonlySet<string> {
  if (constraint.op === "All") return new Set(SCHEMA_ACTIONS.keys());
  const named =
    "entities" in constraint
      ? constraint.entities.map((uid) => entityKey(plainUid(uid)))
      : [constrainedEntity(constraint)];
  if (constraint.op === "==") return new Set(named);
  const actions = new Set<string>();
  for (const [key, action] of SCHEMA_ACTIONS) {
    const own = [key, ...action.groups.map(entityKey)];
    if (own.some((name) => named.includes(name))) actions.add(key);
  }
  return actions;
}

function plainUid(uid: EntityUidJson): EntityUid {
  return "__entity" in uid ? uid.__entity : uid;
}

function getOrAdd<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const found = map.get(key);
  if (found !== undefined) return found;
  const made = make();
  map.set(key, made);
  return made;
}
