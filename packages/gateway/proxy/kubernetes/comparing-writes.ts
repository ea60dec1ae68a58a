// Writes that compare what they bring with what is there, and tell: a server-side apply without force
// conflicts where another manager's value differs, what cannot be changed is refused unless it is the same.
// Who may only see a mask could guess as often as they like, so such a write of a classified value is denied.
// One that is tried (a dry run) and tells by what it would count up gets what was there before.
//
// A write that is neither overwrites what it guesses at, right or wrong, and so guesses once.

import {
  isTrue,
  parameters,
  type ResourceRequest,
  requestInfo,
} from "@custody/wire/kubernetes/request-info.ts";
import type { Denial, Permit } from "../../access/operation.ts";
import { ENVIRONMENT_CLASS, SECRET_CLASS } from "../../target/kubernetes-target.ts";
import { classesWritten } from "./approver-mask.ts";
import { NO_FACTS } from "./body-facts.ts";
import type { HttpSession } from "./http-session.ts";
import { isObject, type Json, type JsonObject, parseJson } from "./json-text.ts";
import { fieldsOf, judgeRequest } from "./operations.ts";
import { type OwnRequestDeps, ownRequest } from "./own-request.ts";
import type { HeldWrite } from "./preview.ts";

/** What is counted up by a change, as it was before it. */
export interface Unchanged {
  readonly generation?: Json;
  readonly resourceVersion?: Json;
}

export type Comparison =
  | { readonly kind: "denied"; readonly denial: Denial }
  /** `unchanged`: to be shown in the answer in the place of its own. */
  | { readonly kind: "none"; readonly unchanged: Unchanged | undefined };

/** Environments in these are never changed, so that a write of one is a comparison. */
const FIXED_ENVIRONMENTS = new Set(["/pods", "batch/jobs", "apps/controllerrevisions"]);
/** Kinds, and groups of them, of which something outside of metadata is never changed (ValidateImmutableField). */
const FIXED_FIELDS = new Set([
  ...["/events", "/persistentvolumeclaims", "/persistentvolumes", "/pods", "/services"],
  ...[
    "apps/controllerrevisions",
    "apps/statefulsets",
    "batch/jobs",
    "networking.k8s.io/ingressclasses",
  ],
  ...["rbac.authorization.k8s.io/rolebindings", "rbac.authorization.k8s.io/clusterrolebindings"],
  ...["certificates.k8s.io/", "coordination.k8s.io/", "discovery.k8s.io/", "events.k8s.io/"],
  ...["node.k8s.io/", "resource.k8s.io/", "scheduling.k8s.io/", "storage.k8s.io/"],
]);
const NOTHING: Comparison = { kind: "none", unchanged: undefined };

/** Throws GatewayError when the API server cannot be reached. */
export async function comparisonOf(
  deps: OwnRequestDeps,
  session: HttpSession,
  write: HeldWrite,
  permit: Permit,
  signal: AbortSignal,
): Promise<Comparison> {
  const { info, url } = write;
  if (!info.isResource || (info.verb !== "update" && info.verb !== "patch")) return NOTHING;
  const written = classesWritten(session.target, info, write.body, permit.obligations.unmask);
  if (written.size === 0) return NOTHING;
  const live = await liveObject(deps, session, write, permit, signal);
  if (live.status === 404) return NOTHING;
  const denied = (message: string): Comparison => ({
    kind: "denied",
    denial: {
      ...{ kind: "classified", what: permit.operation.summary, policyId: undefined },
      ...{ message, hop: undefined, hopLabel: undefined },
    },
  });
  const { value } = live;
  if (live.status !== 200 || !isObject(value))
    return denied(
      `whether it tells ${[...written].join(", ")} cannot be found out (${live.status})`,
    );
  const why = whyComparing(session, write, info, value, written);
  if (why !== undefined)
    return denied(`it would tell whether the value it brings is the one there: ${why}`);
  if (parameters(url, "dryRun").length === 0) return NOTHING;
  const metadata = isObject(value.metadata) ? value.metadata : {};
  const { generation, resourceVersion } = metadata;
  return {
    kind: "none",
    unchanged: {
      ...(generation === undefined ? {} : { generation }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    },
  };
}

/** An answer's object with what it counts as it was; who changed what, and when, is left out. */
export function withUnchanged(bytes: Buffer, unchanged: Unchanged): Buffer {
  const value = parseJson(bytes.toString("utf8"));
  if (!isObject(value) || value.kind === "Status" || !isObject(value.metadata)) return bytes;
  const { managedFields: _, generation, resourceVersion, ...metadata } = value.metadata;
  const counted = {
    ...(generation === undefined ? {} : { generation: unchanged.generation ?? generation }),
    ...(resourceVersion === undefined
      ? {}
      : { resourceVersion: unchanged.resourceVersion ?? resourceVersion }),
  };
  return Buffer.from(JSON.stringify({ ...value, metadata: { ...metadata, ...counted } }));
}

function liveObject(
  deps: OwnRequestDeps,
  session: HttpSession,
  { requestId, url }: HeldWrite,
  permit: Permit,
  signal: AbortSignal,
) {
  const at = { segments: url.segments, query: [] };
  const read = requestInfo("GET", at);
  const judged = judgeRequest(session.target, read, at, NO_FACTS);
  const operation = judged.kind === "operation" ? judged.operation : permit.operation;
  return ownRequest(
    deps,
    session,
    {
      ...{ method: "GET", url: at, accept: "application/json", body: undefined },
      // What permits the write permits to find out whether it may be done; nothing of it is shown.
      ...{ contentType: undefined, operation, permit, detail: { comparison: requestId } },
    },
    signal,
  );
}

/** undefined: it does not compare. */
function whyComparing(
  session: HttpSession,
  { body, url }: HeldWrite,
  info: ResourceRequest,
  live: JsonObject,
  written: ReadonlySet<string>,
): string | undefined {
  if (live.immutable === true && info.group === "")
    return `the ${info.resource.replace(/s$/, "")} is immutable`;
  const fixed = fixedField(session, info, written);
  if (fixed !== undefined) return `${fixed} of ${info.resource} may be immutable`;
  if (written.has(ENVIRONMENT_CLASS) && FIXED_ENVIRONMENTS.has(`${info.group}/${info.resource}`))
    return `the environment of ${info.resource} cannot be changed`;
  const isApply = body.contentType === "application/apply-patch+yaml";
  if (!isApply || isTrue(parameters(url, "force"))) return undefined;
  const manager = parameters(url, "fieldManager")[0] ?? "";
  const owner = othersOf(live, manager).find((entry) =>
    ownsWritten(session, info, entry, body.value, written),
  );
  return owner === undefined
    ? undefined
    : `another manager (${String(owner.manager).slice(0, 64)}) owns it; apply it with force`;
}

/** A classified field that is written where what it is in may not be changed. */
function fixedField(
  { target }: HttpSession,
  info: ResourceRequest,
  written: ReadonlySet<string>,
): string | undefined {
  const { group, resource } = info;
  if (!FIXED_FIELDS.has(`${group}/${resource}`) && !FIXED_FIELDS.has(`${group}/`)) return undefined;
  const field = fieldsOf(target, info).find(
    (one) => written.has(one.class) && one.field[0] !== "metadata",
  );
  return field?.field.join(".");
}

/** Managed fields of everybody but this manager's own applies. */
function othersOf({ metadata }: JsonObject, manager: string): readonly JsonObject[] {
  const entries = isObject(metadata) ? metadata.managedFields : undefined;
  if (!Array.isArray(entries)) return [];
  return (entries as readonly Json[])
    .filter(isObject)
    .filter((entry) => entry.manager !== manager || entry.operation !== "Apply");
}

function ownsWritten(
  { target }: HttpSession,
  info: ResourceRequest,
  { fieldsV1 }: JsonObject,
  body: Json | undefined,
  written: ReadonlySet<string>,
): boolean {
  const text = JSON.stringify(fieldsV1 ?? {});
  if (written.has(ENVIRONMENT_CLASS) && text.includes('"f:env"')) return true;
  if (written.has(SECRET_CLASS)) {
    if (!isObject(body) || info.resource !== "secrets") return true;
    if (keysOf(body, "data", "stringData").some((key) => hasField(fieldsV1, "f:data", key)))
      return true;
    if (hasField(fieldsV1, "f:metadata", "annotations")) return true;
  }
  return fieldsOf(target, info).some(
    (field) =>
      written.has(field.class) &&
      field.field.every((step) => step === "*" || text.includes(JSON.stringify(`f:${step}`))),
  );
}

function keysOf(body: JsonObject, ...names: readonly string[]): readonly string[] {
  return names.flatMap((name) => (isObject(body[name]) ? Object.keys(body[name]) : []));
}

function hasField(fields: Json | undefined, member: string, key: string): boolean {
  const held = isObject(fields) ? fields[member] : undefined;
  return isObject(held) && Object.hasOwn(held, `f:${key}`);
}
