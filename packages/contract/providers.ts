// What a client needs to know of the gateway's identity providers to sign a person in with one, and what
// a provider sends to end a session it vouched for.

import { z } from "zod";
import { delegationSchema } from "./delegations.ts";

export const providerSchema = z.object({
  /** Prefix of every id it vouches for. */
  name: z.string(),
  issuer: z.string(),
  clientId: z.string(),
  scopes: z.array(z.string()),
  /**
   * "browser": authorization code with PKCE and a loopback redirect; "device": RFC 8628; "saml": at the
   * gateway, in a browser, with a loopback redirect.
   */
  flows: z.array(z.enum(["browser", "device", "saml"])),
  /** PEM of the CA of its HTTPS; null: the system's. */
  ca: z.string().nullable(),
  /** Plain HTTP was allowed by the operator. */
  insecureHttp: z.boolean(),
});
export type ProviderView = z.infer<typeof providerSchema>;

export const providerListSchema = z.object({ providers: z.array(providerSchema) });

/** A new token of the same principal at the same provider. */
export const refreshBodySchema = z.strictObject({
  token: z.string().min(1).max(16_384),
  tokenType: z.enum(["id_token", "access_token", "jwt"]).default("id_token"),
});

export const refreshResponseSchema = z.object({
  delegation: delegationSchema,
  /** A new token of the same delegation; absent when the caller holds a handle, which stays good. */
  accessToken: z.string().optional(),
});

/** Where a browser starts a SAML sign-in for the command line that opened it. */
export const samlLoginQuerySchema = z.strictObject({
  /** SHA-256 of a verifier, base64url (RFC 7636 section 4.2, S256). */
  code_challenge: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** The code comes to `/callback` there, on 127.0.0.1. */
  port: z
    .string()
    .regex(/^[1-9][0-9]{3,4}$/)
    .refine((port) => Number(port) >= 1024 && Number(port) <= 65_535),
  /** Comes back with the code. */
  state: z.string().regex(/^[A-Za-z0-9_-]{22,86}$/),
});

/** SAML bindings section 3.5: HTTP-POST. */
export const samlResponseSchema = z.strictObject({
  SAMLResponse: z.string().min(1).max(262_144),
  RelayState: z.string().max(200).optional(),
});

/** OpenID Connect Back-Channel Logout 1.0 section 2.5. */
export const logoutRequestSchema = z.strictObject({ logout_token: z.string().min(1).max(16_384) });

/** RFC 8935 section 2.4. */
export const SET_ERRORS = [
  "invalid_request",
  "invalid_key",
  "invalid_issuer",
  "invalid_audience",
  "authentication_failed",
  "access_denied",
] as const;
export interface SetError {
  readonly err: (typeof SET_ERRORS)[number];
  readonly description: string;
}
