// A target as the operator described it, parsed (config/) and typed. Names are `[a-z0-9-]+`.

import type { SecretReference } from "../credential/reference.ts";
import type { Detection } from "../masking/detect.ts";
import {
  ENVIRONMENT_CLASS,
  type KubernetesAccount,
  type KubernetesCluster,
  SECRET_CLASS,
} from "./kubernetes-target.ts";
import type { SshAccount, SshHost } from "./ssh-target.ts";

export type TargetTls =
  | { readonly mode: "verify-full"; readonly caFile: string | undefined }
  /** Plain text to the target. The name in the configuration says what it is: `insecure-plaintext`. */
  | { readonly mode: "insecure-plaintext" };

/** How the target's own credential comes about. */
export type AccountCredential =
  /** A login role made for each session, member of `profile`, gone with the session. */
  | {
      readonly kind: "session-role";
      /** The standing role that holds the grants. */
      readonly profile: string;
      readonly admin: StandingLogin;
    }
  /** One role whose password the gateway keeps. */
  | { readonly kind: "fixed-role"; readonly user: string; readonly password: SecretReference };

/** The gateway's own login on the target: makes session roles, reads the catalogue, ends backends. */
export interface StandingLogin {
  readonly user: string;
  readonly password: SecretReference;
  /** The database to connect to for it. */
  readonly database: string;
}

export interface PostgresAccount {
  readonly name: string;
  readonly credential: AccountCredential;
}

/** `column: public.customers.email, class: pii.email` */
export interface Classification {
  /** undefined: in every database of the target. */
  readonly database: string | undefined;
  readonly schema: string;
  readonly table: string;
  readonly column: string;
  readonly class: string;
}

/** What the gateway speaks; a target speaks one of them. */
export type Protocol = "postgres" | "ssh" | "kubernetes";

/** What every target has, whatever it speaks. */
export interface TargetBase {
  readonly protocol: Protocol;
  readonly name: string;
  /** Accounts sessions run as; at least one. */
  readonly accounts: readonly { readonly name: string }[];
  readonly tags: Readonly<Record<string, string>>;
}

export interface PostgresTarget extends TargetBase {
  readonly protocol: "postgres";
  readonly host: string;
  readonly port: number;
  readonly tls: TargetTls;
  /** What a client may name after the slash; undefined: whatever the target has. */
  readonly databases: readonly string[] | undefined;
  /** Schemas names are resolved in, in this order; pinned for every session. */
  readonly searchPath: readonly string[];
  readonly accounts: readonly PostgresAccount[];
  /**
   * Nothing is judged or pinned, for PostgreSQL's own test suites; never with a class. Absent: as always.
   */
  readonly transparent?: true;
  /** Reads the catalogue. Defaults to the first account's standing login. */
  readonly catalogue: StandingLogin;
  readonly classify: readonly Classification[];
  /** What is looked for in text without a class. Absent: nothing. */
  readonly detect?: readonly Detection[];
}

export interface SshTarget extends TargetBase, SshHost {
  readonly protocol: "ssh";
  readonly accounts: readonly SshAccount[];
}

export interface KubernetesTarget extends TargetBase, KubernetesCluster {
  readonly protocol: "kubernetes";
  readonly accounts: readonly KubernetesAccount[];
}

export type Target = PostgresTarget | SshTarget | KubernetesTarget;

export type TargetOf<P extends Protocol> = Extract<Target, { readonly protocol: P }>;

export function speaks<P extends Protocol>(target: Target, protocol: P): target is TargetOf<P> {
  return target.protocol === protocol;
}

/** Classes of what the target holds, each once, sorted. */
export function classesOf(target: Target): readonly string[] {
  const classes = new Set<string>();
  if (target.protocol === "postgres") for (const one of target.classify) classes.add(one.class);
  if (target.protocol === "kubernetes") {
    for (const one of target.fields) classes.add(one.class);
    classes.add(SECRET_CLASS).add(ENVIRONMENT_CLASS);
  }
  return [...classes].sort();
}
