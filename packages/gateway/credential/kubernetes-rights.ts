// Which rights the gateway's own identity needs in a cluster, and which it is better without: what `custody
// kubernetes rbac` prints, seen from the other side. Asked of the API server itself (SelfSubjectAccessReview), as
// RBAC or whatever else decides there answers it.

import type { KubernetesAccount } from "../target/kubernetes-target.ts";

/** ResourceAttributes of authorization.k8s.io/v1. */
export interface Right {
  readonly verb: string;
  readonly resource: string;
  readonly group?: string;
  readonly subresource?: string;
  readonly name?: string;
  readonly namespace?: string;
}

export interface NeededRight {
  readonly right: Right;
  /** A rule that names some of them is enough. */
  readonly isSome: boolean;
  /** `impersonate group custody:editors` */
  readonly what: string;
}

export interface ExcessRight {
  readonly right: Right;
  readonly severity: "open" | "loose";
  readonly check: string;
  /** Behind "the gateway's identity may ". */
  readonly what: string;
  readonly remedy: string;
}

export const EXTRAS = ["custody-chain", "custody-delegation", "custody-session"];
const RBAC = "rbac.authorization.k8s.io";
const ADMISSION = "admissionregistration.k8s.io";

/** By the one rule `custody kubernetes rbac` prints for each. */
export function neededRights({
  credential,
  impersonate,
}: KubernetesAccount): readonly NeededRight[] {
  const needed: NeededRight[] = [];
  const need = (what: string, right: Right, isSome = false) => needed.push({ what, right, isSome });
  if (impersonate !== undefined) {
    need("impersonate users", { verb: "impersonate", resource: "users" }, true);
    for (const name of impersonate.groups)
      need(`impersonate group ${name}`, { verb: "impersonate", resource: "groups", name });
    if (impersonate.rootGroups)
      need("impersonate groups", { verb: "impersonate", resource: "groups" }, true);
    for (const subresource of EXTRAS)
      need(`impersonate the extra ${subresource}`, {
        ...{ verb: "impersonate", group: "authentication.k8s.io", resource: "userextras" },
        subresource,
      });
  }
  if (credential.kind === "service-account") {
    const { isBound, namespace, serviceAccount } = credential;
    need(`make tokens of ${namespace}/${serviceAccount}`, {
      ...{ verb: "create", resource: "serviceaccounts", subresource: "token" },
      ...{ name: serviceAccount, namespace },
    });
    for (const verb of isBound ? ["create", "delete"] : [])
      need(`${verb} secrets in namespace ${namespace}`, { verb, resource: "secrets", namespace });
  }
  return needed;
}

/** All of it: nothing else is asked about then. */
export const EVERYTHING: ExcessRight = {
  ...{ severity: "open", check: "everything" },
  right: { verb: "*", group: "*", resource: "*" },
  what: "do everything, as cluster-admin",
  remedy: "take its bindings away and apply what custody kubernetes rbac prints",
};

const excess = (
  check: string,
  what: string,
  right: Right,
  remedy: string,
  severity: ExcessRight["severity"] = "open",
): ExcessRight => ({ check, what, right, remedy, severity });

const TAKE = "take it from its roles: custody kubernetes rbac prints all it needs";

/** Whoever has one of these has the cluster, or other people's names in it. */
const POWERS: readonly ExcessRight[] = [
  excess(
    "system-masters",
    "impersonate system:masters, and so do everything",
    { verb: "impersonate", resource: "groups", name: "system:masters" },
    "name the groups (resourceNames) in the rule that custody kubernetes rbac prints",
  ),
  excess(
    "service-accounts",
    "impersonate service accounts",
    { verb: "impersonate", resource: "serviceaccounts" },
    TAKE,
  ),
  excess(
    "escalate",
    "give roles rights it has not (escalate)",
    { verb: "escalate", group: RBAC, resource: "clusterroles" },
    TAKE,
  ),
  excess(
    "bind",
    "give anybody any role (bind)",
    { verb: "bind", group: RBAC, resource: "clusterroles" },
    TAKE,
  ),
  excess(
    "nodes-proxy",
    "reach the kubelets of all nodes (nodes/proxy), and so run commands in every pod",
    { verb: "create", resource: "nodes", subresource: "proxy" },
    TAKE,
  ),
  excess(
    "tokens",
    "make tokens of every service account",
    { verb: "create", resource: "serviceaccounts", subresource: "token" },
    "name the one service account (resourceNames) in its own namespace",
  ),
  excess(
    "certificates",
    "approve certificates of other people",
    {
      ...{ verb: "update", group: "certificates.k8s.io", resource: "certificatesigningrequests" },
      subresource: "approval",
    },
    TAKE,
  ),
  ...["validatingwebhookconfigurations", "mutatingwebhookconfigurations"].map((resource) =>
    excess(
      "webhooks",
      `have everybody's requests sent elsewhere (${resource})`,
      { verb: "create", group: ADMISSION, resource },
      TAKE,
    ),
  ),
];

/** What sessions do they do as those who are impersonated, or with a token of their own. */
const USES: readonly ExcessRight[] = [
  excess("secrets", "read all secrets", { verb: "list", resource: "secrets" }, TAKE),
  excess("secrets", "read any secret by its name", { verb: "get", resource: "secrets" }, TAKE),
  excess(
    "exec",
    "run commands in every pod",
    { verb: "create", resource: "pods", subresource: "exec" },
    TAKE,
  ),
  excess("pods", "start pods everywhere", { verb: "create", resource: "pods" }, TAKE),
  excess(
    "all-users",
    "impersonate every user, those of the cluster's own included",
    { verb: "impersonate", resource: "users" },
    "name users (resourceNames) where they are few; RBAC knows no patterns",
    "loose",
  ),
  excess(
    "all-groups",
    "impersonate every group",
    { verb: "impersonate", resource: "groups" },
    "name the groups (resourceNames)",
    "loose",
  ),
  excess(
    "uids",
    "impersonate uids",
    { verb: "impersonate", group: "authentication.k8s.io", resource: "uids" },
    TAKE,
    "loose",
  ),
  excess(
    "extras",
    "impersonate extras that others go by (scopes)",
    {
      ...{ verb: "impersonate", group: "authentication.k8s.io", resource: "userextras" },
      subresource: "scopes",
    },
    TAKE,
    "loose",
  ),
];

/** Of an account that is what its sessions are, what they may do is the operator's to say. */
export function excessRights({
  credential,
  impersonate,
}: KubernetesAccount): readonly ExcessRight[] {
  if (credential.kind !== "service-account") return impersonate === undefined ? POWERS : BOTH;
  const { namespace } = credential;
  const here = (verb: string, what: string) =>
    excess("secrets", what, { verb, resource: "secrets", namespace }, TAKE);
  return [
    ...BOTH,
    here("list", `read the secrets of namespace ${namespace}`),
    here("get", `read any secret of namespace ${namespace} by its name`),
    ...["create", "delete"].map((verb) =>
      excess(
        "secrets",
        `${verb} secrets in every namespace`,
        { verb, resource: "secrets" },
        `by a Role in namespace ${namespace}, as custody kubernetes rbac prints`,
      ),
    ),
  ];
}

const BOTH: readonly ExcessRight[] = [...POWERS, ...USES];
