// Certificates for clients that show one at a door instead of a token or password.

import { z } from "zod";
import { timeSchema } from "./shapes.ts";

export const clientCertificateBodySchema = z.strictObject({
  /** SubjectPublicKeyInfo, PEM: of Ed25519, ECDSA or RSA. */
  publicKey: z.string().min(64).max(8192),
});

export const clientCertificateSchema = z.object({
  /** PEM. */
  certificate: z.string(),
  expiresAt: timeSchema,
});
