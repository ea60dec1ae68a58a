// From a request to what it does: effects on resources of the cluster, and the classes its answer may
// touch. What is another act than its verb says (a GET that runs a command, an update that gives somebody
// a role) is said here; what is not known here is denied.

import {
  isTrue,
  parameters,
  type RequestInfo,
  type ResourceRequest,
} from "@custody/wire/kubernetes/request-info.ts";
import type { RequestUrl } from "@custody/wire/kubernetes/request-url.ts";
import type { ClassTouch, Effect, Operation, Resource } from "../../access/operation.ts";
import {
  ENVIRONMENT_CLASS,
  type FieldClassification,
  SECRET_CLASS,
} from "../../target/kubernetes-target.ts";
import type { KubernetesTarget } from "../../target/target.ts";
import { type BodyFacts, NO_FACTS } from "./body-facts.ts";
import { furtherActions, isEviction } from "./further-effects.ts";

export type Judged =
  | { readonly kind: "operation"; readonly operation: Operation }
  /** Nothing is decided about what is not known. `what`: for the denial. */
  | { readonly kind: "unknown"; readonly what: string; readonly message: string };

/** Subresources that become another protocol; each has a door of its own (streams.ts). */
export type StreamKind = "exec" | "attach" | "portforward";

const VERBS = new Set([
  ...["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
]);
const READS = new Set(["get", "list", "watch"]);
/** What every client asks before anything else. */
const DISCOVERY = /^\/(api|apis|version|healthz|livez|readyz|openapi\/v[23])(\/|$)/;
const SELF_REVIEWS = new Set([
  "selfsubjectaccessreviews.authorization.k8s.io",
  "selfsubjectrulesreviews.authorization.k8s.io",
  "selfsubjectreviews.authentication.k8s.io",
]);
/** Groups with a dot in them of which the API server itself, or what comes with it, serves every kind. */
const BUILT_IN = new Set([
  ...["admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io"],
  ...["authentication.k8s.io", "authorization.k8s.io", "certificates.k8s.io"],
  ...["coordination.k8s.io", "custom.metrics.k8s.io", "discovery.k8s.io", "events.k8s.io"],
  ...["external.metrics.k8s.io", "flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io"],
  ...["metrics.k8s.io", "networking.k8s.io", "node.k8s.io", "rbac.authorization.k8s.io"],
  ...["resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io"],
]);
/** Groups whose objects hold containers; a custom resource may too. */
const WORKLOADS = new Set(["apps", "batch", "extensions"]);
const WITH_CONTAINERS = new Set(["pods", "podtemplates", "replicationcontrollers"]);
/** Managed fields name values that are members of a set. */
const SAFE_POINTER =
  /^\/(kind|apiVersion|type|status(\/.*)?|metadata\/(?!annotations|managedFields).+|metadata\/annotations\/(?!.*last-applied).+|spec\/replicas)$/;
/** A selection by something in an environment. */
const SELECTS_ENVIRONMENT = /(^|[.,])env\./;

export function judgeRequest(
  target: KubernetesTarget,
  info: RequestInfo,
  url: RequestUrl,
  body: BodyFacts,
): Judged {
  if (!info.isResource) return judgeUrl(target, info.verb, info.path);
  const { verb } = info;
  const dryRun = isDryRun(info, url, body);
  const resource = resourceOf(target, info, body, dryRun);
  const unknown = (message: string): Judged => ({
    kind: "unknown",
    what: `${verb === "" ? "a request" : verb} on ${resource.label}`,
    message,
  });
  if (verb !== "proxy" && !VERBS.has(verb)) return unknown("this verb is not known");
  if (streamOf(info) !== undefined)
    return unknown("it needs a connection that is upgraded: WebSocket or SPDY");
  if (info.rest.length > 0 && verb !== "proxy" && info.subresource !== "proxy")
    return unknown("nothing is known below this subresource");
  if (body.hasMask)
    return unknown("the body holds the mask of a value: it would be written over the value itself");
  if (body.copies)
    return unknown("a patch that copies or moves does not say what it writes; write the value");
  if (body.hasMore)
    return unknown(
      "the body names more images, labels, volumes, rights or secrets than are judged",
    );
  if (isBuiltIn(info.group) && body.serviceAccount.includes(","))
    return unknown("the body names two service accounts");
  const effects = effectsOf(target, info, resource, body, dryRun);
  const touches = touchesOf(target, info, url, body);
  const summary = `${verb} on ${resource.label}`;
  const lists = (verb === "list" || verb === "watch") && effects.length === 1;
  const filterable = lists ? { filterable: filterability(info, url) } : {};
  const operation: Operation = {
    ...{ protocol: "kubernetes", effects, touches, summary },
    ...filterable,
    ...(isLog(info) ? { maskable: true } : {}),
  };
  return { kind: "operation", operation };
}

/** Whether what is listed says of itself what it is, and is listed whole. */
function filterability({ subresource }: ResourceRequest, url: RequestUrl): true | string {
  if (subresource !== "") return "what is below a subresource is no list of objects";
  if (parameters(url, "continue").length > 0)
    return "a page that goes on where another ended names an object that may be left out; list anew";
  const asked = parameters(url, "includeObject");
  if (asked.some((one) => one !== "Metadata" && one !== "Object"))
    return "rows without their objects do not say what they are of";
  return true;
}

/**
 * A custom resource's columns may show its environments: its rows come with their objects, so that what a cell
 * repeats of them is found (answer-mask.ts). Columns of Kubernetes' own show none.
 */
export function withObjects(url: RequestUrl, info: RequestInfo): RequestUrl {
  if (!info.isResource || isBuiltIn(info.group)) return url;
  const others = url.query.filter(([name]) => name !== "includeObject");
  return { ...url, query: [...others, ["includeObject", "Object"] as const] };
}

/** Of a list that is filtered all of it is asked for: pages tell how much there is, and where each ends. */
export function unpaged(url: RequestUrl): RequestUrl {
  return { ...url, query: url.query.filter(([name]) => name !== "limit") };
}

/** undefined: a plain request. */
export function streamOf(info: ResourceRequest): StreamKind | undefined {
  if (info.group !== "" || info.resource !== "pods") return undefined;
  const { subresource } = info;
  return subresource === "exec" || subresource === "attach" || subresource === "portforward"
    ? subresource
    : undefined;
}

/** Text of a container, which nothing but its length is known of. */
export function isLog({ group, resource, subresource, verb }: ResourceRequest): boolean {
  return group === "" && resource === "pods" && subresource === "log" && verb === "get";
}

/** True where the answer comes as one event after the other. */
export function isFollowed(info: RequestInfo, url: RequestUrl): boolean {
  if (!info.isResource) return false;
  return info.verb === "watch" || (info.subresource === "log" && isTrue(parameters(url, "follow")));
}

/** `shop/pods/web-1`; attributes as the schema has them. */
export function resourceOf(
  target: KubernetesTarget,
  info: ResourceRequest,
  body: BodyFacts,
  dryRun: boolean,
  port = 0,
): Resource {
  const { group, resource, subresource } = info;
  const name = info.name !== "" ? info.name : info.verb === "create" ? body.name : "";
  const kind = group === "" ? resource : `${resource}.${group}`;
  const path = [
    info.namespace === "" ? "-" : info.namespace,
    kind,
    name === "" ? "*" : name,
    ...(subresource === "" ? [] : [subresource]),
    ...(port === 0 ? [] : [String(port)]),
  ].join("/");
  const where = info.namespace === "" ? "" : ` in namespace ${info.namespace}`;
  const of = subresource === "" ? kind : `${kind}/${subresource}`;
  return {
    type: "K8s::Resource",
    id: `${target.name}/${path}`,
    path,
    label: `${of}${name === "" ? "" : ` ${name}`}${port === 0 ? "" : ` port ${port}`}${where}`,
    parent: info.namespace === "" ? undefined : namespaceOf(target, info.namespace),
    implied: info.verb === "create" && name === "" && SELF_REVIEWS.has(kind),
    attributes: {
      ...{ namespace: info.namespace, group, resource, subresource, name, port },
      kind: body.kind,
      labels: body.labels,
      images: body.images,
      serviceAccount: body.serviceAccount,
      hostPaths: body.hostPaths,
      capabilities: body.capabilities,
      secrets: body.secrets,
      privileged: body.privileged,
      dryRun,
    },
  };
}

/**
 * Only what the server goes by: a delete has its options in its body and, where there is none, in the query
 * (k8s.io/apiserver, pkg/endpoints/handlers/delete.go); an eviction in either; everything else in the query.
 */
function isDryRun(info: ResourceRequest, url: RequestUrl, body: BodyFacts): boolean {
  const isDelete = info.verb === "delete" || info.verb === "deletecollection";
  if (isDelete && body.isGiven) return body.dryRun;
  if (isEviction(info) && body.evictionDryRun) return true;
  const asked = parameters(url, "dryRun");
  return asked.length > 0 && asked.every((one) => one === "All");
}

function namespaceOf(target: KubernetesTarget, namespace: string): Resource {
  return {
    type: "K8s::Namespace",
    id: `${target.name}/${namespace}`,
    path: namespace,
    label: `namespace ${namespace}`,
    parent: undefined,
    implied: false,
  };
}

function judgeUrl(target: KubernetesTarget, verb: string, path: string): Judged {
  const isDiscovery = DISCOVERY.test(path) || path === "/";
  const resource: Resource = {
    type: "K8s::Url",
    id: `${target.name}${path}`,
    path,
    label: `path ${path}`,
    parent: undefined,
    implied: isDiscovery,
  };
  if (verb !== "get" && verb !== "head")
    return {
      kind: "unknown",
      what: `${verb} on ${resource.label}`,
      message: "nothing is changed there",
    };
  const action = isDiscovery ? "get" : "proxy";
  const effects = [{ action: `k8s:${action}`, resource }];
  const summary = `${action} on ${resource.label}`;
  return {
    kind: "operation",
    operation: { protocol: "kubernetes", effects, touches: [], summary },
  };
}

function effectsOf(
  target: KubernetesTarget,
  info: ResourceRequest,
  resource: Resource,
  body: BodyFacts,
  dryRun: boolean,
): readonly Effect[] {
  const effect = (action: string): Effect => ({ action: `k8s:${action}`, resource });
  if (info.verb === "proxy" || info.subresource === "proxy") return [effect("proxy")];
  if (isLog(info)) return [effect("log")];
  const effects = [info.verb, ...furtherActions(info, body)].map(effect);
  if (!isEviction(info)) return effects;
  const pod = resourceOf(target, { ...info, verb: "delete", subresource: "" }, NO_FACTS, dryRun);
  return [...effects, { action: "k8s:delete", resource: pod }];
}

/**
 * Classes the answer may show. An answer to a dry run, a test within an object, and a selection by a classified field tell something about the value itself, whatever is masked: they are "inner".
 */
function touchesOf(
  target: KubernetesTarget,
  info: ResourceRequest,
  url: RequestUrl,
  body: BodyFacts,
): readonly ClassTouch[] {
  const { group, resource, verb } = info;
  // What the status of a custom resource holds is its author's to say.
  const isOwn = !isBuiltIn(group);
  const isSafe = (pointer: string) =>
    SAFE_POINTER.test(pointer) && !(isOwn && pointer.startsWith("/status"));
  const readsInside = body.readsWritten || body.reads.some((pointer) => !isSafe(pointer));
  const dryRun = parameters(url, "dryRun").length > 0 || body.dryRun;
  const touches: ClassTouch[] = [];
  if (group === "" && resource === "secrets") {
    const compares = dryRun && (verb === "update" || verb === "patch");
    const readsNote = body.reads.some((pointer) => pointer.includes("/metadata/annotations"));
    const use = readsInside || readsNote || compares ? "inner" : "output";
    touches.push({ class: SECRET_CLASS, use, column: "the data of secrets" });
  }
  const fields = fieldsOf(target, info);
  const selectors = parameters(url, "fieldSelector").join(",");
  const labels = parameters(url, "labelSelector").join(",");
  for (const { class: name, field } of fields) {
    const written = field.join(".");
    const reads = readsInside || body.reads.some((pointer) => areNested(pointer, field));
    const isSelected = isSelectedBy(selectors, field) || isLabelIn(labels, field);
    // Values taken out of a list if they are in it: a guess that costs nothing while it is wrong.
    const isTried = body.deletesFrom.includes(field.findLast((step) => step !== "*") ?? "");
    const use = reads || isSelected || isTried ? "inner" : "output";
    touches.push({ class: name, use, column: `${written} of ${resource}` });
  }
  touches.push(...touchedByDefinition(target, info, body));
  if (holdsContainers(info)) {
    const use = readsInside || SELECTS_ENVIRONMENT.test(selectors) ? "inner" : "output";
    touches.push({ class: ENVIRONMENT_CLASS, use, column: "the environment of containers" });
  }
  return touches;
}

/**
 * Who changes the definition of a kind says how its objects are read (by a column, a selection, the path of a
 * scale) and what is refused of them, and so may have each value told.
 */
function touchedByDefinition(
  { fields }: KubernetesTarget,
  { group, name, resource, verb }: ResourceRequest,
  body: BodyFacts,
): readonly ClassTouch[] {
  if (group !== "apiextensions.k8s.io" || resource !== "customresourcedefinitions") return [];
  if (verb !== "update" && verb !== "patch") return [];
  const column = `what is classified of ${name}`;
  const classes = new Set(
    fields.filter((one) => `${one.resource}.${one.group}` === name).map((one) => one.class),
  );
  if (body.readsEnvironments) classes.add(ENVIRONMENT_CLASS);
  return [...classes].map((one) => ({ class: one, use: "inner" as const, column }));
}

/** Whether a selector names the field, or something in it; `*` is any member. */
function isSelectedBy(selectors: string, field: readonly string[]): boolean {
  const steps = field.map((step) =>
    step === "*" ? "[^.,=!]+" : step.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"),
  );
  return new RegExp(steps.join("\\.")).test(selectors);
}

function isLabelIn(selectors: string, [metadata, labels, name = "*"]: readonly string[]): boolean {
  if (metadata !== "metadata" || labels !== "labels") return false;
  return selectors !== "" && (name === "*" || selectors.includes(name));
}

/** The pointer is to the field, to something in it, or to something it is in. */
function areNested(pointer: string, field: readonly string[]): boolean {
  const steps = pointer.split("/").slice(1);
  return field
    .slice(0, steps.length)
    .every((name, index) => name === "*" || name === unescaped(steps[index] ?? ""));
}

/** RFC 6901 section 4. */
function unescaped(step: string): string {
  return step.replaceAll("~1", "/").replaceAll("~0", "~");
}

export function holdsContainers({ group, resource }: ResourceRequest): boolean {
  if (group === "") return WITH_CONTAINERS.has(resource);
  return WORKLOADS.has(group) || !isBuiltIn(group);
}

/** Kubernetes' own kinds; a group of its community's names may hold custom resources like any other. */
export function isBuiltIn(group: string): boolean {
  return !group.includes(".") || BUILT_IN.has(group);
}

/** What a scale shows of a custom resource as its selector is whatever field its definition says. */
const OF_SCALE = ["status", "selector"];

export function fieldsOf(
  target: KubernetesTarget,
  info: ResourceRequest,
): readonly FieldClassification[] {
  const fields = target.fields.filter(
    (field) => field.group === info.group && field.resource === info.resource,
  );
  if (info.subresource !== "scale" || isBuiltIn(info.group)) return fields;
  return [...fields, ...fields.map((one) => ({ ...one, field: OF_SCALE }))];
}

export function isRead({ verb }: RequestInfo): boolean {
  return READS.has(verb);
}

/** An error of a change quotes the object it failed on, as the server had it. */
export function mayQuote(
  target: KubernetesTarget,
  info: RequestInfo,
  shown: ReadonlySet<string>,
): boolean {
  if (!info.isResource || READS.has(info.verb)) return false;
  if (info.group === "" && info.resource === "secrets") return !shown.has("secret.k8s");
  const isChange = info.verb === "patch" || info.verb === "update";
  if (isChange && fieldsOf(target, info).some((field) => !shown.has(field.class))) return true;
  return isChange && holdsContainers(info) && !shown.has("secret.k8s.env");
}
