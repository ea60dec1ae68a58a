// A Kubernetes cluster, as the operator described it.

import type { SecretReference } from "../credential/reference.ts";
import type { Detection } from "../masking/nets.ts";

/** How the gateway shows who it is to the API server. */
export type KubernetesCredential =
  /** A bearer token the gateway keeps; read anew for each session, so that a mounted one may rotate. */
  | { readonly kind: "token"; readonly token: SecretReference }
  | { readonly kind: "certificate"; readonly certFile: string; readonly key: SecretReference }
  /** A token of a service account made for each session (TokenRequest) with the gateway's own. */
  | {
      readonly kind: "service-account";
      readonly namespace: string;
      readonly serviceAccount: string;
      readonly token: SecretReference;
      /** Each token is bound to a Secret that is deleted when its session ends. */
      readonly isBound: boolean;
    };

/** Whom the cluster sees: the root of the chain, with these groups. */
export interface Impersonation {
  /** Before the root's id and the names of its groups, so that no provider names a user of the cluster. */
  readonly prefix: string;
  readonly groups: readonly string[];
  /** Adds the root's own groups, each with the prefix. */
  readonly rootGroups: boolean;
}

export interface KubernetesAccount {
  readonly name: string;
  readonly credential: KubernetesCredential;
  /** undefined: the cluster sees the account itself. */
  readonly impersonate: Impersonation | undefined;
}

/** `resource: widgets.example.com, field: spec.apiKey, class: secret.token` */
export interface FieldClassification {
  /** Empty: the core group. */
  readonly group: string;
  readonly resource: string;
  /** Members from the object's root; `*` is any member or element. */
  readonly field: readonly string[];
  readonly class: string;
}

export interface KubernetesCluster {
  /** Of its API: `https://10.0.0.1:6443`, no path. */
  readonly server: string;
  /** PEM file of the CA of its certificate; undefined: the system's. */
  readonly caFile: string | undefined;
  /** Besides what is classified in every cluster (proxy/kubernetes/classes.ts). */
  readonly fields: readonly FieldClassification[];
  /** What is looked for in logs and output, where a permit asks (`@mask`). */
  readonly detect?: readonly Detection[];
  readonly preview: PreviewMode;
}

/** What is asked of the cluster to show approvers what a held write would change. */
export type PreviewMode =
  | "none"
  /** The object as it is. */
  | "live"
  /** Besides, the write itself as a dry run, which runs admission webhooks. */
  | "dry-run";

/** Data of Secrets, wherever it is shown. */
export const SECRET_CLASS = "secret.k8s";
/** Values of environment variables written into an object. */
export const ENVIRONMENT_CLASS = "secret.k8s.env";
