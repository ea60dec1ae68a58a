// The shape of custody.yaml. Descriptions are for people: reference.ts makes
// docs/reference/configuration.md of them. What one value alone cannot tell (a name used twice, a file
// that is not there) is checked by resolve.ts.

import { z } from "zod";

import { parseSecretReference } from "../credential/reference-text.ts";
import { MASKS, PRESETS } from "./config.ts";
import { LIMITS, type LimitName } from "./limits.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "./units.ts";

export const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

const name = z
  .string()
  .regex(NAME, "a name is lower-case letters, digits and dashes, at most 63 characters");

const text = z.string().min(1, "must not be empty").max(1024);

const path = text.describe("A path; relative ones start at the folder of this file.");

const address = z
  .string()
  .regex(
    /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):\d{1,5}$/,
    'expected "host:port", such as 127.0.0.1:7432 or [::1]:7432',
  )
  .transform((value, context) => {
    const at = value.lastIndexOf(":");
    const port = Number(value.slice(at + 1));
    if (port > 65_535) context.addIssue({ code: "custom", message: "a port is at most 65535" });
    return { host: value.slice(0, at).replace(/^\[(.*)\]$/, "$1"), port };
  });

const secret = z
  .union([
    z.string(),
    z.strictObject({
      exec: z.array(text).min(1).describe("Program and arguments; no shell is involved."),
    }),
  ])
  .transform((value, context) => {
    if (typeof value !== "string") return { from: "exec", command: value.exec } as const;
    const parsed = parseSecretReference(value);
    if (parsed.ok) return parsed.reference;
    context.addIssue({ code: "custom", message: parsed.message });
    return z.NEVER;
  });

const login = z.strictObject({
  user: text.describe("Its role on the target."),
  password: secret.describe(
    "Where its password is: `env:NAME`, `file:PATH`, `exec:…`, `sealed:…`.",
  ),
  database: text.describe("The database it connects to.").default("postgres"),
});

const credential = z
  .strictObject({
    "session-role": z
      .strictObject({
        profile: text.describe("The standing role that holds the grants; it cannot log in."),
        admin: login.describe("The gateway's own login, which makes and drops session roles."),
      })
      .describe("A login role made for each session, member of `profile`, gone with the session.")
      .optional(),
    "fixed-role": z
      .strictObject({
        user: text.describe("The role's name."),
        password: secret.describe("Where its password is."),
      })
      .describe("One role whose password the gateway keeps, where session roles cannot be.")
      .optional(),
  })
  .refine((value) => Object.keys(value).length === 1, {
    message: "exactly one of session-role and fixed-role is needed",
  });

const classification = z.strictObject({
  column: text
    .regex(
      /^[^.\s]+(\.[^.\s]+){2,3}$/,
      'expected "schema.table.column" or "database.schema.table.column"',
    )
    .describe("`schema.table.column`, or with the database before it."),
  class: text
    .regex(/^[a-z0-9]+([.-][a-z0-9]+)*$/, "a class is like pii.email")
    .describe("The kind of the value: `pii.email`, `secret.token`."),
});

const postgres = z.strictObject({
  host: text.describe("Name or address of the server, as its certificate names it."),
  port: z.int().min(1).max(65_535).describe("Its port.").default(5432),
  tls: z
    .union(
      [
        z.enum(["verify-full", "insecure-plaintext"]),
        z.strictObject({
          caFile: path.describe("PEM file of the CA that signed its certificate."),
        }),
      ],
      { error: "expected verify-full, insecure-plaintext or { caFile: PATH }" },
    )
    .describe(
      "How the target is verified: `verify-full` with the system's CAs, `{ caFile: PATH }` with the named one, `insecure-plaintext` without TLS.",
    )
    .default("verify-full"),
  databases: z
    .array(text)
    .min(1)
    .describe("Databases clients may name. Left out: whatever the server has.")
    .optional(),
  searchPath: z
    .array(text)
    .min(1)
    .describe("Schemas in which names are resolved, in this order; pinned for every session.")
    .default(["public"]),
  accounts: z
    .record(
      name,
      z.strictObject({ credential: credential.describe("How its credential comes about.") }),
    )
    .refine((value) => Object.keys(value).length > 0, "at least one account is needed")
    .describe("Accounts sessions run as. Of several a client names one: `ro~orders`."),
  catalogue: login
    .describe("The login that reads the catalogue. Default: `admin` of the first session-role.")
    .optional(),
});

const target = z.strictObject({
  postgres: postgres.describe("A PostgreSQL server."),
  classify: z.array(classification).describe("Columns whose values are sensitive.").default([]),
  tags: z.record(name, text).describe("Words policies may use: `env: prod`.").default({}),
});

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
  url: z
    .url({ protocol: /^https$/, error: "expected an https:// URL" })
    .describe(
      "This gateway's address as browsers reach it; part of its entity id. Default: the address it listens on.",
    )
    .optional(),
});

const provider = z
  .strictObject({
    oidc: oidc.describe("An OpenID Connect issuer.").optional(),
    saml: saml.describe("A SAML 2.0 identity provider, for people.").optional(),
  })
  .refine((value) => Object.keys(value).length === 1, {
    message: "exactly one of oidc and saml is needed",
  });

export const configSchema = z.strictObject({
  version: z.literal(1, { error: "expected 1, the version of this format" }).describe("Always 1."),
  data: path
    .describe("Folder of everything the gateway keeps. Relative to this file.")
    .default("./data"),
  policies: path
    .describe("Folder of the `.cedar` policies. Relative to this file.")
    .default("./policies"),
  listen: z
    .strictObject({
      postgres: address.describe("PostgreSQL clients.").optional(),
      https: address
        .describe("The control API: sign-in, delegations, approvals, sessions.")
        .default({ host: "127.0.0.1", port: 7443 }),
      admin: address.describe("Health, readiness and metrics. Left out: none.").optional(),
    })
    .describe("Addresses to listen on, `host:port`. Port 0 takes any free one.")
    .prefault({}),
  hostnames: z
    .array(text.regex(/^[A-Za-z0-9.:-]+$/, "expected a host name or an IP address"))
    .describe("Further names and addresses clients use; the certificates carry them.")
    .default([]),
  tls: z
    .strictObject({
      cert: path.describe("PEM file of the certificate and its chain."),
      key: path.describe("PEM file of its key."),
    })
    .describe("Your own certificate. Left out: the gateway's CA makes and renews one.")
    .optional(),
  providers: z
    .record(name, provider)
    .describe("Identity providers. The name is the prefix of every id: `corp/ann@example.com`.")
    .default({}),
  people: z
    .record(text, z.array(text).min(1))
    .describe("Which accounts are one human. Who is not linked here cannot approve.")
    .default({}),
  targets: z.record(name, target).describe("What the gateway stands before.").default({}),
  masks: z
    .record(text, z.enum(MASKS))
    .describe(
      "What replaces a value of a class: `redact` (default), `null`, `email-domain`, `last4`.",
    )
    .default({}),
  limits: z
    .strictObject(limitShape())
    .describe("Limits and time-outs. Durations: `90s`, `1h30m`; sizes: `64MiB`.")
    .prefault({}),
});

export type ConfigDocument = z.output<typeof configSchema>;

/** Milliseconds of a written duration between two bounds. */
function duration(minMs: number, maxMs: number) {
  const expected = "expected a duration such as 30m or 12h";
  return z.string({ error: expected }).transform((written, context) => {
    const value = parseDuration(written);
    if (value === undefined || value < minMs || value > maxMs)
      context.addIssue({
        code: "custom",
        message: `${expected}, ${formatDuration(minMs)} to ${formatDuration(maxMs)}`,
      });
    return value ?? 0;
  });
}

function limitShape() {
  const shape: Record<string, z.ZodOptional<z.ZodType<number>>> = {};
  for (const [limitName, definition] of Object.entries(LIMITS))
    shape[limitName] = limitSchema(definition).describe(definition.doc).optional();
  return shape as Record<LimitName, z.ZodOptional<z.ZodType<number>>>;
}

function limitSchema(definition: (typeof LIMITS)[LimitName]): z.ZodType<number> {
  const { unit, min, max } = definition;
  if (unit === "count")
    return z
      .int({ error: "expected a whole number" })
      .min(min, `must be at least ${min}`)
      .max(max, `must be at most ${max}`);
  const parse = unit === "duration" ? parseDuration : parseSize;
  const format = unit === "duration" ? formatDuration : formatSize;
  const expected =
    unit === "duration" ? "expected a duration such as 30s or 5m" : "expected a size such as 64MiB";
  return z.string({ error: expected }).transform((written, context) => {
    const value = parse(written);
    if (value === undefined) context.addIssue({ code: "custom", message: expected });
    else if (value < min || value > max)
      context.addIssue({
        code: "custom",
        message: `must be between ${format(min)} and ${format(max)}`,
      });
    return value ?? 0;
  });
}
