// The part of custody.yaml about a PostgreSQL target.

import { z } from "zod";

import { detections, name, path, secret, text } from "./schema-terms.ts";

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

export const postgres = z.strictObject({
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
  mode: z
    .enum(["enforcing", "transparent-for-tests-only"])
    .describe(
      "`transparent-for-tests-only` judges, masks and pins nothing; it exists for PostgreSQL's own test suites and is refused where a class is configured.",
    )
    .default("enforcing"),
  detect: detections
    .describe(
      "What is looked for in text, JSON and XML without a class, and replaced inside it: `pii.card: card-number` (with a right check digit), `email`, `provider-key`. A net beside `classify`; COPY … TO is then refused.",
    )
    .optional(),
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

export type PostgresDocument = z.output<typeof postgres>;
