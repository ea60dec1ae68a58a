// Leaves of the log as events of the Open Cybersecurity Schema Framework, 1.5.0, with the security control
// profile: Datastore Activity (6005), API Activity (6003), SSH Activity (4007), Authentication (3002),
// Authorize Session (3003), Entity Management (3004). One event a leaf, in the log's order; what has no
// place in the schema is in `unmapped`.
//
// How a command ended names its request only, so the mapper remembers what it was, for the newest ones.

import type { Leaf, LeafHop } from "@custody/evidence/core/leaf.ts";

export type OcsfEvent = Readonly<Record<string, unknown>>;

export interface OcsfMapper {
  /** `index`: the leaf's place in its log or shard; with the origin the event's id, the same when sent again. */
  map(origin: string, index: number, leaf: Leaf): OcsfEvent;
}

const VERSION = "1.5.0";
const MAX_REMEMBERED = 10_000;

const SEVERITY = { informational: 1, low: 2, medium: 3 } as const;
const STATUS = { unknown: 0, success: 1, failure: 2 } as const;

interface Kind {
  readonly category: number;
  readonly class: number;
  readonly name: string;
}

const DATASTORE: Kind = { category: 6, class: 6005, name: "Datastore Activity" };
const API: Kind = { category: 6, class: 6003, name: "API Activity" };
const SSH: Kind = { category: 4, class: 4007, name: "SSH Activity" };
const AUTHENTICATION: Kind = { category: 3, class: 3002, name: "Authentication" };
const AUTHORIZE: Kind = { category: 3, class: 3003, name: "Authorize Session" };
const ENTITY: Kind = { category: 3, class: 3004, name: "Entity Management" };

/** What a leaf becomes, beside what all have. */
interface Mapped {
  readonly kind: Kind;
  readonly activity: number;
  readonly status?: number;
  readonly severity?: number;
  readonly more?: OcsfEvent;
}

export function createOcsfMapper(): OcsfMapper {
  const remembered = new Map<string, Leaf>();
  return {
    map(origin, index, leaf) {
      if (leaf.event === "command.intent" && leaf.request !== undefined) {
        remembered.set(leaf.request, leaf);
        if (remembered.size > MAX_REMEMBERED) remembered.delete(remembered.keys().next().value!);
      }
      const command = isEnd(leaf) ? remembered.get(leaf.request ?? "") : undefined;
      if (command !== undefined) remembered.delete(leaf.request ?? "");
      return event(origin, index, leaf, command);
    },
  };
}

function event(origin: string, index: number, leaf: Leaf, command: Leaf | undefined): OcsfEvent {
  const known: Leaf = command === undefined ? leaf : { ...command, ...leaf };
  const { kind, activity, status, severity, more } = MAPPERS[leaf.event]?.(known) ?? own(known);
  return {
    metadata: {
      version: VERSION,
      product: { name: "Custody", vendor_name: "Custody" },
      profiles: ["security_control"],
      uid: `${origin}/${index}`,
      event_code: leaf.event,
      log_name: origin,
      ...(leaf.request === undefined ? {} : { correlation_uid: leaf.request }),
    },
    time: leaf.at,
    category_uid: kind.category,
    class_uid: kind.class,
    class_name: kind.name,
    activity_id: activity,
    type_uid: kind.class * 100 + activity,
    severity_id: severity ?? SEVERITY.informational,
    status_id: status ?? STATUS.unknown,
    ...(leaf.outcome === undefined ? {} : { status_code: leaf.outcome }),
    message: messageOf(known),
    ...actorOf(known),
    ...controlOf(known),
    ...more,
    unmapped: unmappedOf(known),
  };
}

type Mapper = (leaf: Leaf) => Mapped;

const MAPPERS: Partial<Record<Leaf["event"], Mapper>> = {
  "delegation.created": (leaf) =>
    (leaf.chain?.length ?? 0) <= 1 ? logon(leaf, STATUS.success) : entity(leaf, 1, STATUS.success),
  "delegation.refused": (leaf) => entity(leaf, 1, STATUS.failure),
  "delegation.renewed": (leaf) => entity(leaf, 3, STATUS.success),
  "delegation.revoked": (leaf) => entity(leaf, 4, STATUS.success),
  "session.opened": (leaf) => ({
    kind: AUTHORIZE,
    activity: 1,
    status: STATUS.success,
    more: {
      privileges: [`${leaf.account ?? ""}~${leaf.target ?? ""}`],
      user: userOf(leaf.chain?.[0]),
      session: { uid: leaf.session ?? "" },
      dst_endpoint: { name: leaf.target ?? "unknown" },
    },
  }),
  "session.refused": (leaf) => logon(leaf, STATUS.failure),
  "session.closed": (leaf) => ({
    ...logon(leaf, STATUS.success),
    activity: 2,
  }),
  "session.joined": own,
  "session.left": own,
  "command.prepared": (leaf) => command(leaf, STATUS.unknown),
  "command.intent": (leaf) => command(leaf, STATUS.unknown),
  "command.denied": (leaf) => ({ ...command(leaf, STATUS.failure), severity: SEVERITY.medium }),
  "command.outcome": (leaf) =>
    command(leaf, leaf.outcome === "ok" ? STATUS.success : STATUS.failure),
  "command.indeterminate": (leaf) => ({
    ...command(leaf, STATUS.unknown),
    severity: SEVERITY.medium,
  }),
  "hold.requested": (leaf) => entity(leaf, 1, STATUS.success),
  "hold.voted": (leaf) => entity(leaf, 3, STATUS.success),
  "hold.vote_refused": (leaf) => ({ ...entity(leaf, 3, STATUS.failure), severity: SEVERITY.low }),
  "hold.ended": (leaf) => entity(leaf, 4, STATUS.success),
};

/** What concerns the gateway and its evidence. */
function own(leaf: Leaf): Mapped {
  const reads = leaf.event === "recording.read" || leaf.event === "audit.read";
  return {
    kind: API,
    activity: reads ? 2 : 99,
    status: leaf.event.endsWith(".refused") ? STATUS.failure : STATUS.success,
    more: {
      api: { operation: leaf.event },
      src_endpoint: endpointOf(leaf),
      ...actorOf(leaf, true),
    },
  };
}

function logon(leaf: Leaf, status: number): Mapped {
  return {
    kind: AUTHENTICATION,
    activity: 1,
    status,
    ...(status === STATUS.failure ? { severity: SEVERITY.low } : {}),
    more: {
      user: userOf(leaf.chain?.[0]),
      service: { name: "Custody" },
      is_remote: true,
      ...(leaf.session === undefined ? {} : { session: { uid: leaf.session } }),
    },
  };
}

function entity(leaf: Leaf, activity: number, status: number): Mapped {
  const hold = leaf.detail?.hold;
  const isHold = leaf.event.startsWith("hold.");
  const uid = isHold
    ? String(hold ?? leaf.request ?? "unknown")
    : (leaf.chain?.at(-1)?.d ?? "unknown");
  return {
    kind: ENTITY,
    activity,
    status,
    more: {
      entity: { uid, name: uid, type: isHold ? "Approval request" : "Delegation", type_id: 99 },
    },
  };
}

/** By what it speaks: the first effect says so. */
function command(leaf: Leaf, status: number): Mapped {
  const [effect = ""] = leaf.effects ?? [];
  const [action = "", resource = ""] = splitOnce(effect, " ");
  const [namespace = "", verb = ""] = splitOnce(action, ":");
  const shared = { status, dst: { dst_endpoint: { name: leaf.target ?? "unknown" } } };
  if (namespace === "ssh")
    return {
      kind: SSH,
      activity: 6,
      status,
      more: { ...shared.dst, src_endpoint: endpointOf(leaf), app_protocol_name: "ssh" },
    };
  if (namespace === "k8s")
    return {
      kind: API,
      activity: K8S_ACTIVITIES[verb] ?? 99,
      status,
      more: {
        ...shared.dst,
        api: { operation: verb === "" ? "unknown" : verb },
        resources: (leaf.effects ?? []).map((one) => ({ name: splitOnce(one, " ")[1] ?? one })),
        src_endpoint: endpointOf(leaf),
        ...actorOf(leaf, true),
      },
    };
  const [, database = "unknown", schema, table] = resource.split("/");
  return {
    kind: DATASTORE,
    activity: SQL_ACTIVITIES[verb] ?? (verb === "" ? 4 : 99),
    status,
    more: {
      ...shared.dst,
      type_id: table === undefined ? 1 : 3,
      database: { name: database, uid: leaf.target ?? "unknown", type_id: 1 },
      ...(table === undefined ? {} : { table: { name: `${schema}.${table}` } }),
      src_endpoint: endpointOf(leaf),
      ...actorOf(leaf, true),
    },
  };
}

const SQL_ACTIVITIES: Readonly<Record<string, number>> = {
  ...{ select: 1, copy_out: 1, insert: 5, copy_in: 5, update: 2, delete: 7, truncate: 7 },
  ...{ create: 6, drop: 7, alter: 2 },
};

const K8S_ACTIVITIES: Readonly<Record<string, number>> = {
  ...{ create: 1, get: 2, list: 2, watch: 2, update: 3, patch: 3, delete: 4, deletecollection: 4 },
};

function isEnd({ event: name }: Leaf): boolean {
  return name === "command.outcome" || name === "command.indeterminate";
}

/** Who asked, originally: the root; every hop is in `unmapped.chain`. */
function actorOf(leaf: Leaf, always = false): OcsfEvent {
  const root = leaf.chain?.[0];
  if (root === undefined) return always ? { actor: { app_name: "Custody" } } : {};
  return {
    actor: {
      user: userOf(root),
      ...(leaf.session === undefined ? {} : { session: { uid: leaf.session } }),
    },
  };
}

function userOf(root: LeafHop | undefined): OcsfEvent {
  if (root === undefined) return { name: "unknown", type_id: 0 };
  // 1: a person, 4: a service.
  return { uid: root.s, name: root.s, type_id: root.k === "user" ? 1 : 4 };
}

/** Addresses are erased with the recording, so the log has none: the delegation that was used is the source. */
function endpointOf(leaf: Leaf): OcsfEvent {
  return { uid: leaf.chain?.at(-1)?.d ?? "custody", svc_name: "custody" };
}

function controlOf(leaf: Leaf): OcsfEvent {
  const policy = leaf.policies?.[0];
  const named = policy === undefined ? {} : { policy: { name: policy, uid: policy } };
  switch (leaf.decision) {
    case "permit":
      return { action_id: 1, disposition_id: 1, ...named };
    case "approved":
      return { action_id: 1, disposition_id: 8, ...named };
    case "deny":
      return { action_id: 2, disposition_id: 2, is_alert: true, ...named };
    case "hold":
      return { action_id: 99, action: "Held", disposition_id: 14, ...named };
    default:
      return {};
  }
}

function unmappedOf(leaf: Leaf): OcsfEvent {
  const { chain, effects, policies, policyVersion, masked, rows, bytes, detail, account } = leaf;
  const entries = Object.entries({
    ...{ chain, effects, policies, policy_version: policyVersion, masked, rows, bytes, detail },
    ...{ account, command_sha256: leaf.command, parameters_sha256: leaf.parameters },
  });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

function messageOf(leaf: Leaf): string {
  const parts = [leaf.event, leaf.request ?? leaf.session ?? "", leaf.effects?.[0] ?? ""];
  return parts.filter((part) => part !== "").join(" ");
}

function splitOnce(text: string, by: string): [string, string | undefined] {
  const at = text.indexOf(by);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + by.length)];
}
