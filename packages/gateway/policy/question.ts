// What Cedar is told about a question: the entities and the context, built from the chain, the target
// and the clock. Ids and names are data here, never text that is parsed.

import { isIP, isIPv4 } from "node:net";
import type { CedarValueJson, EntityJson } from "@cedar-policy/cedar-wasm/nodejs";
import { GatewayError } from "../base/errors.ts";
import {
  type Chain,
  depthOf,
  type Hop,
  type HopKind,
  rootOf,
  weakestProvenance,
} from "../delegation/chain.ts";
import type { EntityFacts } from "./policy-set.ts";
import { type EntityUid, entityKey, SCHEMA_ACTIONS } from "./schema.ts";

export interface TargetFacts {
  readonly name: string;
  readonly tags: Readonly<Record<string, string>>;
}

export interface SessionFacts {
  readonly account: string;
  readonly protocol: string;
  /** An IP address. */
  readonly address: string;
  readonly justification: string | undefined;
}

/** Everything a question depends on besides who is asked about what. */
export interface Situation {
  readonly chain: Chain;
  readonly nowMs: number;
  /** undefined: what concerns the gateway as a whole. */
  readonly target: TargetFacts | undefined;
  /** undefined: outside of a session, as for an approval. */
  readonly session: SessionFacts | undefined;
}

export interface ResourceFacts extends EntityFacts {
  readonly attributes: Readonly<Record<string, string | boolean | number | readonly string[]>>;
}

/** A resource as an effect names it; access/operation.ts `Resource` is one. */
export interface NamedResource {
  readonly type: string;
  readonly id: string;
  readonly path: string;
  readonly parent: NamedResource | undefined;
  readonly implied: boolean;
  readonly attributes?: ResourceFacts["attributes"];
}

const PRINCIPAL_TYPES: Readonly<Record<HopKind, string>> = {
  user: "Custody::User",
  workload: "Custody::Workload",
  agent: "Custody::Agent",
};

const WEEKDAYS = [
  "sunday",
  "monday",
  "tuesday",
  "wednesday",
  "thursday",
  "friday",
  "saturday",
] as const;

const TARGET_TYPE = "Custody::Target";

export function principalFacts(hop: Hop): EntityFacts {
  return {
    uid: { type: PRINCIPAL_TYPES[hop.kind], id: hop.id },
    ancestors: hop.groups.map((id) => ({ type: "Custody::Group", id })),
  };
}

export function targetFacts(name: string): ResourceFacts {
  return { uid: { type: TARGET_TYPE, id: name }, ancestors: [], attributes: {} };
}

export function gatewayFacts(): ResourceFacts {
  return { uid: { type: "Custody::Gateway", id: "this" }, ancestors: [], attributes: {} };
}

/** `pii.email` is in `pii`. */
export function classFacts(name: string): ResourceFacts {
  const type = "Custody::Class";
  const ancestors: EntityUid[] = [];
  for (let dot = name.lastIndexOf("."); dot > 0; dot = name.lastIndexOf(".", dot - 1)) {
    ancestors.push({ type, id: name.slice(0, dot) });
  }
  return { uid: { type, id: name }, ancestors, attributes: {} };
}

/** A resource with its containers and, outermost, the target. */
export function resourceFacts(resource: NamedResource, target: string): ResourceFacts {
  if (resource.type === TARGET_TYPE) return targetFacts(resource.id);
  const ancestors: EntityUid[] = [];
  for (let parent = resource.parent; parent !== undefined; parent = parent.parent) {
    ancestors.push({ type: parent.type, id: parent.id });
  }
  ancestors.push({ type: TARGET_TYPE, id: target });
  return {
    uid: { type: resource.type, id: resource.id },
    ancestors,
    attributes: { ...resource.attributes, path: resource.path, system: resource.implied },
  };
}

/** The context without `approved`. Throws GatewayError "internal" when the address is none. */
export function contextOf(situation: Situation): Record<string, CedarValueJson> {
  const { chain, target, session } = situation;
  const root = rootOf(chain);
  const uid = principalFacts(root).uid;
  const context: Record<string, CedarValueJson> = {
    root: root.kind === "agent" ? {} : { [root.kind]: { __entity: uid } },
    depth: depthOf(chain),
    provenance: weakestProvenance(chain),
    agents: [...new Set(chain.hops.filter((hop) => hop.kind === "agent").map((hop) => hop.name))],
    time: timeOf(situation.nowMs),
  };
  if (target !== undefined) context.target = { __entity: { type: TARGET_TYPE, id: target.name } };
  if (session !== undefined) {
    context.account = session.account;
    context.protocol = session.protocol;
    context.address = { __extn: { fn: "ip", arg: plainAddress(session.address) } };
    if (session.justification !== undefined) context.justification = session.justification;
  }
  return context;
}

export function entitiesOf(
  situation: Situation,
  principal: EntityFacts,
  action: EntityUid,
  resource: ResourceFacts,
): EntityJson[] {
  const entities = new Map<string, EntityJson>();
  const add = (facts: EntityFacts, rest: Partial<EntityJson> = {}) => {
    const key = entityKey(facts.uid);
    if (!entities.has(key)) {
      entities.set(key, { uid: facts.uid, attrs: {}, parents: [...facts.ancestors], ...rest });
    }
  };
  const target = situation.target;
  if (target !== undefined) add(targetFacts(target.name), { tags: { ...target.tags } });
  add(principal);
  add(principalFacts(rootOf(situation.chain)));
  add({ uid: action, ancestors: SCHEMA_ACTIONS.get(entityKey(action))?.groups ?? [] });
  add(resource, { attrs: cedarAttributes(resource.attributes) });
  return [...entities.values()];
}

function cedarAttributes(given: ResourceFacts["attributes"]): Record<string, CedarValueJson> {
  const values: Record<string, CedarValueJson> = {};
  for (const [name, value] of Object.entries(given))
    values[name] = typeof value === "object" ? [...value] : value;
  return values;
}

function timeOf(nowMs: number): CedarValueJson {
  const now = new Date(nowMs);
  const minute = new Date(Math.floor(nowMs / 60_000) * 60_000).toISOString();
  return {
    hour: now.getUTCHours(),
    weekday: WEEKDAYS[now.getUTCDay()] ?? "sunday",
    now: { __extn: { fn: "datetime", arg: minute } },
  };
}

/** As Cedar's ip() takes it: no zone, and an IPv4 address mapped into IPv6 (RFC 4291 §2.5.5.2) as itself. */
function plainAddress(address: string): string {
  const withoutZone = address.replace(/%.*$/, "");
  const mapped = /^::ffff:([0-9.]+)$/i.exec(withoutZone)?.[1];
  const plain = mapped !== undefined && isIPv4(mapped) ? mapped : withoutZone;
  if (isIP(plain) === 0) throw new GatewayError("internal", "the client's address is unknown");
  return plain;
}
