// What policies see of a body: whom it names, what it would run and with which rights. Found by the names
// of members wherever they are, so that a pod, a template of one, a custom resource around one and a patch
// of any of these say the same; what looks like one of these and is none only adds.

import { isObject, type Json, type JsonObject } from "./json-text.ts";
import type { RequestBody } from "./request-body.ts";

export interface BodyFacts {
  readonly kind: string;
  /** `metadata.name`, or its generated beginning with "*"; empty: it names none. */
  readonly name: string;
  readonly labels: readonly string[];
  readonly images: readonly string[];
  readonly serviceAccount: string;
  readonly hostPaths: readonly string[];
  readonly capabilities: readonly string[];
  /** Secrets that containers are to be given, by name. */
  readonly secrets: readonly string[];
  readonly privileged: boolean;
  /** Of one of these there is more than is said. */
  readonly hasMore: boolean;
  /** The API server is to send objects to somebody, as a webhook of a conversion or an admission. */
  readonly callsOut: boolean;
  /** Of a Secret: the cluster makes a token of it, or takes it for one. */
  readonly isCredential: boolean;
  /** Of a definition: it says how environments are read, or which are refused. */
  readonly readsEnvironments: boolean;
  /** It is applied by the server, which makes what is not there. */
  readonly isApply: boolean;
  /** There is a body: of a delete it takes the place of the query's options. */
  readonly isGiven: boolean;
  /** As DeleteOptions: nothing is to be deleted. */
  readonly dryRun: boolean;
  /** As an Eviction: nobody is to be evicted. */
  readonly evictionDryRun: boolean;
  /** A value in it is the mask of one. */
  readonly hasMask: boolean;
  /** Where a JSON patch compares the object with something: pointers of test. */
  readonly reads: readonly string[];
  /** One of these compares with a text that may be an object itself, as annotations hold them. */
  readonly readsWritten: boolean;
  /** Lists of which a strategic merge takes the values out that it names. */
  readonly deletesFrom: readonly string[];
  /** A JSON patch writes what is elsewhere in the object (copy, move), so that the body does not say what. */
  readonly copies: boolean;
}

export const NO_FACTS: BodyFacts = {
  ...{ kind: "", name: "", labels: [], images: [], serviceAccount: "", hostPaths: [] },
  ...{ capabilities: [], privileged: false, hasMask: false, reads: [], copies: false },
  ...{ isGiven: false, dryRun: false, evictionDryRun: false, secrets: [], hasMore: false },
  ...{ callsOut: false, readsWritten: false, isCredential: false, readsEnvironments: false },
  ...{ isApply: false, deletesFrom: [] },
};

/** Of each list; of labels what is beyond it is said by a last one, "…", of others it is not judged. */
const MAX_NAMED = 64;
/** Nodes have many. Beyond it what is written is not judged. */
const MAX_LABELS = 512;
/** The beginning of JSON, and of gzip in base64. */
const WRITTEN_OBJECT = /^\s*[[{]|^H4sI/;
/** Of each form there is (masking/masks.ts), but for nothing at all. */
const MASK = /\[masked [a-z0-9.-]+\]|^\*{3}@[A-Za-z0-9.-]+$|^\*{4}[A-Za-z0-9]{4}$/;
/** Base64 of "[masked ", and of the other two. */
const MASK_BASE64 = /W21hc2tlZC[A-P]|^KioqQ[A-Za-z0-9+/]+=*$|^KioqK[A-Za-z0-9+/]{6}=$/;

interface Found {
  images: Set<string>;
  serviceAccounts: Set<string>;
  hostPaths: Set<string>;
  capabilities: Set<string>;
  secrets: Set<string>;
  deletesFrom: Set<string>;
  privileged: boolean;
  callsOut: boolean;
  isCredential: boolean;
  readsEnvironments: boolean;
  hasMask: boolean;
}

export function bodyFacts({ value, contentType, isJsonPatch }: RequestBody): BodyFacts {
  if (value === undefined) return NO_FACTS;
  const found: Found = {
    images: new Set(),
    serviceAccounts: new Set(),
    hostPaths: new Set(),
    capabilities: new Set(),
    ...{ secrets: new Set(), deletesFrom: new Set() },
    ...{ privileged: false, callsOut: false, hasMask: false, isCredential: false },
    readsEnvironments: false,
  };
  const reads: string[] = [];
  let readsWritten = false;
  let copies = false;
  const patch: JsonObject[] = [];
  if (isJsonPatch && Array.isArray(value))
    for (const operation of value as readonly Json[]) {
      if (!isObject(operation)) continue;
      const { op, path } = operation;
      if (op === "test") {
        reads.push(String(path));
        readsWritten ||= WRITTEN_OBJECT.test(text(operation.value));
      }
      if (op === "copy" || op === "move") copies = true;
      if (typeof path === "string") patch.push(nested(path, operation.value ?? null));
    }
  const documents = isJsonPatch ? patch : [value];
  for (const document of documents) walk(document, "", found);
  const object = isJsonPatch ? mergedMetadata(patch) : isObject(value) ? value : {};
  const metadata = isObject(object.metadata) ? object.metadata : {};
  return {
    kind: text(object.kind),
    name: text(metadata.name) || generated(metadata.generateName),
    labels: labelsOf(metadata.labels, MAX_LABELS),
    images: bounded(found.images),
    serviceAccount: bounded(found.serviceAccounts).join(","),
    hostPaths: bounded(found.hostPaths),
    capabilities: bounded(found.capabilities),
    secrets: bounded(found.secrets),
    privileged: found.privileged,
    hasMore:
      NAMED.some((name) => found[name].size > MAX_NAMED) ||
      (isObject(metadata.labels) && Object.keys(metadata.labels).length > MAX_LABELS),
    callsOut: found.callsOut,
    isCredential: found.isCredential,
    readsEnvironments: found.readsEnvironments,
    isApply: contentType === "application/apply-patch+yaml",
    isGiven: true,
    dryRun: isDryRun(object.dryRun),
    evictionDryRun: isObject(object.deleteOptions) && isDryRun(object.deleteOptions.dryRun),
    hasMask: found.hasMask,
    ...{ reads, readsWritten, copies, deletesFrom: [...found.deletesFrom] },
  };
}

const NAMED = ["images", "serviceAccounts", "hostPaths", "capabilities", "secrets"] as const;

/** `/spec/containers/0/image`, value → the object that has it there (RFC 6901). */
function nested(pointer: string, value: Json): JsonObject {
  const steps = pointer
    .split("/")
    .slice(1, 65)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  let inner: Json = value;
  for (const step of steps.reverse()) inner = { [step]: inner };
  return isObject(inner) ? inner : {};
}

/** What the operations of a patch write, together: the later ones count. */
function mergedMetadata(patch: readonly JsonObject[]): JsonObject {
  const labels = new Map<string, Json>();
  for (const { metadata } of patch)
    if (isObject(metadata) && isObject(metadata.labels))
      for (const [name, value] of Object.entries(metadata.labels)) labels.set(name, value);
  return { metadata: { labels: Object.fromEntries(labels) } };
}

function walk(value: Json, name: string, found: Found): void {
  if (typeof value === "string") {
    if (MASK.test(value) || MASK_BASE64.test(value)) found.hasMask = true;
    take(name, value, found);
  } else if (Array.isArray(value)) {
    for (const one of value as readonly Json[])
      walk(one, name === "add" ? "capability" : "", found);
  } else if (isObject(value)) {
    takeObject(name, value, found);
    for (const [key, one] of Object.entries(value)) {
      if (MASK.test(key)) found.hasMask = true;
      if (key.startsWith(DELETES)) found.deletesFrom.add(key.slice(DELETES.length));
      // An annotation called so names nobody, and would make two of the one that is named.
      const isFree = (name === "annotations" || name === "labels") && typeof one === "string";
      walk(one, isFree && ACCOUNTS.has(key) ? "" : key, found);
    }
  } else if (value === true && PRIVILEGED.has(name)) found.privileged = true;
}

/** k8s.io/apimachinery, pkg/util/strategicpatch. */
const DELETES = "$deleteFromPrimitiveList/";
const PRIVILEGED = new Set([
  ...["privileged", "hostNetwork", "hostPID", "hostIPC", "hostProcess"],
  // Of a claim: devices that others use.
  "adminAccess",
]);
const ACCOUNTS = new Set(["serviceAccountName", "serviceAccount"]);
/** Of Secrets: the first is filled by the cluster, the second lets whoever shows it join as a node. */
const CREDENTIALS = new Set([
  "kubernetes.io/service-account-token",
  "bootstrap.kubernetes.io/token",
]);
const OF_ACCOUNT = "kubernetes.io/service-account.name";
/** Of custom resources' definitions: paths of a scale, and expressions. */
const READING = /^(labelSelectorPath|(spec|status)ReplicasPath|rule|messageExpression)$/;
const ENVIRONMENT = /(^|[^A-Za-z])env([^A-Za-z]|$)/;

function take(name: string, value: string, found: Found): void {
  if (name === "image") found.images.add(value);
  else if (ACCOUNTS.has(name)) {
    if (value !== "") found.serviceAccounts.add(value);
  } else if (SECRET_NAME.test(name)) found.secrets.add(value);
  else if (name === "procMount" && value !== "Default") found.privileged = true;
  else if (READING.test(name) && ENVIRONMENT.test(value)) found.readsEnvironments = true;
  if ((name === "type" && CREDENTIALS.has(value)) || name === OF_ACCOUNT) found.isCredential = true;
}

/** `secretName`; `csi.storage.k8s.io/node-publish-secret-name` of a storage class. */
const SECRET_NAME = /secret-?name$/i;
/** `secretRef`; `nodePublishSecretRef` of a driver, in whatever namespace. */
const SECRET_SOURCE = /^secret$|^secretKeyRef$|SecretRef$|^secretRef$/;
/** Members of a webhook's configuration, of a conversion's and of an aggregated API's. */
const CALLED = new Set(["clientConfig", "webhookClientConfig"]);

function takeObject(name: string, value: JsonObject, found: Found): void {
  if (name === "hostPath")
    found.hostPaths.add(typeof value.path === "string" ? plainPath(value.path) : "?");
  // A persistent volume's, on the disk of a node.
  if (name === "local" && typeof value.path === "string")
    found.hostPaths.add(plainPath(value.path));
  if (SECRET_SOURCE.test(name) && typeof value.name === "string") found.secrets.add(value.name);
  // A volume with what is in an image.
  if (name === "image" && typeof value.reference === "string") found.images.add(value.reference);
  if (name === "env" && isConstrained(value)) found.readsEnvironments = true;
  if (CALLED.has(name)) found.callsOut = true;
  if (name !== "capabilities" || value.add === undefined || value.add === null) return;
  const added = Array.isArray(value.add)
    ? value.add
    : isObject(value.add)
      ? Object.values(value.add)
      : [];
  for (const one of added as readonly Json[])
    if (typeof one === "string") found.capabilities.add(plainCapability(one));
}

/** Runtimes take either case, and some the prefix. */
function plainCapability(written: string): string {
  return written.toUpperCase().replace(/^CAP_/, "");
}

/** One way of writing it: `//var/./run/` is `/var/run`. The API server takes no `..`. */
function plainPath(written: string): string {
  const steps = written.split("/").filter((step) => step !== "" && step !== ".");
  return written.startsWith("/") ? `/${steps.join("/")}` : steps.join("/");
}

const CONSTRAINTS = new Set([
  ...["pattern", "enum", "format", "minLength", "maxLength", "minimum", "maximum", "multipleOf"],
  ...["not", "oneOf", "anyOf", "allOf", "x-kubernetes-validations"],
]);

/** A schema of an environment refuses some values: by what it refuses it tells them. */
function isConstrained(schema: JsonObject): boolean {
  const { additionalProperties, items, properties } = schema;
  const item = isObject(items) && isObject(items.properties) ? items.properties.value : undefined;
  const members = isObject(properties) ? Object.values(properties) : [];
  return [schema, items, item, additionalProperties, ...members].some(
    (node) => isObject(node) && Object.keys(node).some((name) => CONSTRAINTS.has(name)),
  );
}

export function labelsOf(labels: Json | undefined, most = MAX_NAMED): readonly string[] {
  if (!isObject(labels)) return [];
  // One more than is said says that there are more.
  const some = Object.entries(labels).slice(0, most + 1);
  return bounded(new Set(some.map(([key, value]) => `${key}=${text(value)}`)), most);
}

/** `["All"]`, the only value the API server takes. */
function isDryRun(value: Json | undefined): boolean {
  return Array.isArray(value) && value.length > 0 && value.every((one) => one === "All");
}

function generated(value: Json | undefined): string {
  return typeof value === "string" && value !== "" ? `${value}*` : "";
}

function text(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}

function bounded(values: ReadonlySet<string>, most = MAX_NAMED): readonly string[] {
  const all = [...values].slice(0, most).map((value) => value.slice(0, 512));
  return values.size <= most ? all : [...all, "…"];
}
