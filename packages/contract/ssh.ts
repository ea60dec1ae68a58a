// What SSH clients need of the gateway besides a credential: certificates for their keys, and the
// authorities by which a client knows the gateway and a host knows what the gateway signs.

import { z } from "zod";
import { timeSchema } from "./shapes.ts";

const publicKeyLineSchema = z
  .string()
  .max(16_384)
  .regex(/^[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [^\r\n]*)?\s*$/, "expected a public key line");

export const sshCertificateBodySchema = z.strictObject({ publicKey: publicKeyLineSchema });

export const sshCertificateSchema = z.object({
  /** A line for `<key>-cert.pub`. */
  certificate: z.string(),
  expiresAt: timeSchema,
});

/** Public key lines. */
export const sshAuthoritiesSchema = z.object({
  /** Signs the gateway's host certificate: for clients' known_hosts. */
  host: z.string(),
  /** Signs what the gateway shows to targets: for their TrustedUserCAKeys. */
  target: z.string(),
});
