// The shape of an SSH target in custody.yaml.

import { z } from "zod";

import { SSH_SHELLS } from "../target/ssh-target.ts";
import { detections, name, secret, text } from "./schema-terms.ts";

const publicKey = z
  .string()
  .max(16_384)
  .refine(isPublicKeyLine, "expected a public key line such as ssh-ed25519 AAAA…");

const credential = z
  .strictObject({
    certificate: z
      .strictObject({
        principals: z
          .array(text.regex(/^[^\p{Cc}\p{Cf}\p{Z},]+$/u, "a principal is one name"))
          .min(1)
          .max(16)
          .describe("Principals of the certificate. Default: the account's name on the host.")
          .optional(),
        sourceAddress: text
          .regex(/^[0-9a-fA-F.:/,]+$/, "expected addresses or CIDR blocks, joined by commas")
          .describe("Addresses the host takes it from: this gateway's. Left out: any.")
          .optional(),
      })
      .describe(
        "A certificate made for each session; the host trusts the authority `custody ssh-ca` prints.",
      )
      .optional(),
    key: secret
      .describe("A private key the gateway keeps: PEM, or OpenSSH's format for Ed25519.")
      .optional(),
    password: secret.describe("A password the gateway keeps.").optional(),
  })
  .refine((value) => Object.keys(value).length === 1, {
    message: "exactly one of certificate, key and password is needed",
  });

export const ssh = z
  .strictObject({
    host: text.describe("Name or address of the host."),
    port: z.int().min(1).max(65_535).describe("Its port.").default(22),
    hostKeys: z
      .array(publicKey)
      .max(16)
      .describe("The host's public keys, as `ssh-keyscan` and `/etc/ssh/*.pub` write them.")
      .default([]),
    hostAuthorities: z
      .array(publicKey)
      .max(16)
      .describe("Public keys of the authorities that sign the host's certificate.")
      .default([]),
    hostNames: z
      .array(text)
      .min(1)
      .describe("Names its certificate may be for. Default: `host`.")
      .optional(),
    detect: detections
      .describe(
        "What permits may have masked (`@mask`) in what commands write and files hold, by class: `pii.card: card-number` (with a right check digit), `email`, `provider-key`.",
      )
      .optional(),
    accounts: z
      .record(
        name,
        z.strictObject({
          user: text
            .regex(/^[^\p{Cc}\p{Cf}\p{Z}]+$/u, "expected an account's name")
            .describe("Its name on the host. Default: the account's own name.")
            .optional(),
          shell: z
            .enum(SSH_SHELLS)
            .describe(
              "Its login shell, which reads what was decided as it was decided. Left out: no command line is forwarded.",
            )
            .optional(),
          holdToRun: z
            .boolean()
            .describe(
              "In shells, hold back the Enter of a typed line that policies would forbid or hold as a command, until it is pressed again. A guard against slips, no more.",
            )
            .default(false),
          credential: credential.describe("How the gateway signs in to it."),
        }),
      )
      .refine((value) => Object.keys(value).length > 0, "at least one account is needed")
      .describe("Accounts sessions run as. Of several a client names one: `deploy~web-1`."),
  })
  .refine((value) => value.hostKeys.length + value.hostAuthorities.length > 0, {
    message: "hostKeys or hostAuthorities is needed: a host's key is never learned",
  });

export type SshDocument = z.output<typeof ssh>;

/** The blob says its own type again (RFC 4253 section 6.6); both have to agree. */
function isPublicKeyLine(line: string): boolean {
  const [, type = "", encoded = ""] =
    /^([a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?: .*)?$/.exec(line) ?? [];
  const blob = Buffer.from(encoded, "base64");
  if (blob.length < 4 || type.includes("-cert-v")) return false;
  const length = blob.readUInt32BE(0);
  return length <= blob.length - 4 && blob.toString("latin1", 4, 4 + length) === type;
}
