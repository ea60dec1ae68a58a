// The part of custody.yaml about identity providers.

import { z } from "zod";

import { PRESETS } from "./config.ts";
import { duration, path, secret, text } from "./schema-terms.ts";

const claimValue = z.union([text, z.number(), z.boolean()]);

const httpUrl = z.url({ protocol: /^https?$/, error: "expected an https:// URL" });

const oidc = z.strictObject({
  preset: z
    .enum(PRESETS)
    .describe(
      "A platform whose workload tokens are known: chooses issuer, names and the claims that must be pinned.",
    )
    .optional(),
  issuer: z
    .url({ protocol: /^https?$/, error: "expected the issuer's https:// URL" })
    .describe(
      "The issuer, exactly as its tokens name it. Required but for the presets github and gitlab, which know theirs, and spiffe, which has none.",
    )
    .optional(),
  trustDomain: text
    .regex(/^[a-z0-9._-]+$/, "expected a trust domain such as example.org, without spiffe://")
    .describe("SPIFFE: the trust domain whose JWT-SVIDs are accepted.")
    .optional(),
  keysUrl: httpUrl
    .describe("Key set, or SPIFFE bundle, in place of the one discovery names.")
    .optional(),
  keysFile: path
    .describe(
      "The same as a file, such as `kubectl get --raw /openid/v1/jwks` prints; read again when it changes.",
    )
    .optional(),
  audience: text.describe("The audience tokens must be meant for."),
  clientId: text.describe("The client tokens are issued to; checked as `azp`.").optional(),
  kind: z
    .enum(["users", "workloads"])
    .describe("People, or workloads such as CI jobs. Required without a preset.")
    .optional(),
  username: text
    .describe(
      "Claim that names the principal. Default: `email` for users, `sub` for workloads; presets choose theirs.",
    )
    .optional(),
  groups: text.describe("Claim that lists groups. Left out: no groups.").optional(),
  groupsMaxAge: duration(60_000, 7 * 86_400_000)
    .describe(
      "How old the groups a sign-in has may get: it ends then, unless it was refreshed, which reads them again. Custody refreshes by itself while the provider agrees.",
    )
    .prefault("12h"),
  scopes: z
    .array(text)
    .min(1)
    .describe(
      "Users: scopes `custody login` asks for. `offline_access` lets it refresh without the person.",
    )
    .default(["openid", "profile", "email", "offline_access"]),
  deviceFlow: z
    .boolean()
    .describe("Users: sign-in with a code on another device (RFC 8628), where the provider has it.")
    .default(true),
  oneTime: z
    .boolean()
    .describe(
      "Take each token once, by its `jti`. Default: true for the presets github and gitlab, else false.",
    )
    .optional(),
  algorithms: z
    .array(
      z.enum([
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "ES512",
        "EdDSA",
      ]),
    )
    .min(1)
    .describe("Signature algorithms accepted.")
    .default(["RS256", "ES256", "EdDSA"]),
  token: z
    .enum(["id_token", "access_token"])
    .describe("Which kind of its tokens is accepted.")
    .default("id_token"),
  claims: z
    .record(text, z.union([claimValue, z.array(claimValue).min(1)]))
    .describe(
      "Claims a token must have, each with a value or a list of allowed ones; `kubernetes.io/namespace` is the claim within the claim.",
    )
    .default({}),
  caFile: path
    .describe("PEM file of the CA of the provider's HTTPS. Left out: the system's.")
    .optional(),
  insecureHttp: z
    .boolean()
    .describe("Allow an issuer without TLS, for a provider on this machine.")
    .default(false),
});

const saml = z.strictObject({
  entityId: text.describe("The provider's entity id, exactly as its metadata has it."),
  ssoUrl: z
    .url({ protocol: /^https$/, error: "expected an https:// URL" })
    .describe("Its single sign-on service for the HTTP-Redirect binding."),
  certificates: z
    .array(path)
    .min(1)
    .max(8)
    .describe(
      "PEM files of the certificates whose keys it signs with, RSA; the old and the new one while it changes. Nothing that a message carries is trusted.",
    ),
  username: text
    .describe("Attribute that names the person; one value. Default: the NameID.")
    .optional(),
  groups: text.describe("Attribute that lists groups. Left out: no groups.").optional(),
  groupsMaxAge: duration(60_000, 7 * 86_400_000)
    .describe("With `groups`: how long a sign-in lasts at most; SAML cannot refresh it.")
    .prefault("12h"),
  signed: z
    .enum(["assertion", "response", "both"])
    .describe("What has to carry the provider's signature.")
    .default("assertion"),
  encrypted: z
    .boolean()
    .describe("Refuse assertions that are not encrypted to this gateway's key.")
    .default(false),
  idpInitiated: z
    .boolean()
    .describe(
      "Take sign-ins that begin at the provider, too: the browser is shown a code for `custody login --code`, good once and for a minute. Off: a response answers a request of this gateway, or is refused.",
    )
    .default(false),
  url: z
    .url({ protocol: /^https$/, error: "expected an https:// URL" })
    .describe(
      "This gateway's address as browsers reach it; part of its entity id. Default: the address it listens on.",
    )
    .optional(),
});

const kubernetes = z.strictObject({
  server: z
    .url({ protocol: /^https$/, error: "expected the API server's https:// URL" })
    .describe("The cluster's API server."),
  caFile: path.describe("PEM file of the CA of its API server; no other is trusted."),
  token: secret.describe(
    "The gateway's own token there, bound to the cluster role `system:auth-delegator`. A file is read again for each question, as the kubelet replaces it.",
  ),
  issuer: text
    .describe("What the cluster's tokens name as their issuer (`--service-account-issuer`).")
    .default("https://kubernetes.default.svc.cluster.local"),
  audience: text.describe("The audience tokens must be meant for, and the cluster must confirm."),
  serviceAccounts: z
    .array(
      z
        .string()
        .regex(
          /^[a-z0-9][a-z0-9.-]{0,62}\/(\*|[a-z0-9][a-z0-9.-]{0,252})$/,
          "expected namespace/name, or namespace/* for all of a namespace",
        ),
    )
    .min(1)
    .describe("Accounts that are let in: `ci/deployer`, or `ci/*` for all of a namespace."),
});

export const provider = z
  .strictObject({
    oidc: oidc.describe("An OpenID Connect issuer.").optional(),
    saml: saml.describe("A SAML 2.0 identity provider, for people.").optional(),
    kubernetes: kubernetes
      .describe("A Kubernetes cluster, asked whose its service account tokens are (TokenReview).")
      .optional(),
  })
  .refine((value) => Object.keys(value).length === 1, {
    message: "exactly one of oidc, saml and kubernetes is needed",
  });
