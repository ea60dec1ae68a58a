// What a cluster's administrator reviews and applies once so that the gateway can work on a Kubernetes
// target: the least it needs, and nothing for those it impersonates, whose rights are the cluster's own
// affair. The gateway prints it and never applies it.

import type { KubernetesAccount } from "../target/kubernetes-target.ts";
import type { KubernetesTarget } from "../target/target.ts";
import { EXTRAS } from "./kubernetes-rights.ts";

/** YAML for one account. */
export function kubernetesSetup(target: KubernetesTarget, name: string): string {
  const account = target.accounts.find((one) => one.name === name);
  if (account === undefined) throw new RangeError(`target ${target.name} has no account ${name}`);
  const parts = [
    `# Custody: target ${target.name}, account ${name}. Review it, then: kubectl apply -f -`,
    ...identityOf(account),
    ...impersonationOf(account, name),
    ...tokenOf(account),
  ];
  return `${parts.join("\n")}\n`;
}

/** Names the gateway by a service account of its own; another identity is put in its place by hand. */
function identityOf({ credential }: KubernetesAccount): string[] {
  if (credential.kind === "certificate")
    return [
      "# The gateway shows a client certificate: put its common name in the place of the service account",
      "# below (kind: User, apiGroup: rbac.authorization.k8s.io, no namespace).",
    ];
  return [
    "# The gateway's own identity. Where it runs outside of the cluster, make a token for it with",
    "#   kubectl create token custody-gateway -n custody --duration=24h",
    "apiVersion: v1",
    "kind: Namespace",
    "metadata: { name: custody }",
    "---",
    "apiVersion: v1",
    "kind: ServiceAccount",
    "metadata: { name: custody-gateway, namespace: custody }",
  ];
}

function impersonationOf({ impersonate }: KubernetesAccount, name: string): string[] {
  if (impersonate === undefined)
    return [
      "# This account impersonates nobody: the cluster sees, and its audit log names, the account itself.",
      "# Bind to it the roles sessions may have.",
    ];
  const { groups, prefix, rootGroups } = impersonate;
  const role = `custody-impersonate-${name}`;
  const groupRule = rootGroups
    ? [
        "  # Groups of requestors come from the identity provider, so they cannot all be named here. Name",
        "  # them (resourceNames) where they are few; each begins with the prefix.",
        `  - { apiGroups: [""], resources: [groups], verbs: [impersonate] }`,
      ]
    : groups.length === 0
      ? []
      : [
          `  - { apiGroups: [""], resources: [groups], verbs: [impersonate], resourceNames: [${groups.map(quoted).join(", ")}] }`,
        ];
  return [
    "---",
    `# Whoever the gateway names is ${quoted(`${prefix}<provider>/<name>`)}, never a user of the cluster's own;`,
    "# RBAC cannot say so by a pattern, so name users (resourceNames) where they are few. What those users",
    "# and groups may do is yours to bind.",
    "apiVersion: rbac.authorization.k8s.io/v1",
    "kind: ClusterRole",
    `metadata: { name: ${role} }`,
    "rules:",
    `  - { apiGroups: [""], resources: [users], verbs: [impersonate] }`,
    ...groupRule,
    "  - apiGroups: [authentication.k8s.io]",
    `    resources: [${EXTRAS.map((key) => `userextras/${key}`).join(", ")}]`,
    "    verbs: [impersonate]",
    "---",
    "apiVersion: rbac.authorization.k8s.io/v1",
    "kind: ClusterRoleBinding",
    `metadata: { name: ${role} }`,
    `roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ${role} }`,
    "subjects:",
    "  - { kind: ServiceAccount, name: custody-gateway, namespace: custody }",
  ];
}

function tokenOf({ credential }: KubernetesAccount): string[] {
  if (credential.kind !== "service-account") return [];
  const { isBound, namespace, serviceAccount } = credential;
  const role = `custody-token-${serviceAccount}`;
  const secretRule = isBound
    ? [
        "  # Each token is bound to a Secret without data, which is deleted when the session ends, and the token",
        "  # with it. Secrets are made and deleted by name, never read or listed. RBAC cannot say which (RBAC",
        "  # knows no patterns), so keep Secrets of others out of this namespace.",
        `  - { apiGroups: [""], resources: [secrets], verbs: [create, delete] }`,
      ]
    : [];
  return [
    "---",
    "# Tokens for this one service account, one a session.",
    "apiVersion: rbac.authorization.k8s.io/v1",
    "kind: Role",
    `metadata: { name: ${role}, namespace: ${namespace} }`,
    "rules:",
    `  - { apiGroups: [""], resources: [serviceaccounts/token], verbs: [create], resourceNames: [${serviceAccount}] }`,
    ...secretRule,
    "---",
    "apiVersion: rbac.authorization.k8s.io/v1",
    "kind: RoleBinding",
    `metadata: { name: ${role}, namespace: ${namespace} }`,
    `roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: ${role} }`,
    "subjects:",
    "  - { kind: ServiceAccount, name: custody-gateway, namespace: custody }",
  ];
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
