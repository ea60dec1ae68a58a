// What a request does besides what its verb says, by whom and what it names: a Secret that is a credential, an
// object from which the cluster reads who somebody is, requests of everybody, the place of a node. Whoever may
// only change objects is not to come by more than that (docs/adr/0040, 0044).

import type { ResourceRequest } from "@custody/wire/kubernetes/request-info.ts";
import type { BodyFacts } from "./body-facts.ts";

const READS = new Set(["get", "list", "watch"]);
const CHANGES = new Set(["create", "update", "patch"]);
const ROLES = new Set(["roles", "clusterroles"]);
const BINDINGS = new Set(["rolebindings", "clusterrolebindings"]);
const RBAC = "rbac.authorization.k8s.io";
/** Whom they name is believed: by clusters of EKS, and by API servers behind this one. */
const IDENTITIES = new Set(["aws-auth", "extension-apiserver-authentication"]);
const CERTIFICATES = new Set(["signers", "podcertificaterequests", "clustertrustbundles"]);
/** Kinds of which a PUT makes what is not there (rest.RESTUpdateStrategy, AllowCreateOnUpdate). */
const MADE_BY_UPDATE = new Set([
  ...["/endpoints", "/events", "/limitranges", "/services", "events.k8s.io/events"],
  ...["coordination.k8s.io/leases", "coordination.k8s.io/leasecandidates"],
  ...["node.k8s.io/runtimeclasses", `${RBAC}/roles`, `${RBAC}/rolebindings`],
  ...[`${RBAC}/clusterroles`, `${RBAC}/clusterrolebindings`],
]);

/** Names of actions, on the same resource. */
export function furtherActions(info: ResourceRequest, body: BodyFacts): readonly string[] {
  const { verb } = info;
  if (READS.has(verb)) return [];
  const actions: string[] = [];
  if (isAboutRequests(info, body)) actions.push("escalate");
  if (!CHANGES.has(verb)) return actions;
  if (makes(info, body)) actions.push("create");
  if (isToken(info, body)) actions.push("token");
  if (info.resource === "pods" && info.subresource === "ephemeralcontainers")
    actions.push("exec_code");
  if (info.group === RBAC && ROLES.has(info.resource)) actions.push("escalate");
  if (info.group === RBAC && BINDINGS.has(info.resource)) actions.push("bind");
  if (isIdentity(info, body)) actions.push("escalate");
  const isSigning = info.resource === "certificatesigningrequests" && info.subresource !== "";
  if (isSigning || CERTIFICATES.has(info.resource)) actions.push("certify");
  // Where its kubelet is, to which commands, logs and ports of its pods go through the API server.
  const isPlace = info.subresource === "status" || verb === "create";
  if (info.group === "" && info.resource === "nodes" && isPlace) actions.push("proxy");
  return actions;
}

/** Whether it takes a pod away: an eviction is made, and the pod is deleted. */
export function isEviction({ group, resource, subresource, verb }: ResourceRequest): boolean {
  return verb === "create" && group === "" && resource === "pods" && subresource === "eviction";
}

/**
 * What reads and changes requests of everybody: admission by webhooks and policies, whose texts and changes may
 * hold whatever is in an object, APIs that others serve, and conversions that others do.
 */
function isAboutRequests({ group, resource }: ResourceRequest, body: BodyFacts): boolean {
  if (group === "admissionregistration.k8s.io" || group === "apiregistration.k8s.io") return true;
  return resource === "customresourcedefinitions" && body.callsOut;
}

/** An apply makes what is not there, and of some kinds an update does. */
function makes({ group, resource, subresource, verb }: ResourceRequest, body: BodyFacts): boolean {
  if (subresource !== "") return false;
  return verb === "update" ? MADE_BY_UPDATE.has(`${group}/${resource}`) : body.isApply;
}

/**
 * A token of a service account, asked for, or in a Secret that the cluster fills or takes it from: of a type for
 * that, or by the name of those that let nodes join.
 */
function isToken(info: ResourceRequest, body: BodyFacts): boolean {
  const { group, namespace, resource, subresource, verb } = info;
  if (resource === "serviceaccounts" && subresource === "token") return verb === "create";
  if (group !== "" || resource !== "secrets") return false;
  return (
    body.isCredential ||
    (namespace === "kube-system" && /^bootstrap-token-/.test(named(info, body)))
  );
}

function isIdentity(info: ResourceRequest, body: BodyFacts): boolean {
  const { group, namespace, resource } = info;
  if (group !== "" || resource !== "configmaps" || namespace !== "kube-system") return false;
  return IDENTITIES.has(named(info, body));
}

function named({ name, verb }: ResourceRequest, body: BodyFacts): string {
  return verb === "create" && name === "" ? body.name : name;
}
