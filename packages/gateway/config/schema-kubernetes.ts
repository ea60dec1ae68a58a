// The shape of a Kubernetes target in custody.yaml.

import { z } from "zod";

import { detections, name, path, secret, text } from "./schema-terms.ts";

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const label = z.string().regex(LABEL, "expected a name of Kubernetes");

const credential = z
  .strictObject({
    token: secret
      .describe("A bearer token the gateway keeps; `file:` follows one that rotates.")
      .optional(),
    certificate: z
      .strictObject({
        cert: path.describe("PEM file of the certificate."),
        key: secret.describe("Its key, PEM."),
      })
      .describe("A client certificate.")
      .optional(),
    serviceAccount: z
      .strictObject({
        namespace: label.describe("Its namespace."),
        name: z
          .string()
          .regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, "expected a service account's name")
          .describe("Its name."),
        token: secret.describe("The gateway's own token, which may make tokens for it."),
        bound: z
          .boolean()
          .describe(
            "Each token is bound to a Secret without data, made in that namespace for its session and deleted with it.",
          )
          .default(true),
      })
      .describe("A token of this service account is made for each session.")
      .optional(),
  })
  .refine((value) => Object.keys(value).length === 1, {
    message: "exactly one of token, certificate and serviceAccount is needed",
  });

const impersonate = z.strictObject({
  prefix: text
    .regex(/^[A-Za-z0-9:._/-]*[:/]$/, 'a prefix ends with ":" or "/"')
    .refine((value) => !value.startsWith("system:"), "system: is the cluster's own")
    .describe("Before the requestor's id and groups.")
    .default("custody:"),
  groups: z
    .array(
      text
        .regex(/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/, "a header keeps printable ASCII only")
        .refine((value) => !value.startsWith("system:"), "system: is the cluster's own"),
    )
    .max(32)
    .describe("Groups of everybody who comes by this account.")
    .default([]),
  rootGroups: z
    .boolean()
    .describe("Adds the requestor's groups at the identity provider.")
    .default(false),
});

const classification = z.strictObject({
  resource: z
    .string()
    .regex(/^[a-z0-9-]+(\.[a-z0-9.-]+)?$/, "expected a resource such as widgets.example.com")
    .describe("`configmaps`, `widgets.example.com`."),
  field: text
    .regex(/^[^.\s]+(\.[^.\s]+)*$/, "expected members joined by dots, such as spec.apiKey")
    .describe("Members from the object's root; `*` stands for any member or element."),
  class: text
    .regex(/^[a-z0-9]+([.-][a-z0-9]+)*$/, "a class is like secret.token")
    .describe("The kind of the value."),
});

export const kubernetes = z.strictObject({
  server: z
    .string()
    .regex(/^https:\/\/[^/\s?#@]+$/, "expected https://host:port, without a path")
    .describe("Where its API is. In a cluster: `https://kubernetes.default.svc`."),
  caFile: path
    .describe("PEM file of the CA of its certificate. Left out: the system's.")
    .optional(),
  accounts: z
    .record(
      name,
      z.strictObject({
        credential: credential.describe("How the gateway shows who it is."),
        impersonate: impersonate
          .describe("The cluster sees the requestor, not the account.")
          .optional(),
      }),
    )
    .refine((value) => Object.keys(value).length > 0, "at least one account is needed")
    .describe("Accounts sessions run as. Of several a client names one: `ro~prod`."),
  classify: z
    .array(classification)
    .max(256)
    .describe("Fields whose values are sensitive, besides Secrets and environment variables.")
    .default([]),
  detect: detections
    .describe(
      "What permits may have masked (`@mask`) in logs and in what commands write, by class: `pii.card: card-number` (with a right check digit), `email`, `provider-key`.",
    )
    .optional(),
  preview: z
    .enum(["none", "live", "dry-run"])
    .describe(
      "What approvers are shown of a held write: nothing more, how it differs from the object as it is, or also what the API server says to it in a dry run, which runs admission webhooks.",
    )
    .default("live"),
});

export type KubernetesDocument = z.output<typeof kubernetes>;
