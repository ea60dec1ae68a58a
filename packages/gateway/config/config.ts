// The configuration as the rest of the gateway knows it: parsed once by load.ts, typed, with
// absolute paths and defaults filled in. Immutable; a reload makes another value.

import type { GrammarText } from "../command/load-grammars.ts";
import type { SecretReference } from "../credential/reference.ts";
import type { Target } from "../target/target.ts";
import type { Limits } from "./limits.ts";

export interface ListenAddress {
  /** A name or address, IPv6 without brackets. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** Platforms whose workload tokens are known. */
export const PRESETS = ["github", "gitlab", "kubernetes", "spiffe"] as const;
export type PresetName = (typeof PRESETS)[number];

export interface Provider {
  /** Prefix of every id it vouches for: `corp/…`. */
  readonly name: string;
  readonly issuer: string;
  readonly audience: string;
  /** The client tokens are issued to (`azp`); undefined: not checked beyond the audience. */
  readonly clientId: string | undefined;
  readonly kind: "users" | "workloads";
  /** A platform whose tokens are known (identity/presets.ts); undefined: any OpenID Connect issuer. */
  readonly preset?: PresetName | undefined;
  /** Claim that names the principal: `<provider>/<value>` is its id in policies. */
  readonly username: string;
  /** Claim that is the stable subject; `sub` when left out. */
  readonly subject?: string | undefined;
  /** Claim that lists groups; undefined: the provider names none. */
  readonly groups: string | undefined;
  readonly algorithms: readonly string[];
  readonly token: "id_token" | "access_token";
  /**
   * Claims a token must have with exactly one of these values. `a/b` is the claim of that name, or b
   * within a where there is none.
   */
  readonly claims: Readonly<Record<string, readonly (string | number | boolean)[]>>;
  /** PEM file of the CA of the provider's HTTPS; undefined: the system's. */
  readonly caFile: string | undefined;
  /** The operator allowed plain HTTP for this issuer. */
  readonly insecureHttp: boolean;
  /** Where its keys are when not where discovery says. */
  readonly keys?: { readonly url: string } | { readonly file: string } | undefined;
  /** What `custody login` asks the provider for; undefined: people do not sign in there with it. */
  readonly signIn?: { readonly scopes: readonly string[]; readonly device: boolean } | undefined;
  /** Groups older than this have to be read again; the sign-in ends until they are. */
  readonly groupsMaxAgeMs?: number | undefined;
  /** Each of its tokens is taken once, by `jti`. */
  readonly oneTime?: boolean | undefined;
}

/** A SAML 2.0 identity provider; it vouches for people. */
export interface SamlProvider {
  /** Prefix of every id it vouches for: `corp/…`. */
  readonly name: string;
  readonly entityId: string;
  /** Its single sign-on service, HTTP-Redirect binding. */
  readonly ssoUrl: string;
  /** PEM files: one of these keys has signed what is believed. */
  readonly certificateFiles: readonly string[];
  /** Attribute that names the person; undefined: the NameID. */
  readonly username: string | undefined;
  /** Attribute that lists groups; undefined: none. */
  readonly groups: string | undefined;
  readonly groupsMaxAgeMs: number;
  /** What has to carry a signature. */
  readonly signed: "assertion" | "response" | "both";
  /** Assertions have to be encrypted. */
  readonly encrypted: boolean;
  /** A response that nobody asked for is taken too, for a code that is typed. */
  readonly idpInitiated: boolean;
  /** This gateway as browsers reach it; undefined: where it listens. */
  readonly url: string | undefined;
}

/** A Kubernetes cluster that is asked whose its tokens are (TokenReview); it vouches for workloads. */
export interface KubernetesProvider {
  /** Prefix of every id it vouches for: `cluster/…`. */
  readonly name: string;
  /** Its API, `https://…`. */
  readonly server: string;
  /** PEM file of the CA of its API; no other is trusted. */
  readonly caFile: string;
  /** The gateway's own token there, which may create TokenReviews. */
  readonly token: SecretReference;
  /** What its tokens name as their issuer. */
  readonly issuer: string;
  readonly audience: string;
  /** `namespace/name` or `namespace/*`. */
  readonly serviceAccounts: readonly string[];
}

/** What replaces a classified value. */
export const MASKS = ["redact", "null", "email-domain", "last4"] as const;
export type MaskName = (typeof MASKS)[number];

/** How clients of the PostgreSQL door may show who they are. */
export const POSTGRES_SIGN_IN = ["password", "scram", "oauth", "certificate"] as const;
export type PostgresSignIn = (typeof POSTGRES_SIGN_IN)[number];

export interface Config {
  /** Absolute path of the file it came from. */
  readonly file: string;
  readonly dataDirectory: string;
  readonly policiesDirectory: string;
  /** Of programs' arguments, beside the shipped ones; each is known to be well formed. */
  readonly grammars: readonly GrammarText[];
  /** Processes that clients' connections are shared by; 1: this one is the only one. */
  readonly workers: number;
  readonly listen: {
    readonly postgres: ListenAddress | undefined;
    readonly ssh: ListenAddress | undefined;
    readonly kubernetes: ListenAddress | undefined;
    readonly https: ListenAddress;
    /** Health, readiness, metrics. */
    readonly admin: ListenAddress | undefined;
  };
  /** Names and addresses clients use besides those listened on; in every certificate. */
  readonly hostnames: readonly string[];
  /** The door of PostgreSQL. */
  readonly postgres: {
    readonly signIn: readonly PostgresSignIn[];
    /** A provider whose tokens are taken by OAUTHBEARER; undefined: the gateway's own only. */
    readonly oauthProvider: string | undefined;
  };
  /** The operator's own certificate (chain) and key; undefined: the gateway's CA makes them. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  readonly providers: ReadonlyMap<string, Provider>;
  /** Never of a name that is in `providers` too. */
  readonly samlProviders: ReadonlyMap<string, SamlProvider>;
  /** Nor one of these. */
  readonly clusterProviders: ReadonlyMap<string, KubernetesProvider>;
  /** Person → ids of their accounts at providers. An id is of one person only. */
  readonly people: ReadonlyMap<string, readonly string[]>;
  readonly targets: ReadonlyMap<string, Target>;
  /** Class → mask. A class that is not here is redacted. */
  readonly masks: ReadonlyMap<string, MaskName>;
  readonly limits: Limits;
  readonly log: LogConfig;
  readonly exports: readonly ExportTarget[];
}

/** Something of others' that is reached over HTTP. */
export interface OutsideService {
  readonly url: string;
  /** PEM file of its CA; undefined: the system's. */
  readonly caFile: string | undefined;
}

export type ShardPeriod = "year" | "month";

/** How the log is cut, who signs its heads, who witnesses them, where copies of them go. */
export interface LogConfig {
  /** undefined: the log goes on where it is. */
  readonly shards: ShardPeriod | undefined;
  /** undefined: the key in the data folder. */
  readonly signer: { readonly command: readonly string[]; readonly vkey: string } | undefined;
  readonly postQuantum: boolean;
  readonly witnesses: readonly (OutsideService & { readonly keys: readonly string[] })[];
  readonly quorum: number;
  readonly cosignEveryMs: number;
  readonly anchors:
    | {
        readonly folder: string | undefined;
        /** With object lock. */
        readonly bucket:
          | (OutsideService & {
              readonly region: string;
              readonly keyId: SecretReference;
              readonly key: SecretReference;
              readonly retainMs: number;
            })
          | undefined;
        readonly everyMs: number;
        readonly timeStamps: OutsideService | undefined;
      }
    | undefined;
}

/** Where events go besides the log. */
export type ExportTarget =
  | { readonly kind: "file"; readonly name: string; readonly path: string }
  | {
      readonly kind: "syslog";
      readonly name: string;
      readonly host: string;
      readonly port: number;
      readonly caFile: string | undefined;
    }
  | (OutsideService & {
      readonly kind: "https" | "otlp";
      readonly name: string;
      readonly token: SecretReference | undefined;
    });

export interface ConfigProblem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** `targets.orders.postgres.host`; empty for the file itself. */
  readonly path: string;
  /** What was expected, and what to write. */
  readonly message: string;
}

/** `custody.yaml:12:5: targets.orders.postgres.hots: …`, one line. */
export function describeProblem(problem: ConfigProblem): string {
  const path = problem.path === "" ? "" : `${problem.path}: `;
  return `${problem.file}:${problem.line}:${problem.column}: ${path}${problem.message}`;
}
