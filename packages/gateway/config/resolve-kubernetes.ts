// A Kubernetes target from the checked document.

import type { KubernetesCredential } from "../target/kubernetes-target.ts";
import type { KubernetesTarget } from "../target/target.ts";
import { type Context, pemFile, resolveReference } from "./resolve-context.ts";
import type { KubernetesDocument } from "./schema-kubernetes.ts";

export function resolveKubernetes(
  context: Context,
  name: string,
  document: KubernetesDocument,
  tags: KubernetesTarget["tags"],
): KubernetesTarget {
  const path = ["targets", name, "kubernetes"];
  const accounts = Object.entries(document.accounts).map(
    ([account, { credential, impersonate }]) => ({
      name: account,
      credential: resolveCredential(context, [...path, "accounts", account], credential),
      impersonate,
    }),
  );
  const fields = document.classify.map(({ resource, field, class: className }) => {
    const [plural = "", ...group] = resource.split(".");
    return { group: group.join("."), resource: plural, field: field.split("."), class: className };
  });
  const caFile =
    document.caFile === undefined
      ? undefined
      : pemFile(context, [...path, "caFile"], document.caFile);
  const detect = Object.entries(document.detect ?? {}).map(([one, kind]) => ({ class: one, kind }));
  const { preview, server } = document;
  return {
    ...{ protocol: "kubernetes", name, server, caFile, fields, preview, accounts, tags },
    ...(detect.length > 0 ? { detect } : {}),
  };
}

function resolveCredential(
  context: Context,
  path: readonly string[],
  { token, certificate, serviceAccount }: KubernetesDocument["accounts"][string]["credential"],
): KubernetesCredential {
  if (certificate !== undefined)
    return {
      kind: "certificate",
      certFile: pemFile(context, [...path, "credential", "certificate", "cert"], certificate.cert),
      key: resolveReference(context, certificate.key),
    };
  if (serviceAccount !== undefined)
    return {
      kind: "service-account",
      namespace: serviceAccount.namespace,
      serviceAccount: serviceAccount.name,
      token: resolveReference(context, serviceAccount.token),
      isBound: serviceAccount.bound,
    };
  return {
    kind: "token",
    token: resolveReference(context, token ?? { from: "env", name: "_" }),
  };
}
