// The shape of custody.yaml. Descriptions are for people: reference.ts makes
// docs/reference/configuration.md of them. What one value alone cannot tell (a name used twice, a file
// that is not there) is checked by resolve.ts. Each protocol's part has a file of its own.

import { z } from "zod";

import { MASKS, POSTGRES_SIGN_IN } from "./config.ts";
import { LIMITS, type LimitName } from "./limits.ts";
import { exported } from "./schema-export.ts";
import { kubernetes } from "./schema-kubernetes.ts";
import { log } from "./schema-log.ts";
import { postgres } from "./schema-postgres.ts";
import { provider } from "./schema-provider.ts";
import { ssh } from "./schema-ssh.ts";
import { address, name, path, text } from "./schema-terms.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "./units.ts";

/** What a target may speak, by the member that describes it. */
const PROTOCOLS = ["postgres", "ssh", "kubernetes"] as const;

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

const target = z
  .strictObject({
    postgres: postgres.describe("A PostgreSQL server.").optional(),
    ssh: ssh.describe("A host that is reached by SSH.").optional(),
    kubernetes: kubernetes.describe("A Kubernetes cluster.").optional(),
    classify: z.array(classification).describe("Columns whose values are sensitive.").default([]),
    tags: z.record(name, text).describe("Words policies may use: `env: prod`.").default({}),
  })
  .refine((value) => PROTOCOLS.filter((one) => value[one] !== undefined).length === 1, {
    message: `exactly one of ${PROTOCOLS.join(", ")} is needed`,
  });

export const configSchema = z.strictObject({
  version: z.literal(1, { error: "expected 1, the version of this format" }).describe("Always 1."),
  data: path
    .describe("Folder of everything the gateway keeps. Relative to this file.")
    .default("./data"),
  policies: path
    .describe("Folder of the `.cedar` policies. Relative to this file.")
    .default("./policies"),
  grammars: z
    .array(path)
    .describe(
      "Files with grammars of programs' arguments, beside those that are shipped: what commands over SSH " +
        "and into containers may be. Relative to this file.",
    )
    .default([]),
  workers: z
    .int("expected a number of processes")
    .min(1)
    .max(64)
    .describe(
      "Processes that clients' connections are shared by; with 1 there is one process for all. " +
        "`custody serve --workers` takes precedence.",
    )
    .default(1),
  listen: z
    .strictObject({
      postgres: address.describe("PostgreSQL clients.").optional(),
      ssh: address.describe("SSH clients.").optional(),
      kubernetes: address.describe("kubectl and other clients of Kubernetes.").optional(),
      https: address
        .describe("The control API: sign-in, delegations, approvals, sessions.")
        .default({ host: "127.0.0.1", port: 7443 }),
      admin: address.describe("Health, readiness and metrics. Left out: none.").optional(),
    })
    .describe("Addresses to listen on, `host:port`. Port 0 takes any free one.")
    .prefault({}),
  postgres: z
    .strictObject({
      signIn: z
        .array(z.enum(POSTGRES_SIGN_IN))
        .min(1, "at least one is needed")
        .describe(
          "How clients may show who they are: `password` (a token inside TLS), `scram` (a handle that is " +
            "proved and not shown; the user name ends in `~cst_<id>`), `oauth` (OAUTHBEARER of PostgreSQL " +
            "18), `certificate`. Default: all.",
        )
        .default([...POSTGRES_SIGN_IN]),
      oauthProvider: name
        .describe(
          "The OpenID Connect provider to which psql is sent for a token, and whose access tokens sign " +
            "people in. Left out: tokens of the gateway.",
        )
        .optional(),
    })
    .describe("The door of PostgreSQL clients.")
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
  export: z
    .record(name, exported)
    .describe(
      "Where the log's events go besides, as OCSF 1.5: at least once, from where it stopped.",
    )
    .default({}),
  log: log
    .describe("The log of what was done: its signer, its witnesses, copies of its heads.")
    .prefault({}),
});

export type ConfigDocument = z.output<typeof configSchema>;

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
